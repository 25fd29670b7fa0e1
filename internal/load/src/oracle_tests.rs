//! The oracle finds what it is there for: each test harms one thing in a good run.

use client::ErrorCode;

use super::*;

/// A run with one conversation, two devices and four messages.
struct Good {
    sent: Vec<Sent>,
    journals: Vec<Journal>,
    histories: Vec<Vec<Stored>>,
}

fn seq(n: u64) -> Seq {
    Seq::try_from(n).unwrap()
}

fn good() -> Good {
    let id = |number: u32| CommandId::first_at(1_000 + i64::from(number));
    let sent = (0..4).map(|number| Sent {
        id: id(number),
        conversation: 0,
        device: 0,
        stage: 0,
        due_us: 0,
        acked_us: Some(5),
        fate: Fate::Stands(seq(10 + u64::from(number))),
        unordered: false,
    });
    let stored = |number: u32| Stored { seq: seq(10 + u64::from(number)), id: id(number), number };
    let shown =
        |number: u32| Shown { conversation: 0, number, seq: seq(10 + u64::from(number)), id: id(number), at_us: 9 };
    let journal = Journal { shown: (0..4).map(shown).collect(), ..Journal::default() };
    Good { sent: sent.collect(), journals: vec![journal; 2], histories: vec![(0..4).map(stored).collect()] }
}

impl Good {
    fn judged(&self) -> Verdict {
        let devices = [vec![0, 1]];
        let Self { sent, journals, histories } = self;
        judge(&Evidence { sent, journals, devices: &devices, histories })
    }

    /// The faults after a change, by kind.
    fn after(change: impl FnOnce(&mut Self)) -> Vec<(Fault, u64)> {
        let mut run = good();
        change(&mut run);
        run.judged().faults.into_iter().collect()
    }
}

#[test]
fn a_good_run_has_no_fault() {
    let verdict = good().judged();
    assert!(verdict.is_zero(), "{verdict}");
    assert_eq!((verdict.sent, verdict.acknowledged, verdict.shown, verdict.ordered), (4, 4, 8, 3));
}

#[test]
fn a_loss_is_found_on_a_device_and_in_the_history() {
    let on_device = Good::after(|run| {
        run.journals[1].shown.remove(2);
    });
    assert_eq!(on_device, [(Fault::NotShown, 1)]);
    let last = Good::after(|run| {
        run.journals[1].shown.pop();
    });
    assert_eq!(last, [(Fault::NotShown, 1)], "also at the end");
    let all = Good::after(|run| run.journals[1].shown.clear());
    assert_eq!(all, [(Fault::NotShown, 4)]);
    let stored = Good::after(|run| {
        run.histories[0].pop();
    });
    assert_eq!(stored, [(Fault::Lost, 1), (Fault::Foreign, 2)], "the two devices show what is not stored");
    let acknowledged = Good::after(|run| {
        run.histories[0].pop();
        run.sent[3].fate = Fate::Open;
        run.journals.iter_mut().for_each(|journal| journal.shown.truncate(3));
    });
    assert_eq!(acknowledged, [(Fault::Lost, 1)], "nobody but the sender ever heard of it");
}

#[test]
fn what_a_sync_covers_is_no_loss_and_what_it_does_not_is_one() {
    let mut run = good();
    run.journals[1].shown.drain(..3);
    run.journals[1].synced(0, seq(11));
    let verdict = run.judged();
    assert_eq!((verdict.faults[&Fault::NotShown], verdict.through_sync), (1, 2), "{verdict}");
    run.journals[1].synced(0, seq(12));
    assert!(run.judged().is_zero());
}

#[test]
fn what_was_lost_before_a_reset_is_not_made_good_by_it() {
    let mut run = good();
    let device = &mut run.journals[1];
    device.synced(0, seq(5));
    // The second of the four is dropped while the device is live. It takes the third, and is reset then.
    device.shown.retain(|shown| [0, 2].contains(&shown.number));
    [10, 12].into_iter().for_each(|shown| device.reached(0, seq(shown)));
    device.synced(0, seq(100));
    let verdict = run.judged();
    assert_eq!((verdict.faults[&Fault::NotShown], verdict.through_sync), (1, 1), "{verdict}");
    // A sync covers nothing behind its head.
    run.journals[1] = Journal { shown: run.journals[1].shown.clone(), ..Journal::default() };
    run.journals[1].synced(0, seq(9));
    assert_eq!(run.judged().faults[&Fault::NotShown], 2);
}

#[test]
fn a_double_is_found_on_a_device_and_in_the_history() {
    let on_device = Good::after(|run| {
        let again = Shown { seq: seq(14), ..run.journals[0].shown[3] };
        run.journals[0].shown.push(again);
    });
    assert_eq!(on_device, [(Fault::Doubled, 1), (Fault::Foreign, 1)]);
    let stored = Good::after(|run| {
        let again = Stored { seq: seq(14), ..run.histories[0][3] };
        run.histories[0].push(again);
    });
    assert!(stored.contains(&(Fault::Doubled, 1)), "{stored:?}");
}

