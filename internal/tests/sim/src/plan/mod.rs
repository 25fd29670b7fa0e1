//! What happens in a run, as data: a world and a list of steps, generated from a seed. Being data, it can be
//! printed, and shortened as long as it still fails.

mod generate;
mod hostile;

use testkit::foreign::Foreign;

use crate::weather::Rates;

pub use generate::plan_of;

/// The kind of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The chat service.
    Chat,
    /// A websocket node.
    Sockets,
    /// A storage consumer.
    Storage,
    /// A fan-out consumer.
    Fanout,
}

/// Every process of a world; steps name them by their index here.
pub const PROCESSES: [(&str, Kind); 7] = [
    ("chat", Kind::Chat),
    ("sockets-0", Kind::Sockets),
    ("sockets-1", Kind::Sockets),
    ("storage-0", Kind::Storage),
    ("storage-1", Kind::Storage),
    ("fanout-0", Kind::Fanout),
    ("fanout-1", Kind::Fanout),
];

/// The plan of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The seed that it comes from: the random faults of processes come from it, too.
    pub seed: u64,
    /// The world at the beginning.
    pub setup: Setup,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// The world at the beginning of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Number of users.
    pub users: usize,
    /// Number of devices of each user.
    pub devices: usize,
    /// The numbers of each conversation's members, the founder first; two members make a direct conversation.
    pub rooms: Vec<Vec<usize>>,
    /// The clock offset of each process, in milliseconds.
    pub host_skews_ms: [i64; 7],
    /// Clock offsets that devices take in turn, in milliseconds.
    pub device_skews_ms: Vec<i64>,
    /// Records that a websocket node's ring keeps for each partition.
    pub ring: usize,
    /// Records from before its beginning that a reader takes into the ring.
    pub warm: usize,
    /// The longest range that a node reads from the log for a device, in records.
    pub range: u64,
    /// Events of parked conversations that a fan-out keeps in memory for each partition.
    pub queued: usize,
    /// Events that storage judges at once when it re-drives a held conversation.
    pub slice: usize,
    /// The buffer of a connection, in bytes.
    pub pipe: usize,
    /// The rates of random faults at the beginning.
    pub rates: Rates,
    /// Whether more than one process of each consumer runs from the beginning.
    pub several: bool,
    /// Which processes start as old programs.
    pub old: [bool; 7],
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How often the step yields to all other tasks before it.
    pub yields: u8,
    /// The pause before it, in milliseconds.
    pub wait_ms: u64,
    /// Seed for the choices that the step leaves open, such as which message or text.
    pub salt: u64,
    /// What happens.
    pub what: What,
}

/// What a step does. Devices, users, rooms and processes are numbers, taken modulo the number that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // of fields: their names, and the line above them, say it
pub enum What {
    /// A device sends a command.
    Say { device: usize, room: usize, verb: Verb, http: bool },
    /// A device repeats an earlier command.
    Repeat { device: usize, how: Repeat, http: bool },
    /// A device's connection breaks after so many more bytes from its node.
    Cut { device: usize, after: usize },
    /// A device's connection disappears, and the node is not notified.
    Vanish { device: usize },
    /// A device reads nothing for a while.
    Stall { device: usize, ms: u64 },
    /// A device disconnects for longer, or connects again.
    Away { device: usize, away: bool },
    /// A device saves a copy of all it stores.
    Save { device: usize },
    /// A device returns to its saved copy.
    GoBack { device: usize },
    /// A process dies.
    Kill { process: usize },
    /// A process dies in the middle of its work: after it has passed so many more gates, before and after its calls.
    Doom { process: usize, points: u32 },
    /// A process is asked to stop.
    Stop { process: usize },
    /// A process is started if it is not running, as a current or an old program.
    Start { process: usize, old: bool },
    /// A process is paused for a while.
    Pause { process: usize, ms: u64 },
    /// A consumer receives no events of its group for a while.
    Deafen { process: usize, ms: u64 },
    /// Another member joins a consumer group, processes nothing, and leaves.
    Ghost { storage: bool, ms: u64 },
    /// The broker is down.
    BrokerDown { ms: u64 },
    /// The partition of `chat.deliveries` with that device's user has no leader.
    Leaderless { device: usize, ms: u64 },
    /// The store is down.
    StoreDown { ms: u64 },
    /// The store is slow for one kind of process.
    StoreSlow { kind: Kind, by_ms: u64, ms: u64 },
    /// The rates of random faults change.
    Faults { rates: Rates },
    /// The broker's clock is set off: a failover to a broker with another clock.
    BrokerClock { ms: i64 },
    /// The time of day jumps forward.
    Leap { ms: i64 },
    /// The store is emptied.
    Empty,
    /// One kind of process cannot read the rows of a conversation for a while.
    Garble { room: usize, kind: Kind, ms: u64 },
    /// A user reads the list of conversations or the newest page of one.
    Look { device: usize, room: usize, list: bool },
    /// Another producer writes a record.
    Foreign { room: usize, what: Foreign },
    /// An operator drops the events that no program can read and that both consumers wait at.
    Drop,
    /// `chat.deliveries` is re-created, each partition with so many records fewer than before.
    Recreate { fewer: u64 },
    /// Nothing happens.
    Wait,
}

/// A command, a read mark or a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Sends a message.
    Send,
    /// Sends a message of several KB: a few of them fill a connection's buffer.
    Long,
    /// Sends a reply.
    Reply,
    /// Sends a message into a thread.
    Thread,
    /// Sends a message that mentions members, and sometimes has more.
    Mention,
    /// Edits an own message.
    Edit,
    /// Deletes an own message.
    Delete,
    /// Adds a reaction.
    React,
    /// Removes a reaction.
    Unreact,
    /// Pins a message.
    Pin,
    /// Takes a pin away.
    Unpin,
    /// Marks the conversation as read.
    Mark,
    /// Sends a typing signal; no command.
    Type,
    /// Adds a member.
    Add,
    /// Removes a member.
    Remove,
    /// Leaves the conversation.
    Leave,
    /// Changes a member's role.
    Role,
    /// Changes the title.
    Title,
    /// Creates the conversation, perhaps again.
    Create,
    /// A stranger replies to a message that it cannot see, or sends another command about one: edits, reacts, deletes.
    StrangerTouch,
    /// A stranger withdraws an id: its own, or another user's.
    StrangerWithdraw,
    /// A stranger sends a read mark.
    StrangerMark,
    /// Adds users that do not exist.
    AddNobody,
    /// Creates a group with users that do not exist, or a direct conversation with one.
    CreateNobody,
}

/// How a command is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Unchanged.
    Same,
    /// With another text under the same id.
    Other,
    /// As a withdrawal of its id.
    Withdraw,
}
