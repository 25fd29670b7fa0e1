//! The metrics of a node.

use environment::Clock;
use process::{CommandSeconds, Latency};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use protocol::{CloseCode, ErrorCode};

/// A node's metrics. Cheap to clone; clones share their counters.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Open sockets, including those that have not sent `hello` yet.
    pub(crate) open: Gauge,
    /// Feed frames sent.
    pub(crate) frames: Counter,
    /// Bytes of these.
    pub(crate) frame_bytes: Counter,
    /// Records read from the log by readers.
    pub(crate) records: Counter,
    /// Sockets that the ring has outrun: they read on from the log.
    pub(crate) outrun: Counter,
    /// Readers that lost their position, and closed their sockets.
    pub(crate) positions_lost: Counter,
    /// Range reads begun.
    pub(crate) range_reads: Counter,
    /// Records read by them.
    pub(crate) range_records: Counter,
    ring_records: Family<PartitionLabel, Gauge>,
    ring_bytes: Family<PartitionLabel, Gauge>,
    resumes: Family<HowLabel, Counter>,
    resets: Family<ReasonLabel, Counter>,
    closes: Family<ReasonLabel, Counter>,
    commands: Family<CodeLabel, Counter>,
    /// From a command to its answer.
    pub(crate) command_seconds: CommandSeconds,
    /// From the append of an event to the flush that wrote it to a device that was connected already: of each flush, the
    /// event that waited longest.
    append_to_written: Latency,
    /// The clock of that.
    clock: Clock,
    unreadable: Family<ReasonLabel, Counter>,
    signals: Family<FateLabel, Counter>,
    /// Signals that newer ones have pushed out before a socket took them.
    pub(crate) signals_pushed_out: Counter,
    /// Errors that readers of signals have met.
    pub(crate) signal_faults: Counter,
    /// Devices that wait to be welcomed.
    pub(crate) waiting: Gauge,
    /// Devices that were asked to come back with the right partition in their URL.
    pub(crate) moves: Counter,
    turned_away: Family<ReasonLabel, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabel {
    partition: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HowLabel {
    how: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FateLabel {
    fate: &'static str,
}

/// Why a device was not let in and told to come later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// The node, or the address that it comes from, has too many sockets.
    Full,
    /// Too many devices wait to be welcomed.
    Crowded,
    /// The node is shutting down.
    Draining,
}

/// The fate of a signal. All but the first are reasons why it was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignalFate {
    /// A record was handed to the log.
    Sent,
    /// Its user, or its socket, has exceeded a rate limit.
    TooOften,
    /// Its user is not a member of the conversation, or the conversation has too many members.
    NotMember,
    /// Too many look-ups of members are running, or too many signals wait for one.
    Busy,
    /// The members could not be looked up in time.
    NotLookedUp,
    /// The log did not accept it: its queue is full, or it does not know the topic.
    NotTaken,
    /// It was read from the log when it was too old to be shown.
    TooOld,
    /// It was read from the log and cannot be decoded.
    Unreadable,
    /// Beyond a bound of watched or tracked users.
    TooMany,
    /// It is about presence, and its device did not ask for signals.
    NotAsked,
}

/// Why a delivery cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Its bytes do not match its schema, or its frame is not valid. Skipped.
    Corrupt,
    /// This program does not know its schema. The devices of users whom it may be for are told to sync.
    UnknownSchema,
}

impl Metrics {
    /// Registers the metrics; once per registry.
    #[must_use]
    pub(crate) fn new(registry: &process::Metrics) -> Self {
        let counter = |name: &str, help: &str| registry.register(name, help, Counter::default());
        Self {
            open: registry.register("sockets_open", "Open sockets", Gauge::default()),
            frames: counter("socket_frames", "Feed frames sent"),
            frame_bytes: counter("socket_frame_bytes", "Bytes of feed frames sent"),
            records: counter("socket_reader_records", "Delivery records read"),
            outrun: counter("socket_outrun", "Sockets that went on from the log, outrun by the recent records"),
            positions_lost: counter("socket_reader_places_lost", "Readers that lost their position in the log"),
            range_reads: counter("socket_range_reads", "Range reads for devices that came back"),
            range_records: counter("socket_range_records", "Records read for devices that came back"),
            ring_records: registry.register("socket_ring_records", "Recent records kept", Family::default()),
            ring_bytes: registry.register("socket_ring_bytes", "Bytes of recent records kept", Family::default()),
            resumes: registry.register("socket_resumes", "Devices that went on from their cursor", Family::default()),
            resets: registry.register("socket_resets", "Devices told to sync, by reason", Family::default()),
            closes: registry.register("socket_closes", "Sockets closed, by reason", Family::default()),
            command_seconds: registry.commands().clone(),
            append_to_written: registry.register(
                "append_to_written_seconds",
                "From the append of an event to the write to a device that was online then; one for each flush, of its first event",
                Latency::default(),
            ),
            clock: registry.clock().clone(),
            commands: registry.register("socket_commands", "Commands and marks, by answer", Family::default()),
            unreadable: registry.register("socket_unreadable_records", "Deliveries not readable", Family::default()),
            signals: registry.register("socket_signals", "Signals, by what became of them", Family::default()),
            signals_pushed_out: counter("socket_signals_pushed_out", "Signals that waited and gave way to newer ones"),
            signal_faults: counter("socket_signal_reader_faults", "Errors met while reading signals"),
            waiting: registry.register("sockets_waiting", "Devices that wait to be welcomed", Gauge::default()),
            moves: counter("socket_moves", "Devices asked to come back with the right partition in their URL"),
            turned_away: registry.register(
                "socket_turned_away",
                "Devices not let in and told to come later, by reason",
                Family::default(),
            ),
        }
    }

