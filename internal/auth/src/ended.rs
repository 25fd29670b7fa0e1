//! Ended sessions: from the end on, their access tokens are refused and their sockets closed, on every node, though the
//! tokens would be valid for some more minutes.
//!
//! The user service adds each session that it ends to the store, under the current minute; every program reads the
//! current minutes a few times a second, whatever the number of its users, and keeps what it read for as long as an
//! access token lives. So no token needs a look-up, and a store that does not answer ends no session and delays no
//! request: the program goes on with what it knows. No session can be ended in that store meanwhile; one that was ended
//! in a part of the store that this program cannot reach lives until its access token expires.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use environment::Clock;
use tokio_util::sync::CancellationToken;

use crate::SessionId;

/// How often ended sessions are read. With the time of a read, a session's sockets are closed within a second.
pub const ENDED_POLL: Duration = Duration::from_millis(300);
/// How long an ended session is remembered: longer than the lifetime of an access token, its leeway and the difference
/// of two machines' clocks together.
pub const ENDED_KEPT: Duration = Duration::from_secs(20 * 60);

/// The sessions that were ended lately. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub struct EndedSessions {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// The sessions, with the bucket in which each was found.
    ended: BTreeMap<SessionId, i64>,
    /// Sessions with open sockets, and the number of these.
    watched: BTreeMap<SessionId, (CancellationToken, usize)>,
}

/// Tells when a session is ended. To be kept for as long as that matters.
#[derive(Debug)]
pub struct SessionWatch {
    sessions: EndedSessions,
    id: SessionId,
    ended: CancellationToken,
}

impl EndedSessions {
    /// Whether the session was ended.
    #[must_use]
    pub fn contains(&self, id: &SessionId) -> bool {
        self.lock().ended.contains_key(id)
    }

    /// Adds a session that was ended in that bucket of time.
    pub fn end(&self, id: SessionId, bucket: i64) {
        let mut known = self.lock();
        known.ended.insert(id, bucket);
        if let Some((ended, _)) = known.watched.get(&id) {
            ended.cancel();
        }
    }

    /// Watches a session; one that was ended before counts as ended now.
    #[must_use]
    pub fn watch(&self, id: SessionId) -> SessionWatch {
        let mut known = self.lock();
        let was_ended = known.ended.contains_key(&id);
        let (ended, watches) = known.watched.entry(id).or_default();
        *watches += 1;
        if was_ended {
            ended.cancel();
        }
        SessionWatch { sessions: self.clone(), id, ended: ended.clone() }
    }

    /// Reads the current buckets, for ever. `read` is given the number of a bucket of `bucket_ms` milliseconds;
    /// `report` is called with each outcome.
    pub async fn follow<R, E>(
        &self,
        clock: &Clock,
        bucket_ms: i64,
        read: impl Fn(i64) -> R,
        report: impl Fn(Result<(), &E>),
    ) where
        R: Future<Output = Result<Vec<SessionId>, E>>,
    {
        let kept = i64::try_from(ENDED_KEPT.as_millis()).unwrap_or(i64::MAX) / bucket_ms;
        let mut next = i64::MIN;
        loop {
            let now = clock.now_ms().div_euclid(bucket_ms);
            // The clock of the service that ends a session may be a little ahead, or behind. After an outage, reading
            // goes on from where it began.
            next = next.clamp(now - kept, now - 1);
            let mut outcome = Ok(());
            for bucket in next..=now + 1 {
                match read(bucket).await {
                    Ok(ids) => ids.into_iter().for_each(|id| self.end(id, bucket)),
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            if outcome.is_ok() {
                next = now - 1;
                self.lock().ended.retain(|_, bucket| *bucket >= now - kept);
            }
            report(outcome.as_ref().copied());
            tokio::time::sleep(ENDED_POLL).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionWatch {
    /// The session that is watched.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.id
    }

    /// A token that is cancelled when the session was ended.
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }
}

impl Drop for SessionWatch {
    fn drop(&mut self) {
        let mut known = self.sessions.lock();
        if let Some((_, watches)) = known.watched.get_mut(&self.id) {
            *watches -= 1;
            if *watches == 0 {
                known.watched.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

    use super::*;

    const MINUTE_MS: i64 = 60_000;

    #[tokio::test(start_paused = true)]
    async fn what_is_ended_anywhere_is_known_within_a_second_and_kept_for_as_long_as_tokens_live() {
        let now_ms = Arc::new(AtomicI64::new(1_750_000_000_000));
        let clock = Clock::manual(now_ms.clone());
        let named: Arc<Mutex<Vec<(i64, SessionId)>>> = Arc::default();
        let away = Arc::new(AtomicBool::new(false));
        let sessions = EndedSessions::default();
        let (follower, source, gone) = (sessions.clone(), named.clone(), away.clone());
        let following = tokio::spawn(async move {
            let read = |bucket| {
                let ids =
                    { source.lock().unwrap() }.iter().filter(|(at, _)| *at == bucket).map(|(_, id)| *id).collect();
                let answer = if gone.load(Ordering::SeqCst) { Err("away") } else { Ok(ids) };
                std::future::ready(answer)
            };
            follower.follow(&clock, MINUTE_MS, read, |_| {}).await;
        });
        let bucket = || now_ms.load(Ordering::SeqCst) / MINUTE_MS;
        let (early, late) = ([1; 16], [2; 16]);
        let watch = sessions.watch(late);
        // A node that starts finds it, and so does one whose clock is ahead.
        named.lock().unwrap().push((bucket() - 15, early));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(sessions.contains(&early) && !sessions.contains(&late));
        named.lock().unwrap().push((bucket() + 1, late));
        tokio::time::timeout(Duration::from_millis(900), watch.ended().cancelled()).await.unwrap();
        assert!(sessions.watch(late).ended().is_cancelled(), "ended before it was watched");
        // Sessions that were added while the store was away are found afterwards.
        away.store(true, Ordering::SeqCst);
        named.lock().unwrap().push((bucket(), [3; 16]));
        now_ms.fetch_add(10 * MINUTE_MS, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(sessions.contains(&late) && !sessions.contains(&[3; 16]));
        away.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(sessions.contains(&[3; 16]) && !sessions.contains(&early));
        now_ms.fetch_add(30 * MINUTE_MS, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!sessions.contains(&[3; 16]), "bounded");
        drop(watch);
        assert!(sessions.lock().watched.is_empty());
        following.abort();
    }
}
