//! Tests of the fates of commands.

use super::*;

#[tokio::test]
async fn a_command_is_sent_again_under_its_id_until_it_is_acknowledged() {
    let mut world = World::live();
    world.submit(send(1));
    world.hear(error(1, ErrorCode::Unknown));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.sent, [id(1); 2]);
    world.drop_socket();
    world.hear(welcome(6, None));
    assert_eq!(world.sent, [id(1); 3]);
    world.hear(ack(1));
    world.pass(Duration::from_secs(9));
    assert_eq!((world.sent.len(), world.asked.len()), (3, 0), "acknowledged is enough");
    world.hear(message(1, 11, 1, 7));
    assert_eq!(world.fates, [(id(1), Fate::Stands { seq: seq(11), stands: StandsName::Message })]);
    assert_eq!((world.device.state.open_commands(), &*world.sends), (0, &[3][..]));
}

#[tokio::test]
async fn after_a_reset_the_outcome_of_what_was_sent_is_asked() {
    let mut world = World::live();
    world.submit(send(1));
    world.hear(ack(1));
    world.drop_socket();
    world.hear(welcome(50, Some("gone")));
    assert_eq!(world.asked.len(), 0, "not before the sync is complete");
    world.answer_sync(page(true, &[(2, SyncState::Ready, 20)]));
    world.answer_ask(Ok(absent()));
    assert_eq!(world.sent, [id(1); 2], "absent: the same one again");
    world.drop_socket();
    world.hear(welcome(60, Some("gone")));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 30)]));
    world.answer_ask(Ok(settled(21, StandsName::Message)));
    assert_eq!(world.fates, [(id(1), Fate::Stands { seq: seq(21), stands: StandsName::Message })]);
}

#[tokio::test]
async fn an_outcome_asked_before_a_reset_does_not_count_behind_it() {
    let mut world = World::live();
    world.submit(send(1));
    world.hear(ack(1));
    world.pass(Duration::from_secs(11));
    let stale = world.asked.pop().unwrap();
    world.drop_socket();
    world.hear(welcome(50, Some("gone")));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 20)]));
    assert_eq!(world.asked.len(), 1);
    world.device.outcome(stale, Ok(absent()), world.now);
    world.pass(Duration::ZERO);
    assert_eq!(world.sent.len(), 1, "only the answer of now decides");
}

#[tokio::test]
async fn an_outcome_asked_before_a_reset_on_a_standing_socket_does_not_count_behind_it() {
    let mut world = World::live();
    world.submit(send(1));
    world.hear(ack(1));
    let reason = ErrorCode::NotMember;
    world.hear(feed(
        FeedFrame::Refused { conversation: talk(2), seq: seq(11), id: id(1), reason, message: String::new() },
        6,
    ));
    world.drop_socket();
    world.hear(welcome(50, Some("gone")));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 20)]));
    let stale = world.asked.pop().unwrap();

    // Another copy is accepted, before the cursor of the next reset.
    world.hear(welcome(60, Some("lapped")));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 30)]));
    assert_eq!(world.asked.len(), 1, "asked again");
    world.device.outcome(stale, Ok(absent()), world.now);
    world.answer_ask(Ok(settled(25, StandsName::Message)));
    assert_eq!(world.fates[1..], [(id(1), Fate::Stands { seq: seq(25), stands: StandsName::Message })]);
}

#[tokio::test]
async fn what_a_reset_left_to_be_asked_is_asked_on_a_later_socket_too() {
    let mut world = World::live();
    for n in [1, 2] {
        world.submit(send(n));
        world.hear(ack(n));
    }
    let reason = ErrorCode::NotMember;
    world.hear(feed(
        FeedFrame::Refused { conversation: talk(2), seq: seq(11), id: id(1), reason, message: String::new() },
        6,
    ));
    world.drop_socket();
    world.hear(welcome(50, Some("gone")));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 20)]));
    assert_eq!(std::mem::take(&mut world.asked).len(), 2, "the refused one and the open one");

    world.drop_socket();
    world.hear(welcome(51, None));
    assert_eq!(std::mem::take(&mut world.asked).len(), 2, "at once, although the feed goes on");
    let kept = serde_json::to_string(&world.device.state).unwrap();
    world.device = Device::new(user(1), serde_json::from_str(&kept).unwrap());
    world.hear(welcome(52, None));
    assert_eq!(std::mem::take(&mut world.asked).len(), 2, "by another process");
    world.device = Device::new(user(1), world.device.state.clone());
    world.hear(welcome(52, None));
    assert_eq!(world.asked.len(), 2, "by another device with a copy of its state");

    // A failed request for an outcome is repeated; an answered one is not.
    world.answer_ask(Err(ClientError::SignedOut));
    world.answer_ask(Ok(settled(15, StandsName::Message)));
    assert_eq!(world.asked.len(), 0);
    world.pass(Duration::from_secs(10));
    world.answer_ask(Ok(absent()));
    world.drop_socket();
    world.hear(welcome(53, None));
    let asked = world.asked.iter().map(|asking| asking.id).collect::<Vec<_>>();
    assert_eq!((asked, world.fates.len()), (vec![], 2));
    assert_eq!((world.fates[1].0, world.sent.len()), (id(1), 4), "the other is absent and sent again, on each socket");
}

