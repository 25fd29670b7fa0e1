//! Makes response bodies of rows.

use domain::{Content, Seq};
use protocol::{ContentBody, EntryBody, MarkBody, MentionsBody, QuoteBody, ReactionBody, RepliesBody};
use store::{Entry, Mark, ThreadSummary};

/// The body of an entry for a member, or for a reader who left at `left`; `whole` is the conversation's head as it was
/// read before the entry.
///
/// Storage writes the rows of a batch in no order, and the head behind them. So a row may show a change from beyond
/// that head (a reaction) and still lack an earlier one (an edit). The body names the version that the row is certain
/// to have: the device applies the frames of all later changes to it once more, which changes nothing where the row has
/// them.
///
/// Rows hold the newest version only. An entry that changed after the leaving is shown without the parts that are not
/// known to be as of the leaving: its reactions, and its text unless it was never edited or deleted. The body then
/// names the first version, so that a client that has a later one keeps it. A thread with a message from after the leaving
/// is left out, too.
pub(crate) fn entry(entry: Entry, whole: Seq, left: Option<Seq>) -> EntryBody {
    let withheld = left.is_some_and(|left| entry.changed > left);
    let later_replies = entry.replies.zip(left).is_some_and(|(replies, left)| replies.last > left);
    let first_text = entry.edited_ms.is_none() && !entry.deleted;
    let mut body = EntryBody {
        seq: entry.seq,
        id: entry.id,
        author: entry.author,
        time: entry.time_ms,
        kind: String::new(),
        ordinal: entry.ordinal,
        changed: if withheld { entry.seq } else { entry.changed.min(whole).max(entry.seq) },
        body: None,
        reply_to: None,
        thread: None,
        thread_ordinal: None,
        also_in_conversation: false,
        quote: None,
        mentions: None,
        content: None,
        users: Vec::new(),
        edited: entry.edited_ms.filter(|_| !withheld),
        deleted: entry.deleted && !withheld,
        deleted_by: entry.deleted_by.filter(|_| !withheld),
        reactions: Vec::new(),
        replies: entry.replies.filter(|_| !later_replies).map(replies),
        withheld: withheld || later_replies,
    };
    let kind = match entry.content {
        Content::Message { body: text, reply_to, thread } => {
            if !withheld || first_text {
                body.body = Some(text.text);
                body.mentions = MentionsBody::of(&text.mentions);
                body.content = text.custom.map(ContentBody::from);
            }
            body.reply_to = reply_to.map(|reply| reply.to);
            body.quote = reply_to.and_then(|reply| reply.quote).map(QuoteBody::from);
            body.thread = thread.map(|thread| thread.root);
            body.thread_ordinal = thread.map(|thread| thread.ordinal);
            body.also_in_conversation = thread.is_some_and(|thread| thread.also_in_conversation);
            "message"
        }
        Content::Created => "created",
        Content::Joined(users) => {
            body.users = users;
            "joined"
        }
        Content::Left(user) => {
            body.users = vec![user];
            "left"
        }
        Content::Title(title) => {
            body.body = Some(title.into());
            "title"
        }
    };
    kind.clone_into(&mut body.kind);
    if !withheld {
        let reactions = entry.reactions.into_iter();
        body.reactions =
            reactions.map(|reaction| ReactionBody { user: reaction.user, emoji: reaction.emoji }).collect();
    }
    body
}

fn replies(ThreadSummary { messages, last, last_ms }: ThreadSummary) -> RepliesBody {
    RepliesBody { messages, last, last_time: last_ms }
}

pub(crate) fn mark(mark: Mark) -> MarkBody {
    MarkBody { seq: mark.seq, ordinal: mark.ordinal }
}

#[cfg(test)]
mod tests {
    use domain::{CommandId, UserId};
    use store::MessageReaction;

    use super::*;

    fn seq(offset: u64) -> Seq {
        Seq::new(0, offset).unwrap()
    }

    fn message(changed: u64, edited_ms: Option<i64>, deleted: bool) -> Entry {
        let user = UserId::try_from(uuid::Uuid::nil()).unwrap();
        let text = if deleted { "" } else { "hello" };
        Entry {
            seq: seq(5),
            slot: 0,
            ordinal: 1,
            id: CommandId::first_at(1),
            author: user,
            time_ms: 1,
            content: Content::Message { body: text.into(), reply_to: None, thread: None },
            changed: seq(changed),
            edited_ms,
            deleted,
            deleted_by: None,
            reactions: vec![MessageReaction { user, emoji: "!".into() }],
            replies: None,
            original: None,
        }
    }

    #[test]
    fn a_row_from_beyond_the_head_is_named_by_what_it_has_for_certain() {
        let of = |whole| entry(message(11, None, false), seq(whole), None).changed;
        assert_eq!((of(9), of(11), of(12)), (seq(9), seq(11), seq(11)));
        assert_eq!(of(4), seq(5), "a row has itself");
    }

    #[test]
    fn who_has_left_sees_nothing_newer_than_the_leaving() {
        let left = Some(seq(10));
        let as_of = entry(message(10, Some(3), false), seq(20), left);
        assert_eq!((as_of.body, as_of.withheld, as_of.reactions.len()), (Some("hello".into()), false, 1));
        let reacted = entry(message(11, None, false), seq(20), left);
        assert_eq!((reacted.body, reacted.withheld, reacted.reactions.len()), (Some("hello".into()), true, 0));
        for later in [message(11, Some(3), false), message(11, None, true), message(11, Some(3), true)] {
            let later = entry(later, seq(20), left);
            assert_eq!((later.body, later.edited, later.deleted, later.changed), (None, None, false, seq(5)));
            assert!(later.withheld && later.reactions.is_empty());
        }
        assert_eq!(entry(message(11, Some(3), false), seq(20), None).body, Some("hello".into()));
    }
}
