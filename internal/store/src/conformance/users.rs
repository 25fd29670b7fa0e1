//! The user tables: unique names, sessions, the outbox.

use environment::Clock;

use crate::conformance::fixture::{Fixture, NEW_YEAR_MS};
use crate::{
    Account, AccountCreated, Audience, ENDED_BUCKET_MS, ListedSession, OutboxRow, Privacy, PrivacyUpdate,
    ReplacedToken, Session, TokenFamily,
};

/// A session lifetime longer than the suite runs.
const SESSION_MS: i64 = 86_400_000;

/// An account whose name begins with `name`, and its event.
pub(super) fn account(fixture: &Fixture, name: &str) -> (Account, OutboxRow) {
    let id = fixture.user();
    let account = Account {
        id,
        name: format!("{name}-{:08x}", fixture.entropy.below(1 << 32)),
        display_name: "\u{1F600} Somebody".into(),
        password_hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into(),
        created_ms: NEW_YEAR_MS,
    };
    let event = event(fixture, &account, NEW_YEAR_MS);
    (account, event)
}

fn event(fixture: &Fixture, account: &Account, stamp_ms: i64) -> OutboxRow {
    OutboxRow {
        id: *fixture.id_at(stamp_ms).as_bytes(),
        user: account.id,
        account_name: account.name.clone(),
        payload: vec![0, 255, 7],
    }
}

fn session(fixture: &Fixture) -> Session {
    let expires_ms = Clock::system().now_ms() + SESSION_MS;
    let (id, secret_hash, hash) = (fixture.entropy.bytes(), fixture.entropy.bytes(), fixture.entropy.bytes());
    let family = Some(TokenFamily { hash, replaced: None });
    Session { id, user: fixture.user(), secret_hash, expires_ms, family }
}

/// The session with its token replaced by another one.
fn rotated(fixture: &Fixture, before: &Session) -> Session {
    let replaced = ReplacedToken { secret_hash: before.secret_hash, successor: fixture.entropy.bytes() };
    let family = before.family.clone().map(|family| TokenFamily { replaced: Some(replaced), ..family });
    Session { secret_hash: fixture.entropy.bytes(), expires_ms: before.expires_ms + 5, family, ..before.clone() }
}

pub(super) async fn names_are_unique(fixture: Fixture) {
    let store = &*fixture.store;
    let (ann, event) = account(&fixture, "ann");
    assert_eq!(store.account_by_name(&ann.name).await.unwrap(), None);
    assert_eq!(store.account(ann.id).await.unwrap(), None);
    assert_eq!(store.create_account(&ann, &event).await.unwrap(), AccountCreated::Created);
    let (mut thief, mut theft) = account(&fixture, "thief");
    thief.name.clone_from(&ann.name);
    theft.account_name.clone_from(&ann.name);
    assert_eq!(store.create_account(&thief, &theft).await.unwrap(), AccountCreated::NameTaken);
    assert_eq!(store.create_account(&ann, &event).await.unwrap(), AccountCreated::Created, "a retry");
    assert_eq!(store.account_by_name(&ann.name).await.unwrap(), Some(ann.clone()));
    assert_eq!(store.account(ann.id).await.unwrap(), Some(ann.clone()));
    assert_eq!(store.account(thief.id).await.unwrap(), None);
    let (other, event) = account(&fixture, "other");
    assert_eq!(store.create_account(&other, &event).await.unwrap(), AccountCreated::Created);
    let together = store.accounts(&[other.id, thief.id, ann.id, other.id]).await.unwrap();
    assert_eq!(together, [Some(other.clone()), None, Some(ann), Some(other)]);
    assert_eq!(store.accounts(&[]).await.unwrap(), []);
}

pub(super) async fn one_of_many_takes_a_name(fixture: Fixture) {
    let (first, _) = account(&fixture, "wanted");
    let mut attempts = Vec::new();
    for _ in 0..8 {
        let (mut account, mut event) = account(&fixture, "wanting");
        account.name.clone_from(&first.name);
        event.account_name.clone_from(&first.name);
        let store = fixture.subject.open().await.unwrap();
        attempts.push(tokio::spawn(async move {
            let created = store.create_account(&account, &event).await.unwrap();
            (account, created)
        }));
    }
    let mut winners = Vec::new();
    for attempt in attempts {
        let (account, created) = attempt.await.unwrap();
        if created == AccountCreated::Created {
            winners.push(account);
        } else {
            assert_eq!(fixture.store.account(account.id).await.unwrap(), None);
        }
    }
    let [winner] = &winners[..] else { panic!("{} accounts of one name", winners.len()) };
    assert_eq!(fixture.store.account_by_name(&first.name).await.unwrap().as_ref(), Some(winner));
}

