//! The spans of a user's membership, from its versions: they decide what of a conversation the user may read.

use crate::{Role, Seq};

/// The spans of a user's membership, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipSpans(Vec<MembershipSpan>);

/// One span, from a joining to a leaving, both included: users see their own joining and their own leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembershipSpan {
    /// The seq of the joining.
    pub from: Seq,
    /// The seq of the leaving; `None` for a current member.
    pub to: Option<Seq>,
}

impl MembershipSpan {
    /// Whether the event at `seq` lies within the span.
    #[must_use]
    pub fn contains(&self, seq: Seq) -> bool {
        self.from <= seq && self.to.is_none_or(|to| seq <= to)
    }
}

impl MembershipSpans {
    /// The spans, from the versions of a membership by seq; `None` is a leaving.
    #[must_use]
    pub fn of(versions: &[(Seq, Option<Role>)]) -> Self {
        let mut spans: Vec<MembershipSpan> = Vec::new();
        for (seq, role) in versions {
            let open = spans.last_mut().filter(|span| span.to.is_none());
            match (open, role) {
                (None, Some(_)) => spans.push(MembershipSpan { from: *seq, to: None }),
                (Some(span), None) => span.to = Some(*seq),
                // A change of role, or a leaving without a joining before it.
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        Self(spans)
    }

    /// Whether the user never was a member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The seq of the last leaving; `None` for a current member or a user who never was one.
    #[must_use]
    pub fn left(&self) -> Option<Seq> {
        self.0.last().and_then(|span| span.to)
    }

    /// Whether the user may read the event at `seq`.
    #[must_use]
    pub fn contain(&self, seq: Seq) -> bool {
        self.0.iter().any(|span| span.contains(seq))
    }

    /// The newest seq up to `upto` that the user may read; `None` before the first joining.
    #[must_use]
    pub fn newest(&self, upto: Seq) -> Option<Seq> {
        let span = self.0.iter().rev().find(|span| span.from <= upto)?;
        Some(span.to.map_or(upto, |to| to.min(upto)))
    }

    /// The spans, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = MembershipSpan> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(offset: u64) -> Seq {
        Seq::new(0, offset).unwrap()
    }

    #[test]
    fn spans_run_from_joining_to_leaving_and_a_role_changes_nothing() {
        let (member, admin) = (Some(Role::Member), Some(Role::Admin));
        let spans = MembershipSpans::of(&[(seq(3), member), (seq(5), admin), (seq(8), None), (seq(20), member)]);
        assert_eq!(spans.left(), None);
        let seen: Vec<u64> = (0..30).filter(|at| spans.contain(seq(*at))).collect();
        assert_eq!(seen, [3, 4, 5, 6, 7, 8, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29]);
        assert_eq!(MembershipSpans::of(&[(seq(3), member), (seq(8), None)]).left(), Some(seq(8)));
        assert!(MembershipSpans::of(&[]).is_empty());
    }

    #[test]
    fn what_is_readable_lies_within_a_membership() {
        let (member, admin) = (Some(Role::Member), Some(Role::Admin));
        let versions = [(seq(3), member), (seq(5), admin), (seq(8), None), (seq(20), member), (seq(22), None)];
        let spans = MembershipSpans::of(&versions);
        let newest = |offset| spans.newest(seq(offset)).map(Seq::offset);
        let all: Vec<_> = [2, 3, 6, 8, 9, 19, 20, 21, 22, 30].map(newest).into();
        assert_eq!(all, [None, Some(3), Some(6), Some(8), Some(8), Some(8), Some(20), Some(21), Some(22), Some(22)]);
        for at in 0..40 {
            let readable = (0..=at).rev().find(|at| spans.contain(seq(*at)));
            assert_eq!(newest(at), readable, "{at}");
        }
    }
}
