//! What all devices of a run share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::{ConversationId, Seq};
use environment::{Clock, Entropy};
use tokio::time::Instant;

use crate::conversations::Conversation;
use crate::figures::Times;
use crate::ledger::Ledger;

/// Latencies of the present stage, over all devices.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live {
    /// From when a send was due to its acknowledgement.
    pub(crate) ack: Times,
    /// From when a send was due until another device showed it.
    pub(crate) shown: Times,
    /// How late the tool was.
    pub(crate) late: Times,
}

/// The shared state of a run.
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) clock: Clock,
    /// Jitter and ids of the devices.
    pub(crate) entropy: Entropy,
    /// Who sends what where.
    pub(crate) choices: Entropy,
    pub(crate) conversations: Vec<Conversation>,
    numbers: HashMap<ConversationId, u32>,
    live: Mutex<Live>,
    /// Devices that are connected and synced.
    pub(crate) up: AtomicUsize,
    /// Sends that were due and could not be given to their device.
    pub(crate) dropped: AtomicU64,
    /// Whether the scenario has begun: connections count from then on.
    pub(crate) begun: AtomicBool,
    /// Connections that were welcomed, for each second of the run.
    connects: Mutex<HashMap<u64, u64>>,
    /// The head of each conversation when its first device synced: what the run sends comes after it.
    heads: Mutex<HashMap<u32, Seq>>,
    /// Why a device could not connect, the last time.
    trouble: Mutex<Option<String>>,
}

impl World {
    /// The world of a run: who sends what where follows from the seed, its ids do not.
    pub(crate) fn new(conversations: Vec<Conversation>, seed: u64) -> Self {
        let numbers = (0..).zip(&conversations).map(|(number, conversation)| (conversation.id, number)).collect();
        Self {
            ledger: Ledger::new(Entropy::system().bytes()),
            clock: Clock::system(),
            entropy: Entropy::system(),
            choices: Entropy::seeded(seed),
            conversations,
            numbers,
            live: Mutex::default(),
            up: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            begun: AtomicBool::new(false),
            connects: Mutex::default(),
            heads: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// The number of a conversation of the load.
    pub(crate) fn number(&self, conversation: ConversationId) -> Option<u32> {
        self.numbers.get(&conversation).copied()
    }

    pub(crate) fn acked(&self, us: u64) {
        lock(&self.live).ack.record(us);
    }

    pub(crate) fn shown(&self, us: u64) {
        lock(&self.live).shown.record(us);
    }

    pub(crate) fn late(&self, by: Duration) {
        lock(&self.live).late.record(u64::try_from(by.as_micros()).unwrap_or(u64::MAX));
    }

    /// The latencies since the last call.
    pub(crate) fn take_live(&self) -> Live {
        std::mem::take(&mut *lock(&self.live))
    }

    /// A device was welcomed.
    pub(crate) fn connected(&self) {
        if self.begun.load(Ordering::Relaxed) {
            let second = self.ledger.now_us() / 1_000_000;
            *lock(&self.connects).entry(second).or_default() += 1;
        }
    }

    /// The most connections that were welcomed in one second since the scenario began.
    pub(crate) fn connects_per_second(&self) -> u64 {
        lock(&self.connects).values().copied().max().unwrap_or(0)
    }

    /// A device has synced the conversation. Counts before the first send only.
    pub(crate) fn head_at_start(&self, conversation: u32, head: Seq) {
        if !self.ledger.is_empty() {
            return;
        }
        lock(&self.heads).entry(conversation).and_modify(|known| *known = (*known).min(head)).or_insert(head);
    }

    /// The seq after which the history of the run begins.
    pub(crate) fn start_of(&self, conversation: u32) -> Option<Seq> {
        lock(&self.heads).get(&conversation).copied()
    }

    pub(crate) fn trouble(&self, why: String) {
        *lock(&self.trouble) = Some(why);
    }

    pub(crate) fn last_trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// Waits until so many devices are up, and it is known of every conversation where the history of the run begins.
    pub(crate) async fn until_up(&self, count: usize, until: Instant) -> bool {
        while self.up.load(Ordering::Relaxed) < count || lock(&self.heads).len() < self.conversations.len() {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