#[test]
fn a_swap_is_found_on_a_device_and_in_the_history() {
    assert_eq!(Good::after(|run| run.journals[0].shown.swap(1, 2)), [(Fault::OutOfOrder, 1)]);
    let stored = Good::after(|run| run.histories[0].swap(1, 2));
    assert_eq!(stored, [(Fault::OutOfOrder, 2)], "by their seqs, and by their sender");
    let two_orders = Good::after(|run| {
        // The device has the two under each other's seq: by itself in order, but not in that of the history.
        let shown = &mut run.journals[0].shown;
        (shown[1].id, shown[2].id) = (shown[2].id, shown[1].id);
    });
    assert_eq!(two_orders, [(Fault::Foreign, 2)]);
}

#[test]
fn what_one_device_sent_stands_in_its_order_unless_it_was_sent_again() {
    // As its devices and the history say alike: only who sent them knows better.
    let swap = |run: &mut Good| {
        let ids = [run.sent[1].id, run.sent[2].id];
        let change = |number: &mut u32, id: &mut CommandId| match *number {
            1 => (*number, *id) = (2, ids[1]),
            2 => (*number, *id) = (1, ids[0]),
            _ => {}
        };
        run.histories[0].iter_mut().for_each(|entry| change(&mut entry.number, &mut entry.id));
        let shown = run.journals.iter_mut().flat_map(|journal| &mut journal.shown);
        shown.for_each(|shown| change(&mut shown.number, &mut shown.id));
        (run.sent[1].fate, run.sent[2].fate) = (run.sent[2].fate, run.sent[1].fate);
    };
    assert_eq!(Good::after(swap), [(Fault::OutOfOrder, 1)]);
    let again = Good::after(|run| {
        swap(run);
        run.sent[1].unordered = true;
    });
    assert_eq!(again, [], "the first of them was sent again");
    let others = Good::after(|run| {
        swap(run);
        run.sent[2].device = 1;
    });
    assert_eq!(others, [], "they are of two devices");
}

#[test]
fn what_the_run_did_not_send_is_found_on_a_device_and_in_the_history() {
    let other = CommandId::first_at(7);
    let on_device = Good::after(|run| {
        let other = Shown { number: NOT_OURS, seq: seq(14), id: other, ..run.journals[0].shown[3] };
        run.journals[0].shown.push(other);
    });
    assert_eq!(on_device, [(Fault::Foreign, 1)]);
    let stored = Good::after(|run| {
        let first = Stored { number: NOT_OURS, seq: seq(14), id: other };
        run.histories[0].extend([first, Stored { seq: seq(15), ..first }]);
    });
    assert_eq!(stored, [(Fault::Foreign, 2)]);
}

#[test]
fn a_message_under_another_id_or_with_another_s_text_is_found() {
    let twice = Good::after(|run| {
        // Logged a second time under an id that nobody sent, and shown like any other.
        let again = Stored { seq: seq(14), id: CommandId::first_at(7), number: 3 };
        run.histories[0].push(again);
        let again = Shown { conversation: 0, number: 3, seq: again.seq, id: again.id, at_us: 9 };
        run.journals.iter_mut().for_each(|journal| journal.shown.push(again));
    });
    assert_eq!(twice.into_iter().map(|(fault, _)| fault).collect::<Vec<_>>(), [Fault::Doubled, Fault::Foreign]);
    let text = Good::after(|run| run.journals[0].shown[2].number = 1);
    assert!(text.contains(&(Fault::Foreign, 1)), "the device shows one with the text of another one: {text:?}");
    let elsewhere = Good::after(|run| {
        let conversation = ELSEWHERE;
        let stray = Shown { conversation, ..run.journals[0].shown[0] };
        run.journals[0].shown.push(stray);
    });
    assert_eq!(elsewhere, [(Fault::Foreign, 1)], "in a conversation that is none of the run");
}

#[test]
fn what_has_no_fate_or_is_refused_or_another_s_is_found() {
    assert_eq!(Good::after(|run| run.sent[1].fate = Fate::Open), [(Fault::Unresolved, 1)]);
    let refused = Good::after(|run| {
        run.sent[3].fate = Fate::Refused(ErrorCode::NotMember);
        run.histories[0].pop();
        run.journals.iter_mut().for_each(|journal| journal.shown.truncate(3));
    });
    assert_eq!(refused, [(Fault::Refused, 1)]);
    assert_eq!(Good::after(|run| run.journals[0].stopped = Some("signed out".into())), [(Fault::Stopped, 1)]);
    let elsewhere = Good::after(|run| run.sent[1].conversation = 7);
    assert_eq!(elsewhere, [(Fault::Foreign, 1)], "it was sent to another conversation");
}

#[test]
fn what_is_not_a_device_s_own_is_foreign_to_it() {
    let mut run = good();
    run.histories.push(Vec::new());
    let elsewhere = Shown { conversation: 1, ..run.journals[0].shown[0] };
    run.journals[0].shown.push(elsewhere);
    assert_eq!(run.judged().faults.into_iter().collect::<Vec<_>>(), [(Fault::Foreign, 1)]);
}