#[tokio::test]
async fn a_question_that_is_refused_is_no_answer_to_it() {
    let mut world = World::live();
    world.submit(send(1));
    world.hear(ack(1));
    let wait = Duration::from_secs(10);
    for code in [ErrorCode::SessionEnded, ErrorCode::Unauthorized, ErrorCode::NotMember] {
        world.pass(wait);
        let (message, request_id) = ("no".into(), "r".into());
        world.answer_ask(Err(ClientError::Refused { code, message, retry_after: None, request_id }));
        assert_eq!((world.fates.len(), world.device.state.open_commands(), world.asked.len()), (0, 1, 0), "{code:?}");
    }
    world.pass(wait);
    world.answer_ask(Ok(settled(11, StandsName::Message)));
    assert_eq!(world.fates, [(id(1), Fate::Stands { seq: seq(11), stands: StandsName::Message })]);

    // The same holds for a command that a reset made doubtful.
    world.submit(send(2));
    world.drop_socket();
    world.hear(welcome(50, Some("gone")));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 20)]));
    let (code, message, request_id) = (ErrorCode::SessionEnded, "no".into(), "r".into());
    world.answer_ask(Err(ClientError::Refused { code, message, retry_after: None, request_id }));
    world.pass(wait);
    assert_eq!((world.fates.len(), world.asked.len()), (1, 1));
}

#[tokio::test]
async fn a_refusal_is_told_once_asked_for_after_a_reset_and_overruled_by_what_stands() {
    let mut world = World::live();
    world.submit(send(1));
    world.hear(ack(1));
    let refused = |at: u64, next: u64| {
        let reason = ErrorCode::NotMember;
        feed(
            FeedFrame::Refused { conversation: talk(2), seq: seq(at), id: id(1), reason, message: String::new() },
            next,
        )
    };
    world.hear(refused(11, 6));
    let told = Fate::Refused { seq: seq(11), reason: ErrorCode::NotMember, message: String::new() };
    assert_eq!(world.fates, [(id(1), told.clone())]);
    assert_eq!(world.device.state.open_commands(), 0);
    world.pass(Duration::from_secs(60));
    assert_eq!((world.sent.len(), world.asked.len()), (1, 0), "final for this copy");

    world.drop_socket();
    world.hear(welcome(50, Some("gone")));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 20)]));
    world.answer_ask(Ok(absent()));
    assert_eq!((world.sent.len(), world.fates.len()), (1, 1), "absent: it still is refused");
    world.drop_socket();
    world.hear(welcome(60, Some("gone")));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 30)]));
    world.answer_ask(Ok(settled(25, StandsName::Message)));
    assert_eq!(world.fates[1], (id(1), Fate::Stands { seq: seq(25), stands: StandsName::Message }));
}

/// For example, other content under the same id is refused after the first was accepted.
#[tokio::test]
async fn what_stands_wins_over_a_refusal_behind_it() {
    let stands = Fate::Stands { seq: seq(11), stands: StandsName::Message };
    let refused = |next: u64| {
        let (conversation, id, reason) = (talk(2), id(1), ErrorCode::Conflict);
        feed(FeedFrame::Refused { conversation, seq: seq(13), id, reason, message: String::new() }, next)
    };
    let mut world = World::live();
    world.submit(send(1));
    world.hear(message(1, 11, 1, 6));
    world.hear(refused(7));
    assert_eq!(world.fates, [(id(1), stands.clone())]);

    // The frame of the accepted copy was missed: the outcome reports it, with its lower seq.
    let mut world = World::live();
    world.submit(send(1));
    world.hear(refused(7));
    world.drop_socket();
    world.hear(welcome(50, Some("gone")));
    world.answer_sync(page(true, &[(2, SyncState::Ready, 20)]));
    world.answer_ask(Ok(settled(11, StandsName::Message)));
    assert_eq!(world.fates[1..], [(id(1), stands)]);
}

