//! Everything that was sent: when it was due, and what became of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use client::{CommandId, ErrorCode, MessageText, Seq};
use tokio::time::Instant;
use uuid::Uuid;

/// Stands for the number of a send that is none of the run.
pub const NOT_OURS: u32 = u32::MAX;
/// The shortest text of a message, in bytes: it says which one it is.
pub(crate) const TEXT_BYTES_MIN: usize = 25;

/// The fate of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// Not known.
    #[default]
    Open,
    /// It is a message at this seq.
    Stands(Seq),
    /// The server refused it for good.
    Refused(ErrorCode),
}

/// A send. Its number is its index in the ledger.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The id of its command.
    pub id: CommandId,
    /// The number of its conversation.
    pub conversation: u32,
    /// The number of the device that sends it.
    pub device: u32,
    /// The number of the stage that it belongs to.
    pub stage: u16,
    /// When it was due, in microseconds since the run began.
    pub due_us: u64,
    /// When it was first acknowledged.
    pub acked_us: Option<u64>,
    /// What became of it.
    pub fate: Fate,
    /// Whether it may stand behind later ones of its device: it was sent more than once, or was due while the device
    /// had no connection.
    pub unordered: bool,
}

/// All sends of a run, in the order in which they were due.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The moment from which all times of the run count.
    began: Instant,
    /// Marks the ids of this run.
    tag: [u8; 4],
    sent: Mutex<Vec<Sent>>,
}

impl Ledger {
    pub(crate) fn new(tag: [u8; 4]) -> Self {
        Self { began: Instant::now(), tag, sent: Mutex::new(Vec::new()) }
    }

    /// Microseconds from the beginning of the run until `at`.
    pub(crate) fn us(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.us(Instant::now())
    }

    /// Enters a send that is due, under an id made at `now_ms`; returns its number and id.
    pub(crate) fn enter(&self, place: (u32, u32), stage: u16, due: Instant, now_ms: i64) -> (u32, CommandId) {
        let (conversation, device) = place;
        let mut sent = self.lock();
        let number = u32::try_from(sent.len()).unwrap_or(u32::MAX);
        let id = id_of(self.tag, number, now_ms);
        let due_us = self.us(due);
        sent.push(Sent { id, conversation, device, stage, due_us, acked_us: None, fate: Fate::Open, unordered: false });
        (number, id)
    }

