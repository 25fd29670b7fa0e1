//! Emptying the store: a new incarnation with new tables.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::{ConversationState, Fingerprint, Role};

use crate::conformance::fixture::{Fixture, all_rows, at, mark, table_names};
use crate::conformance::generated::GeneratedConversation;
use crate::conformance::progress::source;
use crate::conformance::users::account;
use crate::{AccountCreated, Applied, Consumer, Hold, Mark, Row, StoreError};

const LONG: Duration = Duration::from_secs(30);

/// Writes at least one row to every derived table.
async fn fill(fixture: &Fixture) -> GeneratedConversation {
    let tables = |generated: &GeneratedConversation| -> BTreeSet<&str> {
        generated.steps.iter().flat_map(|step| &step.writes).map(|write| write.table().name).collect()
    };
    // All but that of the marks, which are no events.
    let wanted = table_names().len() - 1;
    let told = std::iter::repeat_with(|| GeneratedConversation::new(fixture, 300)).take(100);
    let generated = told.into_iter().find(|generated| tables(generated).len() == wanted).unwrap();
    let mut writes = mark(fixture.user(), generated.conversation, Mark { seq: at(1), ordinal: 0 });
    writes.extend(generated.steps.iter().flat_map(|step| step.writes.clone()));
    fixture.store.write(writes).await.unwrap();
    generated
}

pub(super) async fn new_one_is_empty(fixture: Fixture) {
    let old = &fixture.store;
    assert_eq!((old.incarnation(), old.current_incarnation().await.unwrap()), (1, 1));
    assert_eq!(old.derived_tables(), table_names());
    old.ping().await.unwrap();
    let generated = fill(&fixture).await;
    let source = source(&fixture);
    let applied = Applied { seq: at(3), fingerprint: Fingerprint(3) };
    old.set_applied(source, applied).await.unwrap();
    let before = fixture.all_rows().await;
    let mut filled: Vec<_> = before.iter().map(|(table, _)| *table).collect();
    filled.dedup();
    assert_eq!(filled, table_names(), "every table has a row");

    assert_eq!(old.new_incarnation().await.unwrap(), 2);
    let new = fixture.subject.open().await.unwrap();
    assert_eq!((new.incarnation(), new.current_incarnation().await.unwrap()), (2, 2));
    assert_eq!((old.incarnation(), old.current_incarnation().await.unwrap()), (1, 2), "a handle is pinned");
    assert_eq!(all_rows(&*new).await, []);
    assert_eq!(new.applied(source).await.unwrap(), None);
    let last = generated.steps.last().unwrap().seq;
    assert_eq!(new.conversation(generated.conversation, last).await.unwrap(), ConversationState::default());

    // A replay into the new tables gives the same bytes.
    for step in &generated.steps {
        new.write(step.writes.clone()).await.unwrap();
    }
    let marks = |rows: &[(&'static str, Vec<u8>)]| {
        rows.iter().filter(|(table, _)| *table != "marks").cloned().collect::<Vec<_>>()
    };
    assert_eq!(all_rows(&*new).await, marks(&before));
    assert_eq!(new.new_incarnation().await.unwrap(), 3);
}

pub(super) async fn zombie(fixture: Fixture) {
    let zombie = fixture.store.clone();
    let generated = fill(&fixture).await;
    let other = fixture.subject.open().await.unwrap();
    other.new_incarnation().await.unwrap();
    let new = fixture.subject.open().await.unwrap();
    // The old handle does not know of the switch: its writes are refused, or go to its own old tables.
    let source = source(&fixture);
    for step in &generated.steps {
        gone_or_fine(&zombie.write(step.writes.clone()).await);
        let applied = Applied { seq: step.seq, fingerprint: Fingerprint(1) };
        gone_or_fine(&zombie.set_applied(source, applied).await);
    }
    let mark = mark(fixture.user(), generated.conversation, Mark { seq: at(9), ordinal: 1 });
    gone_or_fine(&zombie.write(mark).await);
    let hold = Hold { skipped_to: Some(at(9)), done_through: None };
    gone_or_fine(&zombie.put_hold(Consumer::Storage, source.partition, generated.conversation, hold).await);
    assert_eq!(all_rows(&*new).await, []);
    assert_eq!(new.applied(source).await.unwrap(), None);
    let found = new.hold(Consumer::Storage, source.partition, generated.conversation).await.unwrap();
    assert_eq!(found, Hold::default());
    // It learns of the switch before long.
    let known = zombie.wait_applied(source, at(1 << 40), LONG).await;
    assert!(matches!(known, Err(StoreError::Incarnation { pinned: 1, found: 2 })), "{known:?}");
    // The new program reads the rows that it writes.
    let user = fixture.user();
    let row = Row::Joined { user, role: Role::Member, seq: at(1), ordinal: 0 };
    new.write(vec![row.write(generated.conversation, at(1))]).await.unwrap();
    assert_eq!(new.conversations_of(user, None, 10).await.unwrap().len(), 1);
}

fn gone_or_fine(written: &Result<(), StoreError>) {
    assert!(matches!(written, Ok(()) | Err(StoreError::Incarnation { .. })), "{written:?}");
}

pub(super) async fn waiting_ends(fixture: Fixture) {
    let (store, source) = (fixture.store.clone(), source(&fixture));
    let waiting = tokio::spawn(async move { store.wait_applied(source, at(5), LONG).await });
    tokio::task::yield_now().await;
    fixture.subject.open().await.unwrap().new_incarnation().await.unwrap();
    let ended = waiting.await.unwrap();
    assert!(matches!(ended, Err(StoreError::Incarnation { pinned: 1, found: 2 })), "{ended:?}");
}

pub(super) async fn what_outlives_it(fixture: Fixture) {
    let old = &fixture.store;
    let conversation = fixture.conversation();
    let hold = Hold { skipped_to: Some(at(9)), done_through: Some(at(4)) };
    old.put_hold(Consumer::Storage, 3, conversation, hold).await.unwrap();
    old.put_hold(Consumer::Fanout, 3, conversation, hold).await.unwrap();
    let (ann, event) = account(&fixture, "ann");
    assert_eq!(old.create_account(&ann, &event).await.unwrap(), AccountCreated::Created);
    old.new_incarnation().await.unwrap();
    let new = fixture.subject.open().await.unwrap();
    assert_eq!(
        new.holds(Consumer::Storage, 3, None, 9).await.unwrap(),
        [],
        "storage's holds belong to the incarnation"
    );
    assert_eq!(new.hold(Consumer::Storage, 3, conversation).await.unwrap(), Hold::default());
    assert_eq!(
        new.holds(Consumer::Fanout, 3, None, 9).await.unwrap(),
        [(conversation, hold)],
        "the fan-out's outlive it"
    );
    assert_eq!(new.account_by_name(&ann.name).await.unwrap(), Some(ann.clone()));
    assert_eq!(new.account(ann.id).await.unwrap(), Some(ann));
    assert_eq!(new.outbox(9).await.unwrap(), [event]);
}