#[tokio::test]
async fn a_refusal_before_the_append_is_final_only_when_no_other_copy_can_stand() {
    let mut world = World::live();
    world.submit(send(1));
    world.hear(error(1, ErrorCode::NotMember));
    let rejected = Fate::Rejected { code: ErrorCode::NotMember, message: "no".into() };
    assert_eq!(world.fates, [(id(1), rejected)]);

    // It is not known whether the first copy was lost.
    world.submit(send(2));
    world.drop_socket();
    world.hear(welcome(6, None));
    world.hear(error(2, ErrorCode::NotMember));
    assert_eq!(world.fates.len(), 1);
    world.answer_ask(Ok(settled(11, StandsName::Message)));
    assert_eq!(world.fates[1].1, Fate::Stands { seq: seq(11), stands: StandsName::Message });
}

#[tokio::test]
async fn what_was_turned_away_and_is_absent_may_still_land_and_is_withdrawn() {
    let withdrawn = |world: &World, n: i64| {
        let command = &world.device.state.commands[&id(n)].command;
        matches!(command.what, CommandKind::Withdraw { .. })
    };
    let mut world = World::live();
    for n in [1, 2, 3] {
        world.submit(send(n));
        world.drop_socket();
        world.hear(welcome(6, None));
        assert_eq!(world.sent, [id(n); 2]);
        world.hear(error(n, ErrorCode::NotMember));
        world.answer_ask(Ok(absent()));
        assert_eq!((&*world.sent, withdrawn(&world, n), world.fates.len()), (&[id(n); 3][..], true, 0), "not final");
        if n == 2 {
            // Only the withdrawal is sent from then on, also on another socket, and with a pause.
            world.drop_socket();
            world.hear(welcome(6, None));
            world.hear(error(n, ErrorCode::IdFromFuture));
            world.pass(Duration::from_secs(5));
            assert_eq!((&*world.sent, world.asked.len()), (&[id(n); 4][..], 0));
            world.pass(Duration::from_secs(5));
            assert_eq!((&*world.sent, withdrawn(&world, n)), (&[id(n); 5][..], true));
        }
        // Either the first copy came first, or the withdrawal.
        let (stands, fate) = if n == 1 {
            (StandsName::Message, Fate::Stands { seq: seq(11), stands: StandsName::Message })
        } else {
            (StandsName::Withdrawal, Fate::Rejected { code: ErrorCode::NotMember, message: "no".into() })
        };
        let at = 20 + n.unsigned_abs();
        let frame = FeedFrame::Settled { conversation: talk(2), seq: seq(at), id: id(n), first_seq: seq(11), stands };
        world.hear(feed(frame, at));
        assert_eq!(std::mem::take(&mut world.fates), [(id(n), fate)]);
        assert!(world.device.state.commands.is_empty());
        world.sent.clear();
    }
}

#[tokio::test]
async fn giving_up_sends_only_the_withdrawal_from_then_on() {
    let mut world = World::live();
    world.submit(send(1));
    world.submit(CommandFrame::new(id(1), talk(2), CommandKind::Withdraw {}));
    world.drop_socket();
    world.hear(welcome(6, None));
    let tracked = &world.device.state.commands[&id(1)];
    assert!(matches!(tracked.command.what, CommandKind::Withdraw { .. }) && tracked.copies == 3);
    let stands = StandsName::Message;
    let frame = FeedFrame::Settled { conversation: talk(2), seq: seq(12), id: id(1), first_seq: seq(11), stands };
    world.hear(feed(frame, 7));
    assert_eq!(world.fates, [(id(1), Fate::Stands { seq: seq(11), stands })], "the message won");
}

#[tokio::test]
async fn a_command_s_fate_is_known_even_where_frames_are_not_shown() {
    let mut world = World::new();
    world.hear(welcome(5, Some("first")));
    world.answer_sync(page(true, &[(2, SyncState::Retry, 7)]));
    world.submit(send(1));
    world.hear(message(1, 11, 1, 6));
    assert_eq!((world.fates.len(), world.seen.len()), (1, 0));
}