    /// The number in the id of a command of this run; `None` for another's.
    pub(crate) fn number(&self, id: CommandId) -> Option<u32> {
        let bytes = id.as_bytes();
        let tag = [bytes[7], bytes[9], bytes[10], bytes[11]];
        (tag == self.tag).then(|| u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]))
    }

    /// The text of a message: of which run it is, and which one, and what fills it up.
    pub(crate) fn text(&self, number: u32, bytes: usize) -> String {
        let mut text = format!("load {:08x} {number} ", u32::from_be_bytes(self.tag));
        text.extend(std::iter::repeat_n('.', bytes.saturating_sub(text.len())));
        text
    }

    /// The number that a text names; [`NOT_OURS`] when it names none of this run.
    pub(crate) fn named_in(&self, text: Option<&MessageText>) -> u32 {
        let named = || {
            let (tag, rest) = text?.reveal().strip_prefix("load ")?.split_once(' ')?;
            let (number, _) = rest.split_once(' ')?;
            (u32::from_str_radix(tag, 16) == Ok(u32::from_be_bytes(self.tag))).then(|| number.parse().ok())?
        };
        named().unwrap_or(NOT_OURS)
    }

    /// The send was acknowledged now. Returns the microseconds since it was due, the first time.
    pub(crate) fn acked(&self, number: u32) -> Option<u64> {
        let now = self.now_us();
        self.change(number, |sent| {
            let first = sent.acked_us.is_none();
            sent.acked_us.get_or_insert(now);
            first.then(|| now.saturating_sub(sent.due_us))
        })
        .flatten()
    }

    pub(crate) fn settled(&self, number: u32, fate: Fate) {
        self.change(number, |sent| sent.fate = fate);
    }

    /// The send may stand behind later ones of its device.
    pub(crate) fn unordered(&self, number: u32) {
        self.change(number, |sent| sent.unordered = true);
    }

    /// When the send was due and which device sent it.
    pub(crate) fn due(&self, number: u32) -> Option<(u64, u32)> {
        self.change(number, |sent| (sent.due_us, sent.device))
    }

    /// The highest seq that a send to each conversation is known to have.
    pub(crate) fn heads(&self, conversations: usize) -> Vec<Option<Seq>> {
        let mut heads = vec![None; conversations];
        for sent in self.lock().iter() {
            if let (Fate::Stands(seq), Some(head)) = (sent.fate, heads.get_mut(sent.conversation as usize)) {
                *head = (*head).max(Some(seq));
            }
        }
        heads
    }

    /// How many sends there are, and how many of them have no fate.
    pub(crate) fn open(&self) -> (usize, usize) {
        let sent = self.lock();
        (sent.len(), sent.iter().filter(|sent| sent.fate == Fate::Open).count())
    }

    /// Whether nothing was sent yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(crate) fn all(&self) -> Vec<Sent> {
        self.lock().clone()
    }

    fn change<T>(&self, number: u32, change: impl FnOnce(&mut Sent) -> T) -> Option<T> {
        self.lock().get_mut(number as usize).map(change)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A UUIDv7 that carries the run's tag and the send's number: an acknowledgement names nothing else.
fn id_of(tag: [u8; 4], number: u32, now_ms: i64) -> CommandId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
    (bytes[6], bytes[7], bytes[8]) = (0x70, tag[0], 0x80);
    bytes[9..12].copy_from_slice(&tag[1..]);
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    CommandId::try_from(Uuid::from_bytes(bytes)).expect("the version and the variant are those of a UUIDv7")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_which_send_it_is_and_of_which_run() {
        let ledger = Ledger::new([1, 2, 3, 4]);
        let (number, id) = ledger.enter((7, 9), 0, Instant::now(), 1_790_000_000_123);
        assert_eq!((number, ledger.number(id)), (0, Some(0)));
        let (number, id) = ledger.enter((7, 9), 0, Instant::now(), 1_790_000_000_123);
        assert_eq!((number, ledger.number(id), id.stamp_ms()), (1, Some(1), 1_790_000_000_123));
        assert_eq!(Ledger::new([1, 2, 3, 5]).number(id), None, "another run's");
    }

    #[test]
    fn a_text_says_which_send_it_is_and_of_which_run() {
        let ledger = Ledger::new([1, 2, 3, 4]);
        let named = |text: &str| ledger.named_in(Some(&MessageText::from(text)));
        for (number, bytes) in [(0, TEXT_BYTES_MIN), (4_711, 200), (u32::MAX - 1, TEXT_BYTES_MIN)] {
            let text = ledger.text(number, bytes);
            assert_eq!((text.len(), named(&text)), (bytes, number));
        }
        let other = Ledger::new([1, 2, 3, 5]);
        for text in [&*other.text(7, 50), "load 01020304", "load 01020304 x ", "hello", ""] {
            assert_eq!(named(text), NOT_OURS, "{text}");
        }
        assert_eq!(ledger.named_in(None), NOT_OURS, "deleted");
    }

    #[tokio::test(start_paused = true)]
    async fn a_latency_counts_from_the_intended_time_and_once() {
        let ledger = Ledger::new([0; 4]);
        let (number, _) = ledger.enter((0, 0), 0, Instant::now(), 0);
        tokio::time::advance(std::time::Duration::from_millis(30)).await;
        assert_eq!((ledger.acked(number), ledger.acked(number)), (Some(30_000), None));
    }
}
