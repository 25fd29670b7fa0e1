//! Read marks that are being sent: for each conversation only the highest, one at a time, sent again until it is
//! acknowledged.
//!
//! An answer does not say which mark it belongs to: it names the entry that the server found, which may be an
//! earlier one. But as long as the socket lasts, each mark gets one answer. So an acknowledgement counts for the
//! mark sent last only when no other answer is outstanding.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{ConversationId, Seq};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A mark that was not acknowledged is sent again after this time; servers gather marks for two seconds.
const RESEND_AFTER: Duration = Duration::from_secs(15);

/// The marks that are not acknowledged yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Marks {
    wanted: BTreeMap<ConversationId, Wanted>,
    /// The count of answers that are outstanding on this socket.
    #[serde(skip)]
    outstanding: BTreeMap<ConversationId, u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Seq", into = "Seq")]
struct Wanted {
    /// The highest seq that the user has read.
    seq: Seq,
    /// The seq that was sent last and is not answered.
    sent: Option<Seq>,
    /// When to send it (again); `None` for at once.
    due: Option<Instant>,
}

impl From<Seq> for Wanted {
    fn from(seq: Seq) -> Self {
        Self { seq, sent: None, due: None }
    }
}

impl From<Wanted> for Seq {
    fn from(wanted: Wanted) -> Self {
        wanted.seq
    }
}

impl Marks {
    /// The user has read up to `seq`.
    pub(crate) fn want(&mut self, conversation: ConversationId, seq: Seq) {
        let wanted = self.wanted.entry(conversation).or_insert_with(|| seq.into());
        wanted.seq = wanted.seq.max(seq);
    }

    /// The marks to be sent now.
    pub(crate) fn send(&mut self, now: Instant) -> Vec<(ConversationId, Seq)> {
        let mut out = Vec::new();
        for (conversation, wanted) in &mut self.wanted {
            let due = wanted.due.is_none_or(|due| due <= now);
            if due {
                (wanted.sent, wanted.due) = (Some(wanted.seq), Some(now + RESEND_AFTER));
                *self.outstanding.entry(*conversation).or_default() += 1;
                out.push((*conversation, wanted.seq));
            }
        }
        out
    }

    /// A mark of that conversation was acknowledged.
    pub(crate) fn acked(&mut self, conversation: ConversationId) {
        let last = self.answered(conversation);
        let Some(wanted) = self.wanted.get_mut(&conversation).filter(|_| last) else { return };
        if wanted.sent == Some(wanted.seq) {
            self.wanted.remove(&conversation);
        } else {
            (wanted.sent, wanted.due) = (None, None);
        }
    }

    /// A mark of that conversation was refused: it is sent again at `again_at`, or dropped.
    pub(crate) fn failed(&mut self, conversation: ConversationId, again_at: Option<Instant>) {
        self.answered(conversation);
        match again_at {
            None => drop(self.wanted.remove(&conversation)),
            Some(_) => {
                if let Some(wanted) = self.wanted.get_mut(&conversation) {
                    (wanted.sent, wanted.due) = (None, again_at);
                }
            }
        }
    }

    /// The socket was lost, and with it the marks and answers that were under way. (A reset on an open socket does
    /// not affect them.)
    pub(crate) fn disconnected(&mut self) {
        self.wanted.values_mut().for_each(|wanted| (wanted.sent, wanted.due) = (None, None));
        self.outstanding.clear();
    }

    /// Counts an answer; returns whether it was the last one outstanding.
    fn answered(&mut self, conversation: ConversationId) -> bool {
        let Some(count) = self.outstanding.get_mut(&conversation) else { return true };
        *count = count.saturating_sub(1);
        let last = *count == 0;
        if last {
            self.outstanding.remove(&conversation);
        }
        last
    }

    /// When a mark is to be sent.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        self.wanted.values().map(|wanted| wanted.due.unwrap_or(now)).min()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_highest_mark_is_sent_until_it_is_acknowledged() {
        let conversation = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let seq = |n: u64| Seq::try_from(n).unwrap();
        let (mut marks, now) = (Marks::default(), Instant::now());
        marks.want(conversation, seq(5));
        assert_eq!(marks.send(now), [(conversation, seq(5))]);
        marks.want(conversation, seq(9));
        marks.want(conversation, seq(7));
        assert_eq!(marks.send(now), [], "one at a time");
        marks.acked(conversation);
        assert_eq!(marks.send(now), [(conversation, seq(9))]);
        assert_eq!(marks.send(now + RESEND_AFTER), [(conversation, seq(9))], "and again");
        marks.failed(conversation, Some(now));
        assert_eq!(marks.send(now), [(conversation, seq(9))]);
        marks.acked(conversation);
        assert!(!marks.is_empty(), "that may be the answer to an earlier one");
        marks.acked(conversation);
        assert!(marks.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_acknowledgement_of_a_lower_mark_does_not_count_for_a_higher_one() {
        let conversation = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let seq = |n: u64| Seq::try_from(n).unwrap();
        let (mut marks, now) = (Marks::default(), Instant::now());
        marks.want(conversation, seq(5));
        marks.send(now);
        marks.want(conversation, seq(9));
        assert_eq!(marks.send(now + RESEND_AFTER), [(conversation, seq(9))], "5 has no answer");
        marks.acked(conversation);
        assert!(!marks.is_empty(), "the answer to 5");
        marks.failed(conversation, Some(now));
        assert_eq!(marks.send(now), [(conversation, seq(9))], "9 was not taken");

        // A mark that was refused for good can still have late answers outstanding.
        marks.want(conversation, seq(11));
        marks.send(now + RESEND_AFTER);
        marks.failed(conversation, None);
        marks.want(conversation, seq(12));
        assert_eq!(marks.send(now), [(conversation, seq(12))]);
        marks.acked(conversation);
        assert!(!marks.is_empty(), "the answer to 9 or 11");
        marks.acked(conversation);
        assert!(marks.is_empty());

        // The socket is lost: nothing is outstanding.
        marks.want(conversation, seq(13));
        marks.send(now);
        marks.disconnected();
        assert_eq!(marks.send(now), [(conversation, seq(13))]);
        marks.acked(conversation);
        assert!(marks.is_empty());
    }
}
