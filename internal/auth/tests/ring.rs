//! The ring of signing keys, as its file changes under a running process.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use auth::{
    KNOWN_BEFORE_USE, KeyError, KeyFile, KeyRing, KeyState, PUBLISHED_BEFORE_USE, RING_READ_EVERY, VERIFIED_AFTER,
    Verifier,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::UserId;
use environment::{Clock, Entropy};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const NOW_MS: i64 = 1_750_000_000_000;
const TTL: Duration = Duration::from_secs(900);

/// A ring's file, and a clock.
struct World {
    folder: TempDir,
    now_ms: Arc<AtomicI64>,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), now_ms: Arc::new(AtomicI64::new(NOW_MS)) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("signing-key.pem")
    }

    fn clock(&self) -> Clock {
        Clock::manual(self.now_ms.clone())
    }

    fn now(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    /// A process with that file.
    fn process(&self, seed: u64) -> KeyRing {
        KeyRing::open(&self.path(), &self.clock(), &Entropy::seeded(seed)).unwrap()
    }

    fn file(&self) -> KeyFile {
        KeyFile::new(self.path(), Entropy::system())
    }

    fn pass(&self, time: Duration) {
        self.now_ms.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn add(&self) -> String {
        self.file().add(self.now(), PUBLISHED_BEFORE_USE, None, false).unwrap()
    }
}

/// Follows the file until it has been read twice more.
async fn read_again(ring: &KeyRing) {
    let (stop, reads) = (CancellationToken::new(), AtomicI64::new(0));
    let report = |outcome: Result<(), &KeyError>| {
        outcome.unwrap();
        if reads.fetch_add(1, Ordering::SeqCst) == 1 {
            stop.cancel();
        }
    };
    ring.follow(stop.clone(), report).await;
}

fn token(ring: &KeyRing) -> String {
    ring.sign(UserId::try_from(Uuid::from_bytes([7; 16])).unwrap(), None, TTL).unwrap()
}

fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

fn kids(ring: &KeyRing) -> Vec<String> {
    ring.jwks().keys.into_iter().map(|key| key.kid).collect()
}

/// The delays before every verifier knows a key, in sum.
#[test]
fn a_key_is_known_everywhere_before_it_is_used() {
    let cached = Duration::from_secs(60);
    assert!(
        RING_READ_EVERY + auth::REFRESH_EVERY + cached < KNOWN_BEFORE_USE && KNOWN_BEFORE_USE <= PUBLISHED_BEFORE_USE
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_of_keys_refuses_no_token_and_needs_no_restart() {
    let world = World::new();
    let (ring, other) = (world.process(1), world.process(2));
    assert_eq!(kids(&ring), kids(&other), "one key for all that start");
    let verifier = Verifier::of_ring(other.clone(), world.clock());
    let old = token(&ring);
    let new = world.add();
    assert_eq!(kids(&ring).len(), 1, "not read yet");
    read_again(&ring).await;
    assert_eq!(kids(&ring), [kid(&old), new.clone()], "published");
    world.pass(PUBLISHED_BEFORE_USE - Duration::from_secs(1));
    let last = token(&ring);
    assert_eq!(kid(&last), kid(&old), "and not used yet");
    world.pass(Duration::from_secs(1));
    let first = token(&ring);
    assert_eq!(kid(&first), new);
    // The other process has not read its file since: an unknown key id makes it read.
    for token in [&last, &first] {
        verifier.verify(token).await.unwrap();
    }
    world.pass(VERIFIED_AFTER - Duration::from_secs(1));
    assert_eq!(kids(&ring), [kid(&old), new.clone()]);
    world.pass(Duration::from_secs(1));
    assert_eq!(kids(&ring), [new]);
    // The other process found the key later, and so signs longer with the old one.
    world.pass(KNOWN_BEFORE_USE);
    assert!(verifier.verify(&last).await.unwrap_err().to_string().contains("not signed by a known key"));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_late_is_published_before_it_is_used() {
    let world = World::new();
    let ring = world.process(1);
    let old = kid(&token(&ring));
    let new = world.add();
    // This process gets the file an hour after the key was to begin; a process that starts then begins with it.
    world.pass(PUBLISHED_BEFORE_USE + Duration::from_secs(3600));
    read_again(&ring).await;
    assert_eq!((kid(&token(&ring)), kids(&ring).len()), (old.clone(), 2));
    assert_eq!(kid(&token(&world.process(2))), new);
    world.pass(KNOWN_BEFORE_USE);
    assert_eq!(kid(&token(&ring)), new);
    world.pass(VERIFIED_AFTER - Duration::from_secs(1));
    assert!(kids(&ring).contains(&old), "for its last token, which was made late");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_taken_out_at_once_is_refused_and_another_signs() {
    let world = World::new();
    let ring = world.process(1);
    let verifier = Verifier::of_ring(ring.clone(), world.clock());
    let stolen = token(&ring);
    let refused = world.file().retire(&kid(&stolen), world.now(), false, false).unwrap_err();
    assert!(refused.to_string().contains("keys add"), "{refused}");
    world.file().retire(&kid(&stolen), world.now(), true, false).unwrap();
    read_again(&ring).await;
    verifier.verify(&stolen).await.unwrap_err();
    let fresh = token(&ring);
    verifier.verify(&fresh).await.unwrap();
    // There is a next key, which begins then.
    let next = world.add();
    world.file().retire(&kid(&fresh), world.now(), true, false).unwrap();
    read_again(&ring).await;
    assert_eq!(kid(&token(&ring)), next);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_changes_nothing() {
    let world = World::new();
    let ring = world.process(1);
    let (before, old) = (std::fs::read(world.path()).unwrap(), kids(&ring));
    for broken in [&b""[..], b"not a key", &before[..40]] {
        std::fs::write(world.path(), broken).unwrap();
        let stop = CancellationToken::new();
        ring.follow(stop.clone(), |outcome| {
            assert!(matches!(outcome, Err(KeyError::Malformed { .. })), "{outcome:?}");
            stop.cancel();
        })
        .await;
        assert_eq!((kids(&ring), kid(&token(&ring))), (old.clone(), old[0].clone()));
    }
    let fault = KeyRing::open(&world.path(), &world.clock(), &Entropy::seeded(1)).unwrap_err();
    assert!(matches!(fault, KeyError::Malformed { .. }), "{fault}");
    assert!(KeyRing::open(&PathBuf::from("/nowhere/key.pem"), &world.clock(), &Entropy::seeded(1)).is_err());
}

#[tokio::test]
async fn operators_see_the_keys_and_change_them_in_no_way_that_signs_somebody_out() {
    let world = World::new();
    let ring = world.process(1);
    let (file, signing) = (world.file(), kids(&ring)[0].clone());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = || std::fs::metadata(world.path()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        world.add();
        assert_eq!(mode(), 0o600);
    }
    assert!(file.add(world.now(), KNOWN_BEFORE_USE - Duration::from_secs(1), None, false).is_err());
    file.add(world.now(), PUBLISHED_BEFORE_USE, None, true).unwrap();
    let rows = file.list(world.now()).unwrap();
    assert_eq!(rows.iter().map(|row| row.state).collect::<Vec<_>>(), [KeyState::Signing, KeyState::Next]);
    let begins = NOW_MS + i64::try_from(PUBLISHED_BEFORE_USE.as_millis()).unwrap();
    assert_eq!((rows[0].ends_ms, rows[1].from_ms, rows[1].ends_ms), (Some(begins), Some(begins), None));
    world.pass(PUBLISHED_BEFORE_USE);
    let wait = file.retire(&signing, world.now(), false, false).unwrap_err();
    assert!(wait.to_string().contains("21 minutes"), "{wait}");
    world.pass(VERIFIED_AFTER);
    file.retire(&signing, world.now(), false, true).unwrap();
    assert_eq!(file.list(world.now()).unwrap().len(), 2, "a dry run");
    file.retire(&signing, world.now(), false, false).unwrap();
    assert!(file.retire(&signing, world.now(), false, false).unwrap_err().to_string().contains("no key"));
    assert_eq!(file.list(world.now()).unwrap().len(), 1);
    // A ring whose last key ends has none that signs, and warns beforehand.
    let day = Duration::from_secs(24 * 3600);
    file.add(world.now(), PUBLISHED_BEFORE_USE, Some(day), false).unwrap();
    let ring = world.process(3);
    let until_ms = ring.jwks().signs_until_ms(world.now()).unwrap();
    assert!(until_ms > world.now() && until_ms <= world.now() + 2 * 24 * 3_600_000);
    world.pass(2 * day);
    let none = ring.sign(UserId::try_from(Uuid::from_bytes([7; 16])).unwrap(), None, TTL).unwrap_err();
    assert!(matches!(none, KeyError::NoneSigns));
}
