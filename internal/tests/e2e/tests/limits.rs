//! `schemas/LIMITS.md` has the numbers of the code, and other documents repeat none of them (issue 10, item 15).
//!
//! The page is generated here from the constants, and the test fails when the file differs. To write the file again:
//! `KLATSCH_UPDATE=1 cargo test -p e2e --test limits`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domain::limits;
use events::topics::{DELIVERIES, spec_of};
use process::options::UserRateOptions;
use process::serve;
use serde_json::Value;

/// When set, the file is written instead of compared.
const UPDATE: &str = "KLATSCH_UPDATE";

const HEAD: &str = "\
# Limits

Every number that a client meets. This page is made from the constants of the code by a test
(`internal/tests/e2e/tests/limits.rs`, which fails when it is not current); other documents link to it. Numbers may be raised
without notice; one that is lowered is a new version of the API. *Per process* means that each server counts for itself.
Operators may choose others for sockets of a node, a user and an address, for the rates of commands, for welcomes and for the
time over which a node that stops closes its sockets: `--help` of the programs says how.
";

/// A section: its title, and rows with the limit's name, its value, and what happens beyond it.
type Section = (&'static str, Vec<(&'static str, String, &'static str)>);

fn bytes(count: usize) -> String {
    match count {
        _ if count >= 1 << 20 && count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        _ if count >= 1 << 10 && count.is_multiple_of(1 << 10) => format!("{} KiB", count >> 10),
        _ => format!("{count} bytes"),
    }
}

fn time(span: Duration) -> String {
    let (seconds, millis) = (span.as_secs(), span.as_millis());
    match seconds {
        _ if !millis.is_multiple_of(1000) => format!("{millis} ms"),
        _ if seconds >= 2 * 86_400 && seconds.is_multiple_of(86_400) => format!("{} days", seconds / 86_400),
        _ if seconds > 120 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

fn number(count: impl TryInto<u64>) -> String {
    let digits = count.try_into().unwrap_or(u64::MAX).to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn rate(burst: u32, per_second: u32) -> String {
    format!("{} at once, then {} a second", number(burst), number(per_second))
}

fn attempts(burst: u32, one_per: Duration) -> String {
    format!("{} in a row, then one every {}", number(burst), time(one_per))
}

fn texts() -> Section {
    let stamp = Duration::from_millis(limits::STAMP_AHEAD_MS_MAX.unsigned_abs());
    let (name, password) = (users::limits::NAME_CHARS, users::limits::PASSWORD_CHARS);
    let between = |range: std::ops::RangeInclusive<usize>| format!("{} to {} characters", range.start(), range.end());
    (
        "Texts and ids",
        vec![
            ("text of a message (UTF-8)", bytes(limits::BODY_BYTES_MAX), "`invalid`"),
            ("users whom a message mentions by name", number(limits::MENTIONS_MAX), "`invalid`"),
            (
                "part of a message that a reply quotes",
                format!("{} characters", number(limits::QUOTE_CHARS_MAX)),
                "`invalid`",
            ),
            ("type of a message's content of another kind", bytes(limits::CUSTOM_KIND_BYTES_MAX), "`invalid`"),
            ("data of such content (UTF-8)", bytes(limits::CUSTOM_DATA_BYTES_MAX), "`invalid`"),
            ("title of a group (UTF-8)", bytes(limits::TITLE_BYTES_MAX), "`invalid`"),
            ("reaction (UTF-8)", bytes(limits::EMOJI_BYTES_MAX), "`invalid`"),
            (
                "combining marks on one character, in titles and display names",
                number(domain::words::MARKS_IN_A_ROW_MAX),
                "`invalid`",
            ),
            ("name of an account", between(name), "`invalid`"),
            ("display name", format!("{} characters", users::limits::DISPLAY_NAME_CHARS_MAX), "`invalid`"),
            ("password", between(password), "`invalid`"),
            ("label of a session", format!("{} characters", users::limits::DISPLAY_NAME_CHARS_MAX), "`invalid`"),
            ("an id's stamp ahead of the server's clock", time(stamp), "`id_from_future`"),
        ],
    )
}

fn conversations() -> Section {
    (
        "Conversations",
        vec![
            ("members of a group", number(limits::MEMBERS_MAX), "`full`"),
            ("members named in one command", number(limits::MEMBERS_PER_EVENT_MAX), "`invalid`"),
            (
                "different emojis that a message takes in its time",
                number(limits::EMOJIS_PER_MESSAGE_MAX),
                "`too_many_reactions`",
            ),
            ("edits of a message, each of which is kept", number(limits::EDITS_MAX), "`too_many_edits`"),
            ("messages of a thread, deleted ones too", number(limits::THREAD_MESSAGES_MAX), "`thread_full`"),
            ("pinned messages of a conversation", number(limits::PINS_MAX), "`too_many_pins`"),
            (
                "unread mentions that are counted in a conversation",
                number(chat::limits::MENTIONS_COUNTED_MAX),
                "the count stays there",
            ),
            (
                "reactions shown of one message",
                number(store::REACTIONS_SHOWN_MAX),
                "the first ones by user are shown, all are kept",
            ),
            (
                "groups that a user was taken into and has neither said nor read anything in",
                number(chat::limits::INVITATIONS_MAX),
                "`too_many_invitations`",
            ),
            (
                "of those, groups that one other user has taken them into",
                number(chat::limits::INVITATIONS_BY_ONE_MAX),
                "`too_many_invitations`",
            ),
            (
                "leavings of a group in which one has neither said nor read anything",
                number(chat::limits::LEAVINGS_MAX),
                "`declined`",
            ),
            ("a read mark is in the log within", time(chat::limits::MARK_WINDOW), "marks are coalesced"),
            (
                "deleted messages beyond a read mark that are told apart",
                number(chat::limits::DELETED_COUNTED_MAX),
                "the rest counts as unread",
            ),
        ],
    )
}

fn pages() -> Section {
    let or = |most: usize, default: usize| format!("{}; {default} without `limit`", number(most));
    let page = chat::limits::PAGE_DEFAULT;
    (
        "Pages",
        vec![
            ("conversations of the list", or(chat::limits::CONVERSATIONS_MAX, page), "`page_out_of_range`"),
            ("entries of a timeline, members", or(chat::limits::PAGE_MAX, page), "`page_out_of_range`"),
            (
                "conversations of a sync",
                or(chat::limits::SYNC_PAGE_MAX, chat::limits::SYNC_PAGE_MAX),
                "`page_out_of_range`",
            ),
            (
                "bytes of a page, about",
                bytes(chat::limits::PAGE_BYTES_MAX),
                "the page ends there, with one entry at least",
            ),
            ("ids of one look-up of users", number(users::limits::IDS_MAX), "`invalid`"),
            ("a read waits for storage to catch up", time(chat::Config::default().read_wait), "`retry`"),
        ],
    )
}

fn requests() -> Section {
    // Where the options of programs say nothing else.
    const { assert!(chat::limits::COMMANDS_BURST == UserRateOptions::BURST) }
    const { assert!(chat::limits::COMMANDS_PER_SECOND == UserRateOptions::RATE) }
    let commands = rate(chat::limits::COMMANDS_BURST, chat::limits::COMMANDS_PER_SECOND);
    let names = number(chat::limits::NAMES_PER_COMMAND);
    let count = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let (burst, hourly) = (count(chat::limits::WRITTEN_BYTES_BURST), count(chat::limits::WRITTEN_BYTES_PER_HOUR));
    let at_a_time = bytes(count(chat::limits::WRITTEN_BYTES_AT_ONCE));
    let each_second = bytes(count(chat::limits::WRITTEN_BYTES_PER_SECOND));
    let quickly = format!("{at_a_time} at once, then {each_second} a second");
    let written = format!("{} in a row, then {} an hour", bytes(burst), bytes(hourly));
    let at_once = format!(
        "{}, and {} more wait up to {}",
        number(chat::READS_AT_ONCE),
        number(chat::READS_WAITING_MAX),
        time(chat::READ_TURN_WAIT)
    );
    (
        "Requests",
        vec![
            ("body", bytes(serve::BODY_BYTES_MAX), "`too_large`"),
            (
                "head",
                bytes(serve::HEAD_BYTES_MAX),
                "beyond, or at the latest at twice that: 431, and the connection is closed",
            ),
            ("time for a request's head", time(serve::HEAD_WITHIN), "the connection is closed"),
            ("time for a request's body", time(serve::BODY_WITHIN), "`too_slow`"),
            (
                "rate at which an answer is taken",
                format!("{}/s at least", bytes(serve::TAKEN_RATE_MIN)),
                "the connection is closed",
            ),
            ("commands and marks of a user, over all sockets and HTTP, per process", commands, "`rate_limited`"),
            ("users that a command names, for each of which it counts as one more", names, "`rate_limited`"),
            ("bytes that a user's commands cause to be written, per process", quickly, "`rate_limited`"),
            ("the same in the long run", written, "`rate_limited`"),
            (
                "reads of a user, over all devices, per process",
                rate(chat::READS_BURST, chat::READS_PER_SECOND),
                "`rate_limited`",
            ),
            ("reads of a user at the same time, per process", at_once, "`busy`"),
            (
                "reads from an address, per process",
                rate(chat::ADDRESS_READS_BURST, chat::ADDRESS_READS_PER_SECOND),
                "`rate_limited`",
            ),
            (
                "connections of one address that is not a loopback one, per process",
                number(serve::CONNECTIONS_PER_ADDRESS),
                "the oldest silent one gives way",
            ),
        ],
    )
}

fn accounts() -> Section {
    (
        "Accounts and sessions",
        vec![
            ("an access token is good for", time(users::ACCESS_TTL), "`token_expired`"),
            ("a session ends after its last refresh", time(users::REFRESH_TTL), "`session_ended`"),
            ("a refresh may be asked for again within", time(users::REFRESH_AGAIN_WITHIN), "`session_ended`"),
            ("sessions of a user", number(users::SESSIONS_PER_USER_MAX), "the one used longest ago ends"),
            (
                "failed sign-ins to a name from an address, or of a known device",
                attempts(users::ATTEMPTS, users::ATTEMPT_PER),
                "`rate_limited`",
            ),
            (
                "failed sign-ins from an address that is not a loopback one",
                attempts(users::ADDRESS_ATTEMPTS, users::ADDRESS_ATTEMPT_PER),
                "`rate_limited`",
            ),
            (
                "registrations from an address that is not a loopback one",
                attempts(users::REGISTRATIONS, users::REGISTRATION_PER),
                "`rate_limited`",
            ),
            (
                "other calls about accounts and sessions, of a user",
                attempts(users::CALLS, users::CALL_PER),
                "`rate_limited`",
            ),
            ("such calls from an address", attempts(users::ADDRESS_CALLS, users::ADDRESS_CALL_PER), "`rate_limited`"),
            ("sign-ins that wait for their turn, per process", number(users::WAITING_MAX), "`busy`"),
        ],
    )
}

fn sockets() -> Section {
    let config = sockets::Config::default();
    let retention = spec_of(DELIVERIES).retention.unwrap_or_default();
    (
        "Sockets",
        vec![
            ("frame from a client", bytes(sockets::limits::FRAME_BYTES_MAX), "closed with 4102"),
            ("`batch` from the server, about", bytes(sockets::limits::BATCH_BYTES_MAX), "the rest comes in another"),
            ("time until `hello`", time(config.hello_wait), "closed with 4003"),
            (
                "silence after which the server pings (`ping_ms`)",
                time(config.ping),
                "closed with 4003 after three of these",
            ),
            ("a device takes nothing that the server tries to write", time(config.write_wait), "closed with 4000"),
            (
                "sockets of a user on a node",
                number(config.sockets_per_user_max),
                "the one silent for longest is closed with 4005",
            ),
            ("sockets of a node", number(config.sockets_max), "closed with 4005"),
            (
                "sockets from one address that is not a loopback one, on a node",
                number(serve::CONNECTIONS_PER_ADDRESS),
                "closed with 4005",
            ),
            (
                "devices that a node welcomes, when many come at once",
                format!("{} a second", number(config.welcomes_per_second)),
                "they wait, those with a cursor first",
            ),
            (
                "a device waits to be welcomed for",
                time(sockets::limits::ADMISSION_WAIT),
                "`rate_limited` with `Retry-After`, or closed with 4005",
            ),
            ("sockets of a node that stops are closed over", time(config.drain_window), "all have gone then"),
            ("commands and marks of a socket", rate(config.burst, config.rate), "`rate_limited`"),
            (
                "commands and marks without an answer",
                number(sockets::limits::IN_FLIGHT_MAX),
                "the server reads no further",
            ),
            ("pings and pongs of a socket", rate(sockets::SIGNS_BURST, sockets::SIGNS_PER_SECOND), "closed with 4103"),
            ("malformed frames of a socket", number(sockets::limits::MALFORMED_MAX), "closed with 4103"),
            ("age of a socket without a newer token", time(sockets::limits::SOCKET_AGE_MAX), "closed with 4004"),
            (
                "mean age of a socket behind a balancer that routes by partition",
                time(sockets::limits::REROUTED_AFTER),
                "closed with 4001",
            ),
            (
                "the server waits for the answer to its close frame",
                time(sockets::limits::CLOSE_WAIT),
                "the connection is dropped",
            ),
            ("a cursor is good for", time(retention), "`reset` with `gone`"),
            (
                "records of the feed that a device may be behind",
                number(config.range_records_max),
                "`reset` with `too_far`",
            ),
            ("bytes of these", bytes(config.range_bytes_max), "`reset` with `too_far`"),
        ],
    )
}

fn signals() -> Section {
    use sockets::limits::{MEMBERS_KEPT, QUIET_AFTER_START, SHARING_KEPT, SIGNALS_BURST, SIGNALS_PER_SECOND};
    (
        "Signals",
        vec![
            ("`typing` of a user, for each conversation", format!("one in {}", time(domain::TYPING_EVERY)), "dropped"),
            ("signals from a socket", rate(SIGNALS_BURST, SIGNALS_PER_SECOND), "dropped"),
            (
                "members of a conversation in which others are told who is typing",
                number(domain::TYPING_MEMBERS_MAX),
                "nobody is told",
            ),
            ("somebody is shown as typing for", time(domain::SIGNAL_SHOWN), "older signals are dropped"),
            ("a node knows the members of a conversation for", time(MEMBERS_KEPT), "they are looked up again"),
            ("users whom a socket watches", number(domain::WATCHED_MAX), "the rest of the list is not watched"),
            (
                "changes of one user's presence that a watcher is told",
                format!("one in {}", time(domain::PRESENCE_EVERY)),
                "the newest is told then",
            ),
            (
                "a user stays as present as before, after the last socket was closed, for",
                time(domain::OFFLINE_AFTER),
                "`offline`",
            ),
            ("a node that has started tells nobody about its users for", time(QUIET_AFTER_START), "all is told then"),
            ("a node knows who shares a conversation for", time(SHARING_KEPT), "it is looked up again"),
        ],
    )
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (title, rows) in [texts(), conversations(), pages(), requests(), accounts(), sockets(), signals()] {
        let _ = write!(page, "\n## {title}\n\n| what | how much | beyond |\n|---|---|---|\n");
        for (what, limit, beyond) in rows {
            let _ = writeln!(page, "| {what} | {limit} | {beyond} |");
        }
    }
    page
}

#[test]
fn the_page_of_limits_is_current() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../schemas/LIMITS.md");
    let page = page();
    if std::env::var_os(UPDATE).is_some() {
        return std::fs::write(&path, page).context("writing the page");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = page.lines().zip(written.lines()).find(|(made, written)| made != written);
    ensure!(
        page == written,
        "schemas/LIMITS.md is not what the code says: {differing:?}\nwrite it anew: {UPDATE}=1 cargo test -p e2e --test limits"
    );
    Ok(())
}

/// The ranges in `openapi.yaml`, which generators of clients read, are the same numbers.
#[test]
fn the_ranges_of_the_http_document_are_those_of_the_code() -> Result<()> {
    let document: Value = serde_yaml_ng::from_str(include_str!("../../../../schemas/openapi.yaml"))?;
    let (schemas, paths) = ("/components/schemas", "/paths/~1v1~1");
    // By name: another parameter before it changes nothing.
    let page = |path: &str, name: &str| {
        let list = format!("{paths}{path}/get/parameters");
        let parameters = document.pointer(&list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let at = parameters.iter().position(|parameter| parameter["name"] == name);
        format!("{list}/{}/schema", at.unwrap_or(parameters.len()))
    };
    let (name, password) = (users::limits::NAME_CHARS, users::limits::PASSWORD_CHARS);
    let expected = [
        (format!("{schemas}/Create/properties/members/maxItems"), limits::MEMBERS_PER_EVENT_MAX),
        (format!("{schemas}/AddMembers/properties/members/maxItems"), limits::MEMBERS_PER_EVENT_MAX),
        (format!("{schemas}/Registration/properties/password/minLength"), *password.start()),
        (format!("{schemas}/Registration/properties/password/maxLength"), *password.end()),
        (format!("{schemas}/PasswordChange/properties/new_password/minLength"), *password.start()),
        (format!("{schemas}/PasswordChange/properties/new_password/maxLength"), *password.end()),
        (format!("{schemas}/Registration/properties/display_name/maxLength"), users::limits::DISPLAY_NAME_CHARS_MAX),
        (format!("{}/maxItems", page("users", "ids")), users::limits::IDS_MAX),
        (format!("{}/maximum", page("conversations", "limit")), chat::limits::CONVERSATIONS_MAX),
        (format!("{}/default", page("conversations", "limit")), chat::limits::PAGE_DEFAULT),
        (format!("{}/maximum", page("conversations~1{conversation}~1members", "limit")), chat::limits::PAGE_MAX),
        (format!("{}/default", page("conversations~1{conversation}~1members", "limit")), chat::limits::PAGE_DEFAULT),
        (format!("{}/maximum", page("conversations~1{conversation}~1messages", "limit")), chat::limits::PAGE_MAX),
        (format!("{}/default", page("conversations~1{conversation}~1messages", "limit")), chat::limits::PAGE_DEFAULT),
        (format!("{}/maximum", page("sync", "limit")), chat::limits::SYNC_PAGE_MAX),
        (format!("{}/default", page("sync", "limit")), chat::limits::SYNC_PAGE_MAX),
    ];
    for (pointer, limit) in expected {
        let written = document.pointer(&pointer).and_then(Value::as_u64);
        ensure!(written == Some(limit as u64), "{pointer} is {written:?} in the document and {limit} in the code");
    }
    let pattern = document.pointer(&format!("{schemas}/UserName/pattern")).and_then(Value::as_str).unwrap_or_default();
    ensure!(pattern.ends_with(&format!("{{{},{}}}$", name.start(), name.end())), "names: {pattern}");
    Ok(())
}