pub(super) async fn rotation(fixture: Fixture) {
    let store = &*fixture.store;
    let first = session(&fixture);
    assert_eq!(store.session(&first.id).await.unwrap(), None);
    assert!(!store.rotate_session(&first.secret_hash, &first).await.unwrap(), "one that is not there");
    store.create_session(&first).await.unwrap();
    assert_eq!(store.session(&first.id).await.unwrap(), Some(first.clone()));
    let second = rotated(&fixture, &first);
    assert!(store.rotate_session(&first.secret_hash, &second).await.unwrap());
    assert_eq!(store.session(&first.id).await.unwrap(), Some(second.clone()));
    assert!(!store.rotate_session(&first.secret_hash, &first).await.unwrap(), "a secret is good once");
    assert_eq!(store.session(&first.id).await.unwrap(), Some(second.clone()));
    store.end_session(first.user, &first.id, NEW_YEAR_MS).await.unwrap();
    assert_eq!(store.session(&first.id).await.unwrap(), None);
    assert!(!store.rotate_session(&second.secret_hash, &first).await.unwrap(), "an ended session stays ended");
    assert_eq!(store.session(&first.id).await.unwrap(), None);
    store.end_session(first.user, &first.id, NEW_YEAR_MS).await.unwrap();
    // A session from before token families gets one when it is refreshed.
    let earlier = Session { family: None, ..session(&fixture) };
    store.create_session(&earlier).await.unwrap();
    assert_eq!(store.session(&earlier.id).await.unwrap(), Some(earlier.clone()));
    let next = Session { id: earlier.id, user: earlier.user, ..rotated(&fixture, &second) };
    assert!(store.rotate_session(&earlier.secret_hash, &next).await.unwrap());
    assert_eq!(store.session(&earlier.id).await.unwrap(), Some(next));
}

pub(super) async fn passwords(fixture: Fixture) {
    let store = &*fixture.store;
    let (ann, event) = account(&fixture, "ann");
    assert!(!store.set_password(ann.id, &ann.password_hash, "other").await.unwrap(), "no such account");
    store.create_account(&ann, &event).await.unwrap();
    assert!(store.set_password(ann.id, &ann.password_hash, "second").await.unwrap());
    assert!(!store.set_password(ann.id, &ann.password_hash, "third").await.unwrap(), "it was replaced before");
    let expected = Account { password_hash: "second".into(), ..ann.clone() };
    assert_eq!(store.account(ann.id).await.unwrap(), Some(expected.clone()));
    assert_eq!(store.account_by_name(&ann.name).await.unwrap(), Some(expected.clone()));
    store.create_account(&ann, &event).await.unwrap();
    assert_eq!(store.account(ann.id).await.unwrap(), Some(expected), "a creation finished late changes nothing");
}

pub(super) async fn privacy(fixture: Fixture) {
    let store = &fixture.store;
    let (ann, bob) = (account(&fixture, "ann").0.id, account(&fixture, "bob").0.id);
    assert_eq!(store.privacy(ann).await.unwrap(), Privacy::default(), "who has set nothing shows everything");
    let change = |presence, invisible| PrivacyUpdate { presence, invisible };
    let hidden = Privacy { presence: Audience::Nobody, invisible: false };
    store.set_privacy(ann, change(Some(Audience::Nobody), None)).await.unwrap();
    assert_eq!(store.privacy(ann).await.unwrap(), hidden);
    let invisible = Privacy { presence: Audience::Everyone, invisible: true };
    store.set_privacy(bob, change(None, Some(true))).await.unwrap();
    assert_eq!(store.privacy(bob).await.unwrap(), invisible);
    // What one change does not name stays as another has set it.
    store.set_privacy(ann, change(None, Some(true))).await.unwrap();
    assert_eq!(store.privacy(ann).await.unwrap(), Privacy { presence: Audience::Nobody, invisible: true });
    store.set_privacy(ann, change(None, None)).await.unwrap();
    store.set_privacy(ann, change(Some(Audience::Everyone), None)).await.unwrap();
    assert_eq!(store.privacy(ann).await.unwrap(), invisible);
    store.set_privacy(bob, change(Some(Audience::Everyone), Some(false))).await.unwrap();
    assert!(store.privacy(bob).await.unwrap().shows_presence());
    assert!(!hidden.shows_presence() && !invisible.shows_presence());
}

