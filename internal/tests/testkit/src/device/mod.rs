//! A device: a lean client of the public API, independent of the crate `client`. It does everything that clients
//! must do, and keeps a journal of its experience for the oracle.

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

use domain::{CommandId, ConversationId, Doing, Seq, UserId};
use protocol::{ClientFrame, CommandFrame, OwnStatus};
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

/// When each command was first sent, by whichever device.
pub type Stamps = Arc<Mutex<HashMap<CommandId, Instant>>>;

/// A device that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Device {
    /// Its name, for messages.
    pub name: String,
    /// Its HTTP API.
    pub http: Arc<Http>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// State that a device's task and its handle share.
#[derive(Debug)]
struct Shared {
    memory: Mutex<Memory>,
    /// A copy of what it stored at the last [`Device::save`].
    saved: Mutex<Option<Kept>>,
    wish: Mutex<Wish>,
    wake: Notify,
}

/// What the handle asks of the task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wish {
    /// Whether to stay disconnected.
    away: bool,
    /// Whether to drop the connection, without a close frame.
    drop: bool,
    /// Whether to return to the saved copy.
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
    /// Starts a device of `account`, which connects by itself. Every other device sends its token in a header.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn start(number: usize, endpoints: &Endpoints, account: &Account, stamps: &Stamps) -> Result<Self, Failed> {
        Ok(Self::over(Http::new(endpoints.clone(), account.clone())?, number, account, stamps))
    }

    /// As [`Self::start`], with an HTTP API over any network.
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

    /// The device's state. The guard must be released soon: the device's task waits meanwhile.
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.shared.memory()
    }

    /// Sends a command, and retries until its fate is known. Sending the same id again adds one more copy.
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
        // The permit is needed only while an answer is expected: not when the fate is known already, nor while the
        // device is away.
        sent.permit = permit.filter(|_| sent.is_open() && !away);
        memory.open.insert(id);
        drop(memory);
        self.shared.wake.notify_one();
        Ok(conversation)
    }

    /// Marks a conversation as read up to an entry, and retries until that is acknowledged.
    pub fn mark(&self, conversation: ConversationId, seq: Seq) {
        let mut memory = self.memory();
        let wanted = memory.kept.unacked.entry(conversation).or_insert(seq);
        *wanted = (*wanted).max(seq);
        drop(memory);
        self.shared.wake.notify_one();
    }

    /// Sends that the user is typing, when there is a connection: a text, a file and as an assistant in turn.
    pub fn typing(&self, conversation: ConversationId) {
        let mut memory = self.memory();
        if memory.live {
            let doing = Doing::ALL[memory.typed % Doing::ALL.len()];
            memory.typed += 1;
            let doing = Some(doing.into());
            memory.moments.push(ClientFrame::Typing { conversation, doing, thread: None });
            drop(memory);
            self.shared.wake.notify_one();
        }
    }

    /// Sends how present the user is at this device, when there is a connection.
    pub fn present(&self, status: OwnStatus) {
        let mut memory = self.memory();
        if memory.live {
            memory.moments.push(ClientFrame::Presence { status });
            drop(memory);
            self.shared.wake.notify_one();
        }
    }

    /// Watches these users, when there is a connection.
    pub fn watch(&self, users: &[UserId]) {
        let mut memory = self.memory();
        if memory.live {
            memory.watched.extend(users);
            memory.moments.push(ClientFrame::Watch { users: users.to_vec() });
            drop(memory);
            self.shared.wake.notify_one();
        }
    }

    /// Drops the connection without a close frame; the device connects again by itself.
    pub fn drop_link(&self) {
        self.shared.wish().drop = true;
        self.shared.wake.notify_one();
    }

    /// Disconnects for longer, or connects again. Permits of commands that get no answer while the device is away
    /// are returned.
    pub fn set_away(&self, away: bool) {
        *self.shared.wish() = Wish { away, drop: away, go_back: false };
        if away {
            self.memory().sends.values_mut().for_each(|sent| drop(sent.permit.take()));
        }
        self.shared.wake.notify_one();
    }

    /// Saves a copy of what the device stores now, for [`Self::go_back`].
    pub fn save(&self) {
        let kept = self.memory().kept.clone();
        *self.shared.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    /// Drops everything stored since [`Self::save`], as a device that crashes or is restored from a backup; then
    /// connects again.
    pub fn go_back(&self) {
        let mut wish = self.shared.wish();
        (wish.drop, wish.go_back) = (true, true);
        drop(wish);
        self.shared.wake.notify_one();
    }

    /// Stops the device. Its state stays readable.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // A task that panicked has printed its message already.
            let _ = task.await;
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
