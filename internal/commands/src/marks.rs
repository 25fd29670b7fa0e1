//! Appends read marks to `chat.receipts`: at most one record per user and conversation in two seconds.
//!
//! The first mark is appended at once and opens a window; the highest mark that comes during the window is
//! appended at its end. A mark is answered when it, or a higher one, is durable.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use api::ApiError;
use domain::{ConversationId, UserId};
use eventlog::{AppendError, NewRecord, SharedLog, append};
use events::{Codec, ReadMark, topics};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use protocol::ErrorCode;
use store::Mark;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::faults;

/// The length of a window: at most one record is appended per user and conversation in this time.
pub const MARK_WINDOW: Duration = Duration::from_secs(2);
/// Marks in the writer's queue. At the bound, callers are told to retry.
const REQUESTS_MAX: usize = 1024;
/// Open windows. At the bound, callers with marks of other conversations are told to retry.
const WINDOWS_MAX: usize = 65_536;
/// Calls that wait for the end of one window, one per device and retry. At the bound, callers are told to retry.
const WAITERS_MAX: usize = 64;
/// Records that the log has not acknowledged. At the bound, the writer accepts no further marks.
const IN_FLIGHT_MAX: usize = 1024;

type Key = (UserId, ConversationId);
/// The sender of a mark's result to its caller.
type Waiter = oneshot::Sender<Result<(), ErrorCode>>;

/// The queue through which [`crate::Commands::mark`] sends marks to the writer.
#[derive(Clone)]
pub(crate) struct MarkQueue {
    requests: mpsc::Sender<Request>,
}

struct Request {
    key: Key,
    mark: Mark,
    done: Waiter,
}

impl MarkQueue {
    /// Queues a mark and waits until it, or a higher one, is in the log.
    pub(crate) async fn put(&self, key: Key, mark: Mark) -> Result<(), ApiError> {
        let (done, fate) = oneshot::channel();
        let taken = self.requests.try_send(Request { key, mark, done }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => ErrorCode::Busy,
            mpsc::error::TrySendError::Closed(_) => ErrorCode::Unavailable,
        });
        let fate = match taken {
            // The writer has ended, and the mark may have been in flight: sending it again is always safe.
            Ok(()) => fate.await.unwrap_or(Err(ErrorCode::Unknown)),
            Err(code) => Err(code),
        };
        fate.map_err(|code| ApiError::new(code, "the read mark was not taken: send it again"))
    }
}

/// Appends read marks. Its owner runs it as a task for as long as the [`crate::Commands`] are used.
pub struct MarkWriter {
    log: SharedLog,
    codec: Codec,
    requests: mpsc::Receiver<Request>,
    windows: BTreeMap<Key, Window>,
    /// The end of each window. All have the same length, so they end in the order in which they began.
    ends: VecDeque<(Instant, Key)>,
    in_flight: FuturesUnordered<BoxFuture<'static, Flown>>,
}

/// The window of one user in one conversation.
#[derive(Default)]
struct Window {
    /// The highest mark that is known to be durable.
    logged: Option<Mark>,
    /// The mark to append at the end of the window, with its waiting callers.
    waiting: Option<(Mark, Vec<Waiter>)>,
}

/// A record whose fate is known.
struct Flown {
    key: Key,
    mark: Mark,
    waiters: Vec<Waiter>,
    fate: Result<(), AppendError>,
}

impl MarkWriter {
    pub(crate) fn new(log: SharedLog, codec: Codec) -> (MarkQueue, Self) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let writer = Self {
            log,
            codec,
            requests,
            windows: BTreeMap::new(),
            ends: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
        };
        (MarkQueue { requests: sender }, writer)
    }

    /// Appends marks until `shutdown`, or until all [`crate::Commands`] are dropped; then appends the waiting
    /// marks at once, and returns when the log has answered for all of them.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let room = self.in_flight.len() < IN_FLIGHT_MAX;
            let end = self.ends.front().map(|(end, _)| *end);
            tokio::select! {
                biased;
                Some(flown) = self.in_flight.next() => self.land(flown),
                () = shutdown.cancelled() => break,
                () = sleep_until(end.unwrap_or_else(Instant::now)), if room && end.is_some() => self.end_window(),
                request = self.requests.recv(), if room => match request {
                    Some(request) => self.take(request),
                    None => break,
                },
            }
        }
        self.flush().await;
    }

    fn take(&mut self, Request { key, mark, done }: Request) {
        let full = self.windows.len() >= WINDOWS_MAX;
        match self.windows.get_mut(&key) {
            None if full => answer([done], Err(ErrorCode::Busy)),
            None => {
                self.windows.insert(key, Window::default());
                self.ends.push_back((Instant::now() + MARK_WINDOW, key));
                self.fly(key, mark, vec![done]);
            }
            Some(window) if window.logged >= Some(mark) => answer([done], Ok(())),
            Some(window) => {
                let (highest, waiters) = window.waiting.get_or_insert_with(|| (mark, Vec::new()));
                *highest = mark.max(*highest);
                if waiters.len() < WAITERS_MAX {
                    waiters.push(done);
                } else {
                    answer([done], Err(ErrorCode::Busy));
                }
            }
        }
    }

    fn end_window(&mut self) {
        let Some((_, key)) = self.ends.pop_front() else { return };
        let Some(window) = self.windows.get_mut(&key) else { return };
        match window.waiting.take() {
            None => drop(self.windows.remove(&key)),
            Some((mark, waiters)) if window.logged >= Some(mark) => {
                self.windows.remove(&key);
                answer(waiters, Ok(()));
            }
            Some((mark, waiters)) => {
                self.ends.push_back((Instant::now() + MARK_WINDOW, key));
                self.fly(key, mark, waiters);
            }
        }
    }

    fn fly(&self, key: Key, mark: Mark, waiters: Vec<Waiter>) {
        let (user, conversation) = key;
        let encoded = self.codec.read_mark(&ReadMark { user, conversation, seq: mark.seq, ordinal: mark.ordinal });
        let record = NewRecord {
            key: conversation.to_string(),
            partition: None,
            headers: encoded.headers,
            payload: encoded.payload,
        };
        let log = SharedLog::clone(&self.log);
        self.in_flight.push(Box::pin(async move {
            let fate = append(&*log, topics::RECEIPTS, record).await.map(drop);
            Flown { key, mark, waiters, fate }
        }));
    }

    fn land(&mut self, Flown { key, mark, waiters, fate }: Flown) {
        let fate = match fate {
            Ok(()) => {
                if let Some(window) = self.windows.get_mut(&key) {
                    window.logged = window.logged.max(Some(mark));
                }
                Ok(())
            }
            Err(error) => {
                let error = faults::of_append(error);
                tracing::warn!(code = ?error.code, error = ?error.cause, "read mark not appended");
                Err(error.code)
            }
        };
        answer(waiters, fate);
    }

    async fn flush(&mut self) {
        self.requests.close();
        while let Some(request) = self.requests.recv().await {
            self.take(request);
        }
        for (key, window) in std::mem::take(&mut self.windows) {
            if let Some((mark, waiters)) = window.waiting {
                self.fly(key, mark, waiters);
            }
        }
        while let Some(flown) = self.in_flight.next().await {
            self.land(flown);
        }
    }
}

/// Answers the callers that still wait.
fn answer(waiters: impl IntoIterator<Item = Waiter>, fate: Result<(), ErrorCode>) {
    for waiter in waiters {
        let _ = waiter.send(fate);
    }
}
