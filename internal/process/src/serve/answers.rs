//! The memory of answers: one bound on all answers that are being made or that clients have not read yet.
//!
//! A request that reads first reserves what its answer may take at most; once the answer is made, it keeps what it
//! takes until the client has read it. Where no memory is left, the connection that has left a large answer unread for
//! the longest is closed; the request waits a moment, then is answered `busy`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::ApiError;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use protocol::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::link::Link;

/// Bytes of all answers together, those being made and those not read yet.
pub const ANSWERS_BYTES_MAX: usize = 128 << 20;
/// The bytes that are reserved for one answer while it is being made. Pages are bounded below this.
pub const ANSWER_BYTES: usize = 256 << 10;
/// How long a request waits for memory.
pub const MEMORY_WITHIN: Duration = Duration::from_secs(3);
/// How long an answer may stay unread before its connection may be closed to free memory for others.
const LYING_MAX: Duration = Duration::from_secs(1);
/// How often unread answers are looked at while a request waits for memory.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The unit of the account.
const KIB: usize = 1 << 10;
/// Answers up to this size are not counted: the operating system takes them at once.
const SMALL_KIB: usize = 4;

/// The memory that is left for answers. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct AnswerMemory {
    free: Arc<Semaphore>,
    lying: Arc<Mutex<Lying>>,
}

#[derive(Debug, Default)]
struct Lying {
    next: u64,
    /// The unread answers, oldest first.
    answers: BTreeMap<u64, (Instant, CancellationToken)>,
}

/// An answer that is not read yet.
#[derive(Debug)]
pub(super) struct Pinned {
    number: u64,
    lying: Arc<Mutex<Lying>>,
    _kept: OwnedSemaphorePermit,
}

impl Default for AnswerMemory {
    fn default() -> Self {
        Self::within(ANSWERS_BYTES_MAX)
    }
}

impl AnswerMemory {
    fn within(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes / KIB)), lying: Arc::default() }
    }

    /// Reserves memory for an answer that is about to be made.
    async fn reserve(&self) -> Option<OwnedSemaphorePermit> {
        let deadline = Instant::now() + MEMORY_WITHIN;
        let units = u32::try_from(ANSWER_BYTES / KIB).unwrap_or(u32::MAX);
        let mut waits = std::pin::pin!(Arc::clone(&self.free).acquire_many_owned(units));
        loop {
            // The wait goes on where it was: its turn in the semaphore's queue is kept.
            match timeout(LOOK_EVERY, waits.as_mut()).await {
                Ok(kept) => return kept.ok(),
                Err(_) if Instant::now() >= deadline => return None,
                Err(_) => self.let_go(),
            }
        }
    }

    /// Closes connections that have left answers unread, as many as one request needs.
    fn let_go(&self) {
        let lying = self.lying.lock().unwrap_or_else(PoisonError::into_inner);
        let old = lying.answers.values().take_while(|(since, _)| since.elapsed() >= LYING_MAX);
        for (_, close) in old.filter(|(_, close)| !close.is_cancelled()).take(ANSWER_BYTES / (SMALL_KIB * KIB)) {
            close.cancel();
        }
    }

    /// Keeps the memory of the answer until the connection reports that the client has read it.
    fn pin(&self, mut kept: OwnedSemaphorePermit, bytes: usize, link: &Link) {
        let units = bytes.div_ceil(KIB);
        if units <= SMALL_KIB {
            return;
        }
        // What a handler makes beyond its reservation is not counted; none does.
        let Some(kept) = kept.split(units.min(kept.num_permits())) else { return };
        let mut lying = self.lying.lock().unwrap_or_else(PoisonError::into_inner);
        let number = lying.next;
        lying.next += 1;
        lying.answers.insert(number, (Instant::now(), link.closing()));
        drop(lying);
        link.pin(Pinned { number, lying: Arc::clone(&self.lying), _kept: kept });
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.lying.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&self.number);
    }
}

/// Middleware that answers a request within the memory for answers.
pub(super) async fn within_memory(State(answers): State<AnswerMemory>, request: Request, next: Next) -> Response {
    let link = request.extensions().get::<Link>().cloned();
    let Some(link) = link.filter(|_| request.method() == Method::GET) else { return next.run(request).await };
    let Some(kept) = answers.reserve().await else {
        let words = "the server has too many answers waiting to be taken: try again in a moment";
        return ApiError::new(ErrorCode::Busy, words).into_response();
    };
    let response = next.run(request).await;
    let bytes = response.body().size_hint().lower();
    answers.pin(kept, usize::try_from(bytes).unwrap_or(usize::MAX), &link);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_leaves_answers_lying_makes_room_for_others() {
        let answers = AnswerMemory::within(4 * ANSWER_BYTES);
        let links: Vec<Link> = (0..4).map(|_| Link::default()).collect();
        for link in &links {
            let kept = answers.reserve().await.unwrap();
            answers.pin(kept, ANSWER_BYTES, link);
        }
        let waits = answers.clone();
        let waits = tokio::spawn(async move { waits.reserve().await });
        tokio::time::sleep(LYING_MAX / 2).await;
        assert!(links.iter().all(|link| !link.is_closed()), "a moment is everybody's");
        tokio::time::sleep(LYING_MAX).await;
        assert!(links[0].is_closed());
        links[0].unpin();
        assert!(waits.await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn without_memory_a_request_is_told_so_in_time() {
        let answers = AnswerMemory::within(ANSWER_BYTES);
        let _being_made = answers.reserve().await.unwrap();
        let begun = Instant::now();
        assert!(answers.reserve().await.is_none());
        assert!(begun.elapsed() < MEMORY_WITHIN + LOOK_EVERY * 2);
    }

    #[tokio::test]
    async fn an_answer_keeps_what_it_takes_until_it_is_taken() {
        let (answers, link) = (AnswerMemory::within(ANSWER_BYTES * 2), Link::default());
        let free = || answers.free.available_permits() * KIB;
        let kept = answers.reserve().await.unwrap();
        assert_eq!(free(), ANSWER_BYTES);
        answers.pin(kept, 100 * KIB, &link);
        assert_eq!(free(), ANSWER_BYTES * 2 - 100 * KIB);
        link.unpin();
        assert_eq!(free(), ANSWER_BYTES * 2);
    }
}
