use serde_json::json;

use super::*;

const ROOM: &str = "room";

/// The ledger of a part in which Ann sends three messages and a device of Bob is shown `frames` (part, number, seq).
fn part(vu: u32, frames: &[(u32, u64, u64)]) -> String {
    let mut lines = vec![json!({ "line": "begin", "version": 1, "run": "r" })];
    for n in 0..3 {
        lines.push(json!({ "line": "sent", "n": n, "id": format!("id-{vu}-{n}"), "conversation": ROOM,
            "author": format!("ann{vu}"), "state": "stands", "copies": 1 }));
    }
    lines.push(json!({ "line": "member", "conversation": ROOM, "user": "bob", "spans": [[1, null]] }));
    lines.push(
        json!({ "line": "device", "device": 0, "user": "bob", "conversation": ROOM, "frames": frames, "rows": [] }),
    );
    lines.push(json!({ "line": "end", "lines": lines.len(), "dup": 0, "reorder": 0, "foreign": 0 }));
    lines.iter_mut().for_each(|line| line["vu"] = json!(vu));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// All six messages of two parts, each at its seq.
const ALL: [(u32, u64, u64); 6] = [(0, 0, 10), (1, 0, 11), (0, 1, 12), (1, 1, 13), (0, 2, 14), (1, 2, 15)];

fn judged(parts: &[String]) -> Report {
    joined(parts).judge(None).unwrap()
}

fn joined(parts: &[String]) -> Ledgers {
    let mut ledgers = Ledgers::default();
    for (at, text) in parts.iter().enumerate() {
        ledgers.add(&format!("file {at}"), text.as_bytes()).unwrap();
    }
    ledgers
}

#[test]
fn parts_that_saw_everything_of_one_another_pass() {
    let report = judged(&[part(0, &ALL), part(1, &ALL)]);
    assert!(report.passes(), "{report:?}");
    assert_eq!((report.parts, report.sent, report.expected, report.ordered), (2, 6, 12, 6));
}

#[test]
fn a_message_of_another_part_that_was_not_shown_is_lost() {
    let report = judged(&[part(0, &ALL), part(1, &[&ALL[..2], &ALL[3..]].concat())]);
    assert_eq!((report.lost, report.dup, report.reorder, report.foreign), (1, 0, 0, 0));
    assert_eq!(report.examples, ["device 0 of part 1 was not shown message 1 of part 0, id id-0-1"]);
    assert!(!report.passes());
}

#[test]
fn devices_that_name_different_seqs_are_in_different_orders() {
    let mut other = ALL;
    (other[2].2, other[3].2) = (13, 12);
    let report = judged(&[part(0, &ALL), part(1, &other)]);
    assert_eq!((report.lost, report.reorder), (0, 2));
}

#[test]
fn an_author_s_messages_in_another_order_than_they_were_sent_are_a_reorder() {
    let mut swapped = ALL;
    (swapped[0].2, swapped[2].2) = (12, 10);
    assert_eq!(judged(&[part(0, &swapped), part(1, &swapped)]).reorder, 1);
}

#[test]
fn what_a_part_saw_itself_counts() {
    let doubled = part(0, &ALL).replace("\"dup\":0", "\"dup\":4");
    assert_eq!(judged(&[doubled, part(1, &ALL)]).dup, 4);
}

#[test]
fn a_message_that_nobody_sent_is_foreign() {
    let report = judged(&[part(0, &[&ALL[..], &[(1, 9, 99)]].concat()), part(1, &ALL)]);
    assert_eq!((report.lost, report.foreign), (0, 1));
}

#[test]
fn a_message_that_was_refused_and_yet_stands_is_foreign() {
    let refuses = |text: &str| {
        let refused =
            |line: &str| if line.contains("id-0-1") { line.replace("stands", "refused") } else { line.into() };
        text.lines().map(|line| refused(line) + "\n").collect::<String>()
    };
    let shown = judged(&[refuses(&part(0, &ALL)), part(1, &ALL)]);
    assert_eq!((shown.lost, shown.foreign), (0, 2), "both devices show it");
    let others = [&ALL[..2], &ALL[3..]].concat();
    let read = part(0, &others).replace("\"rows\":[]", "\"rows\":[[0,1]]");
    assert_eq!(judged(&[refuses(&read), part(1, &others)]).foreign, 1, "a history has it");
    assert!(judged(&[refuses(&part(0, &others)), part(1, &others)]).passes(), "it is nowhere");
}

#[test]
fn what_is_acknowledged_must_be_in_the_log_in_that_order() {
    let line =
        |offset: u64, id: &str| format!("{}\n", json!({ "offset": offset, "fields": { "envelope": { "id": id } } }));
    let ids = ["id-0-0", "id-1-0", "id-0-1", "id-1-1", "id-0-2", "id-1-2"];
    let log = |ids: &[&str]| -> String { (0..).zip(ids).map(|(offset, id)| line(offset, id)).collect() };
    let against = |log: &str| {
        let mut ledgers = joined(&[part(0, &ALL), part(1, &ALL)]);
        ledgers.add_log("log", log.as_bytes()).unwrap();
        ledgers.judge(None).unwrap()
    };
    assert!(against(&log(&ids)).passes());
    assert_eq!(against(&log(&ids[1..])).lost, 1);
    let mut swapped = ids;
    swapped.swap(2, 3);
    assert_eq!(against(&log(&swapped)).reorder, 1);
}

#[test]
fn a_run_with_a_part_missing_or_unfinished_is_void() {
    let missing = joined(&[part(0, &ALL)]).judge(Some(2)).unwrap_err().to_string();
    assert_eq!(missing, "the run is void: parts are missing: 1");
    assert!(joined(&[part(1, &ALL)]).judge(None).is_err());
    let mut ledgers = Ledgers::default();
    let whole = part(0, &ALL);
    let cut: String = whole.split_inclusive('\n').take(3).collect();
    assert!(ledgers.add("file", cut.as_bytes()).unwrap_err().to_string().contains("has no end"));
    let other = part(1, &ALL).replace("\"run\":\"r\"", "\"run\":\"s\"");
    assert!(joined(&[part(0, &ALL)]).add("file", other.as_bytes()).is_err());
    assert!(joined(&[part(0, &ALL)]).add("file", part(0, &ALL).as_bytes()).is_err());
}

#[test]
fn parts_may_be_mixed_in_one_file_among_other_lines() {
    let (one, other) = (part(0, &ALL), part(1, &ALL));
    let mixed: Vec<&str> = one.lines().zip(other.lines()).flat_map(|(one, other)| [one, "a warning", other]).collect();
    assert!(judged(&[mixed.join("\n")]).passes());
    let short: Vec<&str> = mixed.iter().copied().filter(|line| !line.contains("id-1-2")).collect();
    assert!(Ledgers::default().add("file", short.join("\n").as_bytes()).is_err());
}

#[test]
fn nothing_compared_does_not_pass() {
    assert!(!Report::default().passes());
}
