//! Records of other producers (issue 10, item 5): each kind in each topic affects only the users and conversations
//! it is about.

use sim::{Foreign, Stream, Verb, What};

use crate::{DIRECT, GROUP, happened, lives, say, setup};

/// All kinds except the one that holds its conversation, which the next test is about.
#[test]
fn records_of_other_producers_in_every_topic_lose_nothing() {
    let all = Foreign::all();
    let mut course = vec![(500, say(0, GROUP, Verb::Send)), (500, say(0, DIRECT, Verb::Send))];
    for (number, what) in all.iter().enumerate() {
        course.push((100, What::Foreign { room: number % 2, what: *what }));
        course.push((100, say(number % 2, number % 2, Verb::Send)));
        course.push((100, say((number + 1) % 2, number % 2, Verb::Mark)));
    }
    let totals = lives(&setup(), &course);
    all.iter().for_each(|what| happened(&totals, what.counted()));
    for what in ["read marks logged", "read marks heard", "foreign frames passed over", "records that cannot be read"] {
        happened(&totals, what);
    }
}

/// A record in the wire format whose schema is not registered: a later version might read it, so it holds its
/// conversation until an operator decides that none will.
#[test]
fn what_no_program_will_ever_read_holds_its_conversation_until_it_is_dropped() {
    let unread = What::Foreign { room: GROUP, what: Foreign::Unregistered(Stream::Messages) };
    let mut course = vec![(500, say(0, GROUP, Verb::Send)), (500, unread)];
    course.extend((0..3).map(|number| (100, say(number, GROUP, Verb::Send))));
    course.extend([(2_000, unread), (500, say(1, GROUP, Verb::Title)), (500, say(0, DIRECT, Verb::Send))]);
    course.extend([(90_000, What::Drop), (500, say(2, GROUP, Verb::Send)), (70_000, say(1, GROUP, Verb::Send))]);
    let dropped = lives(&setup(), &course).get("events dropped by an operator").copied();
    assert_eq!(dropped, Some(2 * crate::LUCK.count() as u64));
}
