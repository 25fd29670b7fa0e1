//! What will happen in a run, as data: a world and a list of steps, made from a seed. So it can be printed, and made
//! shorter while it still shows what it shows.

mod generate;
mod hostile;

use testkit::foreign::Foreign;

use crate::weather::Rates;

pub use generate::plan_of;

/// What a process is.
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

/// Every process of a world; steps name them by their place here.
pub const PROCESSES: [(&str, Kind); 7] = [
    ("chat", Kind::Chat),
    ("sockets-0", Kind::Sockets),
    ("sockets-1", Kind::Sockets),
    ("storage-0", Kind::Storage),
    ("storage-1", Kind::Storage),
    ("fanout-0", Kind::Fanout),
    ("fanout-1", Kind::Fanout),
];

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where it comes from: processes draw their luck from it, too.
    pub seed: u64,
    /// The world at the beginning.
    pub setup: Setup,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// A world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Users.
    pub users: usize,
    /// Devices of each.
    pub devices: usize,
    /// Members of each conversation, the founder first; with two, it is a direct one.
    pub rooms: Vec<Vec<usize>>,
    /// How far each process's clock is off, in milliseconds.
    pub host_skews_ms: [i64; 7],
    /// How far each device's clock is off, in milliseconds, in turn.
    pub device_skews_ms: Vec<i64>,
    /// Recent records that a websocket node keeps per partition.
    pub ring: usize,
    /// The longest range that a node reads for a device.
    pub range: u64,
    /// Events that the parked conversations of a partition keep in a fan-out's memory.
    pub queued: usize,
    /// Events that storage judges at a time of what a hold has skipped.
    pub slice: usize,
    /// Bytes that a connection holds.
    pub pipe: usize,
    /// The faults at the beginning.
    pub rates: Rates,
    /// Whether more than one process of each consumer runs from the beginning.
    pub several: bool,
    /// Which processes begin as older programs.
    pub old: [bool; 7],
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Before it, so many times everything else has its turn.
    pub yields: u8,
    /// And so many milliseconds pass.
    pub wait_ms: u64,
    /// For all that the step leaves open: which message, which text.
    pub salt: u64,
    /// What happens.
    pub what: What,
}

/// What happens in a step. Devices, users, rooms and processes are numbers, taken modulo how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // of fields: their names, and the line above them, say it
pub enum What {
    /// Somebody says something: a command of any kind.
    Say { device: usize, room: usize, verb: Verb, http: bool },
    /// Something said before, once more.
    Repeat { device: usize, how: Repeat, http: bool },
    /// A device's connection breaks after so many more bytes from its node.
    Cut { device: usize, after: usize },
    /// The same, and the node is not told.
    Vanish { device: usize },
    /// A device takes nothing for a while.
    Stall { device: usize, ms: u64 },
    /// A device stays away, or comes back.
    Away { device: usize, away: bool },
    /// A device keeps a copy of all it stores.
    Save { device: usize },
    /// A device loses what it stored since.
    GoBack { device: usize },
    /// A process dies.
    Kill { process: usize },
    /// A process dies in the middle of its work: after it has passed so many more points before and after calls.
    Doom { process: usize, points: u32 },
    /// A process is asked to stop.
    Stop { process: usize },
    /// A process is started, if it does not run: the program of today, or an older one.
    Start { process: usize, old: bool },
    /// A process stops in its tracks for a while.
    Pause { process: usize, ms: u64 },
    /// A consumer does not hear of its group for a while.
    Deafen { process: usize, ms: u64 },
    /// Somebody joins a consumer group and does nothing.
    Ghost { storage: bool, ms: u64 },
    /// The broker is away.
    BrokerDown { ms: u64 },
    /// The store is away.
    StoreDown { ms: u64 },
    /// The store is slow for one kind of process.
    StoreSlow { kind: Kind, by_ms: u64, ms: u64 },
    /// Other faults from now on.
    Faults { rates: Rates },
    /// The broker's clock is moved: a failover to a broker whose clock is off.
    BrokerClock { ms: i64 },
    /// The time of day is later all at once.
    Leap { ms: i64 },
    /// The store is emptied.
    Empty,
    /// Rows of a conversation cannot be read by one kind of process.
    Garble { room: usize, kind: Kind, ms: u64 },
    /// A user reads the list of conversations, or else the newest page of one.
    Look { device: usize, room: usize, list: bool },
    /// Another producer writes a record.
    Foreign { room: usize, what: Foreign },
    /// An operator drops what no program will ever read, where both consumers wait at it.
    Drop,
    /// `chat.deliveries` is created anew, each partition with so many records fewer than it had.
    Recreate { fewer: u64 },
    /// Nothing.
    Wait,
}

/// A kind of command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A message.
    Send,
    /// A message of several KB: a few of them fill a connection.
    Long,
    /// An answer to a message.
    Reply,
    /// Another text for one's own message.
    Edit,
    /// One's own message is deleted.
    Delete,
    /// A reaction.
    React,
    /// No reaction any more.
    Unreact,
    /// How far one has read.
    Mark,
    /// Nothing: one is typing.
    Type,
    /// Somebody becomes a member.
    Add,
    /// Somebody is removed.
    Remove,
    /// One leaves.
    Leave,
    /// Somebody's role changes.
    Role,
    /// A new title.
    Title,
    /// The conversation is opened, perhaps again.
    Create,
    /// A stranger edits, deletes, reacts to or answers what it cannot see.
    StrangerTouch,
    /// A stranger withdraws an id: its own, or one that somebody else has used.
    StrangerWithdraw,
    /// A stranger says that it has read.
    StrangerMark,
    /// Users that do not exist become members.
    AddNobody,
    /// A group with users that do not exist, or a direct conversation with one.
    CreateNobody,
}

/// How something is said again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// As it was.
    Same,
    /// With another text.
    Other,
    /// It is given up.
    Withdraw,
}
