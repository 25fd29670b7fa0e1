//! A device: a lean client of the public API, independent of the crate `client`, that does all that clients must do and
//! remembers what it went through, for the oracle.

mod calls;
mod fates;
mod http;
mod inbound;
mod link;
mod memory;
mod network;
mod renewal;
mod runner;
#[cfg(test)]
mod tests;
mod view;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{CommandId, ConversationId, Seq};
use protocol::CommandFrame;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use fates::{Contradiction, Fate, Route, Sent, names};
pub use http::{Account, Endpoints, Failed, Http};
pub use memory::{Heard, Journal, Kept, Memory, Typing, digest};
pub use network::{Network, Request, Stream, Tcp};
pub use view::Room;

use runner::Runner;

/// When each command first went out, whichever device sent it.
pub type Stamps = Arc<Mutex<HashMap<CommandId, Instant>>>;

/// A device that lives until it is stopped or dropped.
#[derive(Debug)]
pub struct Device {
    /// For people.
    pub name: String,
    /// Its own calls of the API.
    pub http: Arc<Http>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// What a device's task and its handle share.
#[derive(Debug)]
struct Shared {
    memory: Mutex<Memory>,
    /// A copy of what it stored some time ago.
    saved: Mutex<Option<Kept>>,
    wish: Mutex<Wish>,
    wake: Notify,
}

/// What the handle wants of the task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wish {
    /// Stay without a connection.
    away: bool,
    /// Drop the connection, without a word.
    drop: bool,
    /// Lose everything since the saved copy.
    go_back: bool,
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device {
    /// A device of `account`, connecting by itself. Every other one sends its token in a header.
    ///
    /// # Errors
    /// When there is no HTTP client to be had.
    pub fn start(number: usize, endpoints: &Endpoints, account: &Account, stamps: &Stamps) -> Result<Self, Failed> {
        Ok(Self::over(Http::new(endpoints.clone(), account.clone())?, number, account, stamps))
    }

    /// The same with those calls of the API, over whichever network.
    #[must_use]
    pub fn over(http: Http, number: usize, account: &Account, stamps: &Stamps) -> Self {
        let http = Arc::new(http);
        let shared = Arc::new(Shared {
            memory: Mutex::new(Memory::new(account.user)),
            saved: Mutex::new(None),
            wish: Mutex::new(Wish::default()),
            wake: Notify::new(),
        });
        let stop = CancellationToken::new();
        let runner = Runner::new(number, Arc::clone(&http), Arc::clone(&shared), Arc::clone(stamps));
        let task = Some(tokio::spawn(runner.run(stop.clone())));
        Self { name: format!("{}/{number}", account.name), http, shared, stop, task }
    }

    /// A look at what it keeps and remembers. Short: the device waits meanwhile.
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.shared.memory()
    }

    /// Sends a command, and sends it again until its fate is known. One whose id it has sent before is one more copy.
    ///
    /// # Errors
    /// When the command is malformed.
    pub fn send(
        &self,
        command: CommandFrame,
        route: Route,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<ConversationId, String> {
        let (now, away) = (Instant::now(), self.shared.wish().away);
        let mut memory = self.memory();
        let (id, conversation) = names(&command, memory.user)?;
        let sent = memory.sends.entry(id).or_insert_with(|| Sent::new(command.clone(), conversation, route, now));
        (sent.command, sent.due, sent.ask) = (command, Some(now), false);
        // Of a command whose fate is known, nobody waits for a further answer; nor for a device that is away.
        sent.permit = permit.filter(|_| sent.is_open() && !away);
        memory.open.insert(id);
        drop(memory);
        self.shared.wake.notify_one();
        Ok(conversation)
    }

    /// Marks a conversation as read up to an entry, and says so again until that is acknowledged.
    pub fn mark(&self, conversation: ConversationId, seq: Seq) {
        let mut memory = self.memory();
        let wanted = memory.kept.unacked.entry(conversation).or_insert(seq);
        *wanted = (*wanted).max(seq);
        drop(memory);
        self.shared.wake.notify_one();
    }

    /// Tells the others that the user is typing, when there is a connection.
    pub fn typing(&self, conversation: ConversationId) {
        let mut memory = self.memory();
        if memory.live {
            memory.typing.push(conversation);
            drop(memory);
            self.shared.wake.notify_one();
        }
    }

    /// Drops the connection without a word; the device comes back by itself.
    pub fn drop_link(&self) {
        self.shared.wish().drop = true;
        self.shared.wake.notify_one();
    }

    /// Goes away, or comes back. What it gets no answer to while it is away keeps nobody waiting.
    pub fn set_away(&self, away: bool) {
        *self.shared.wish() = Wish { away, drop: away, go_back: false };
        if away {
            self.memory().sends.values_mut().for_each(|sent| drop(sent.permit.take()));
        }
        self.shared.wake.notify_one();
    }

    /// Keeps a copy of what the device stores now, for [`Self::go_back`].
    pub fn save(&self) {
        let kept = self.memory().kept.clone();
        *self.shared.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    /// Loses everything stored since [`Self::save`], as a device that crashes or is restored; then comes back.
    pub fn go_back(&self) {
        let mut wish = self.shared.wish();
        (wish.drop, wish.go_back) = (true, true);
        drop(wish);
        self.shared.wake.notify_one();
    }

    /// Ends the device. What it keeps and remembers stays.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // A device that panicked has said so already.
            let _ = task.await;
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