pub(super) async fn a_users_sessions(fixture: Fixture) {
    let store = &*fixture.store;
    let (ann, bob) = (session(&fixture), session(&fixture));
    let row = |id, label: &str, used_ms| ListedSession { id, label: label.into(), begun_ms: 7, used_ms };
    assert_eq!(store.sessions_of(ann.user).await.unwrap(), []);
    let mut listed: Vec<_> = (0..3).map(|number| row(fixture.entropy.bytes(), "phone", number)).collect();
    for row in &listed {
        store.list_session(ann.user, row).await.unwrap();
    }
    store.list_session(bob.user, &row(bob.id, "", 1)).await.unwrap();
    listed[1].used_ms = 9;
    store.list_session(ann.user, &listed[1]).await.unwrap();
    listed.sort_by_key(|row| row.id);
    assert_eq!(store.sessions_of(ann.user).await.unwrap(), listed);
    store.end_session(ann.user, &listed[0].id, NEW_YEAR_MS).await.unwrap();
    assert_eq!(store.sessions_of(ann.user).await.unwrap(), listed[1..]);
    assert_eq!(store.sessions_of(bob.user).await.unwrap(), [row(bob.id, "", 1)]);
    assert_eq!(store.sessions_cut(ann.user).await.unwrap(), None);
    store.cut_sessions(ann.user, 11).await.unwrap();
    assert_eq!(store.sessions_cut(ann.user).await.unwrap(), Some(11));
    assert_eq!(store.sessions_cut(bob.user).await.unwrap(), None);
}

pub(super) async fn ended_sessions(fixture: Fixture) {
    let store = &*fixture.store;
    // A minute in which no other case ends sessions.
    let now_ms = NEW_YEAR_MS + 77 * 86_400_000;
    let bucket = now_ms.div_euclid(ENDED_BUCKET_MS);
    assert_eq!(store.ended_sessions(bucket).await.unwrap(), Vec::<[u8; 16]>::new());
    let sessions: Vec<_> = (0..3).map(|_| session(&fixture)).collect();
    for (session, later_ms) in sessions.iter().zip([0, 1, ENDED_BUCKET_MS]) {
        store.create_session(session).await.unwrap();
        for _ in 0..2 {
            store.end_session(session.user, &session.id, now_ms + later_ms).await.unwrap();
        }
        assert_eq!(store.session(&session.id).await.unwrap(), None);
    }
    let mut first = vec![sessions[0].id, sessions[1].id];
    first.sort_unstable();
    let mut found = store.ended_sessions(bucket).await.unwrap();
    found.sort_unstable();
    assert_eq!(found, first);
    assert_eq!(store.ended_sessions(bucket + 1).await.unwrap(), [sessions[2].id]);
    assert_eq!(store.ended_sessions(bucket - 1).await.unwrap(), Vec::<[u8; 16]>::new());
}

pub(super) async fn one_of_many_rotates(fixture: Fixture) {
    let first = session(&fixture);
    fixture.store.create_session(&first).await.unwrap();
    let mut attempts = Vec::new();
    for _ in 0..8 {
        let next = rotated(&fixture, &first);
        let (store, expected) = (fixture.subject.open().await.unwrap(), first.secret_hash);
        attempts.push(tokio::spawn(async move {
            let rotated = store.rotate_session(&expected, &next).await.unwrap();
            (next, rotated)
        }));
    }
    let mut winners = Vec::new();
    for attempt in attempts {
        let (next, rotated) = attempt.await.unwrap();
        winners.extend(Some(next).filter(|_| rotated));
    }
    let [winner] = &winners[..] else { panic!("{} devices hold a valid secret", winners.len()) };
    assert_eq!(fixture.store.session(&first.id).await.unwrap().as_ref(), Some(winner));
}

pub(super) async fn outbox(fixture: Fixture) {
    let store = &*fixture.store;
    assert_eq!(store.outbox(10).await.unwrap(), []);
    let (ann, created) = account(&fixture, "ann");
    store.create_account(&ann, &created).await.unwrap();
    let mut events: Vec<_> = (1..9).map(|second| event(&fixture, &ann, NEW_YEAR_MS + second * 1000)).collect();
    fixture.shuffle(&mut events);
    for event in &events {
        store.add_outbox(event).await.unwrap();
    }
    store.add_outbox(&events[0]).await.unwrap();
    events.push(created);
    events.sort_by_key(|event| event.id);
    assert_eq!(store.outbox(100).await.unwrap(), events);
    assert_eq!(store.outbox(3).await.unwrap(), events[..3]);
    store.remove_outbox(&events[1].id).await.unwrap();
    store.remove_outbox(&events[1].id).await.unwrap();
    events.remove(1);
    assert_eq!(store.outbox(3).await.unwrap(), events[..3]);
    assert_eq!(store.outbox(100).await.unwrap(), events);
}
