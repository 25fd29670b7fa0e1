//! Read marks on their way: one at a time per conversation, the highest, sent again until it is acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{ConversationId, Seq};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A mark that was not acknowledged is sent again after so long; servers gather marks for two seconds.
const RESEND_AFTER: Duration = Duration::from_secs(15);

/// The marks that are not acknowledged yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Marks {
    wanted: BTreeMap<ConversationId, Wanted>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Seq", into = "Seq")]
struct Wanted {
    /// Read up to here.
    seq: Seq,
    /// What was sent and is not answered.
    sent: Option<Seq>,
    /// When to send (again); `None`: at once.
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
                out.push((*conversation, wanted.seq));
            }
        }
        out
    }

    /// What was sent last is in the log; the answer names the entry that the server found, which may be an earlier one.
    pub(crate) fn acked(&mut self, conversation: ConversationId) {
        let Some(wanted) = self.wanted.get_mut(&conversation) else { return };
        if wanted.sent == Some(wanted.seq) {
            self.wanted.remove(&conversation);
        } else {
            (wanted.sent, wanted.due) = (None, None);
        }
    }

    /// It was not taken: later again, or never.
    pub(crate) fn failed(&mut self, conversation: ConversationId, again_at: Option<Instant>) {
        match again_at {
            None => drop(self.wanted.remove(&conversation)),
            Some(_) => {
                if let Some(wanted) = self.wanted.get_mut(&conversation) {
                    (wanted.sent, wanted.due) = (None, again_at);
                }
            }
        }
    }

    /// A new socket: nothing is on its way.
    pub(crate) fn reconnected(&mut self) {
        self.wanted.values_mut().for_each(|wanted| (wanted.sent, wanted.due) = (None, None));
    }

    /// When something is to be sent.
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
        assert!(marks.is_empty());
    }
}
