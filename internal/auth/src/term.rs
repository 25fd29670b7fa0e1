//! The term of a key, and its state at a time: next, signing, verifying or retired.

use std::time::Duration;

/// How long tokens of a key are accepted after it has signed the last one: longer than the lifetime of an access token,
/// its leeway and the difference of two machines' clocks together.
pub const VERIFIED_AFTER: Duration = Duration::from_secs(20 * 60);

/// The time from which a key signs, and until which. It also ends when a later key begins, and never comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term {
    /// Milliseconds since the Unix epoch.
    pub(crate) from_ms: i64,
    pub(crate) until_ms: Option<i64>,
}

/// The state of a key at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Published, and not signing yet.
    Next,
    /// New tokens are signed with it.
    Signing,
    /// Signs no more; published, because tokens of it may still be valid.
    Verifying,
    /// No token of it is valid any more; not published.
    Retired,
}

impl Term {
    /// The term of a key without any times.
    pub(crate) const ALWAYS: Self = Self { from_ms: 0, until_ms: None };

    /// When it begins, unless it signs from the beginning.
    pub(crate) fn begins_ms(self) -> Option<i64> {
        Some(self.from_ms).filter(|from_ms| *from_ms > Self::ALWAYS.from_ms)
    }
}

/// The index of the term that signs at that time. The terms are sorted by their beginnings.
pub(crate) fn signing(terms: &[Term], now_ms: i64) -> Option<usize> {
    let begun = terms.iter().rposition(|term| term.from_ms <= now_ms)?;
    terms[begun].until_ms.is_none_or(|until_ms| until_ms > now_ms).then_some(begun)
}

/// When that key stops signing, if that is known.
pub(crate) fn ends_ms(terms: &[Term], at: usize) -> Option<i64> {
    let later = terms[at + 1..].first().map(|term| term.from_ms);
    later.into_iter().chain(terms[at].until_ms).min()
}

/// The time from which on no key signs, if that is known; in the past where none signs now.
pub(crate) fn signs_until_ms(terms: &[Term], now_ms: i64) -> Option<i64> {
    let Some(mut at) = signing(terms, now_ms) else { return Some(now_ms) };
    loop {
        let end_ms = ends_ms(terms, at)?;
        at = match signing(terms, end_ms) {
            Some(next) if next != at => next,
            _ => return Some(end_ms),
        };
    }
}

/// The state of that key.
pub(crate) fn state(terms: &[Term], at: usize, now_ms: i64) -> KeyState {
    let verified_ms = i64::try_from(VERIFIED_AFTER.as_millis()).unwrap_or(i64::MAX);
    if terms[at].from_ms > now_ms {
        KeyState::Next
    } else if signing(terms, now_ms) == Some(at) {
        KeyState::Signing
    } else if ends_ms(terms, at).is_none_or(|end_ms| now_ms < end_ms.saturating_add(verified_ms)) {
        KeyState::Verifying
    } else {
        KeyState::Retired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn a_key_is_published_before_it_signs_and_until_its_last_token_has_ended() {
        let terms = [Term::ALWAYS, Term { from_ms: 100 * MINUTE, until_ms: Some(200 * MINUTE) }];
        let states = |minute: i64| [0, 1].map(|at| state(&terms, at, minute * MINUTE));
        assert_eq!(states(99), [KeyState::Signing, KeyState::Next]);
        assert_eq!(states(100), [KeyState::Verifying, KeyState::Signing]);
        assert_eq!(states(119), [KeyState::Verifying, KeyState::Signing]);
        assert_eq!(states(120), [KeyState::Retired, KeyState::Signing]);
        assert_eq!(states(200), [KeyState::Retired, KeyState::Verifying]);
        assert_eq!(signing(&terms, 200 * MINUTE), None, "the older one does not come back");
        assert_eq!(states(220), [KeyState::Retired, KeyState::Retired]);
        assert_eq!(signing(&terms[1..], 99 * MINUTE), None);
        assert_eq!(signs_until_ms(&terms[..1], MINUTE), None, "for ever");
        assert_eq!(signs_until_ms(&terms, MINUTE), Some(200 * MINUTE));
        assert_eq!(signs_until_ms(&terms, 300 * MINUTE), Some(300 * MINUTE), "already");
    }
}