    pub(crate) fn turned_away(&self, why: TurnedAway) {
        let reason = match why {
            TurnedAway::Full => "full",
            TurnedAway::Crowded => "crowded",
            TurnedAway::Draining => "draining",
        };
        self.turned_away.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn ring(&self, partition: u32, (records, bytes): (usize, usize)) {
        let set = |family: &Family<PartitionLabel, Gauge>, value: usize| {
            family.get_or_create(&PartitionLabel { partition }).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.ring_records, records);
        set(&self.ring_bytes, bytes);
    }

    pub(crate) fn resumed(&self, how: &'static str) {
        self.resumes.get_or_create(&HowLabel { how }).inc();
    }

    pub(crate) fn reset(&self, reason: &'static str) {
        self.resets.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a closed socket; `None` when the device closed it, or its connection broke.
    pub(crate) fn closed(&self, code: Option<CloseCode>) {
        let reason = match code {
            None => "gone",
            Some(CloseCode::Slow) => "slow",
            Some(CloseCode::Draining) => "draining",
            Some(CloseCode::PositionLost) => "lost_place",
            Some(CloseCode::Idle) => "idle",
            Some(CloseCode::TokenExpired) => "token_expired",
            Some(CloseCode::TooMany) => "too_many",
            Some(CloseCode::Unauthorized) => "unauthorized",
            Some(CloseCode::NoHello) => "no_hello",
            Some(CloseCode::TooLarge) => "too_large",
            Some(CloseCode::Protocol) => "protocol",
        };
        self.closes.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts an answer to a command or read mark; `None` for an acknowledgement.
    pub(crate) fn answered(&self, code: Option<ErrorCode>) {
        let named = code.and_then(|code| serde_json::to_value(code).ok()?.as_str().map(str::to_owned));
        self.commands.get_or_create(&CodeLabel { code: named.unwrap_or_else(|| "ok".to_owned()) }).inc();
    }

    /// Now, for [`Self::written`]: milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Frames were written to a device that has been online since then; the first of them is of an event that was appended
    /// at that time. What was appended before the device came waited for the device, and does not count.
    pub(crate) fn written(&self, appended_ms: Option<i64>, online_since_ms: i64) {
        if let Some(appended_ms) = appended_ms.filter(|appended_ms| *appended_ms >= online_since_ms) {
            self.append_to_written.observe_between(appended_ms, self.clock.now_ms());
        }
    }

    pub(crate) fn signal(&self, fate: SignalFate) {
        let fate = match fate {
            SignalFate::Sent => "sent",
            SignalFate::TooOften => "too_often",
            SignalFate::NotMember => "not_member",
            SignalFate::Busy => "busy",
            SignalFate::NotLookedUp => "not_looked_up",
            SignalFate::NotTaken => "not_taken",
            SignalFate::TooOld => "too_old",
            SignalFate::Unreadable => "unreadable",
            SignalFate::TooMany => "too_many",
            SignalFate::NotAsked => "not_asked",
        };
        self.signals.get_or_create(&FateLabel { fate }).inc();
    }

    /// Counts one, and returns the count before.
    pub(crate) fn unreadable(&self, what: Unreadable) -> u64 {
        let reason = match what {
            Unreadable::Corrupt => "corrupt",
            Unreadable::UnknownSchema => "unknown_schema",
        };
        self.unreadable.get_or_create(&ReasonLabel { reason }).inc()
    }
}
