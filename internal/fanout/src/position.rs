//! The metadata of a commit: proof of the record before the position, and the parked positions.
//!
//! `1;FINGERPRINT;CONVERSATION:BACK;...`: the conversation as base64url, and how far before the commit its first
//! unjudged event lies, in base 36. 100 of them fit into the 4,000 bytes that a commit may carry. While delivery
//! partitions lag it is `2;FINGERPRINT;@PARTITION:BACK;...` with one such part for each of them: a program that does not
//! know these must not go on without them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{ConversationId, Fingerprint};
use eventlog::Commit;
use uuid::Uuid;

/// The position from which the fan-out goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// The next offset to take in.
    pub(crate) next: u64,
    /// The fingerprint of the record before it; none where nothing was taken in yet.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Parked conversations with the offset of their first unjudged event.
    pub(crate) parked: Vec<(ConversationId, u64)>,
    /// Delivery partitions that lag, with the offset from which their deliveries may be missing.
    pub(crate) lagging: Vec<(u32, u64)>,
}

/// The record before `next`, as proof of which log was read; none where nothing was read yet.
pub(crate) fn before(next: u64, fingerprint: Option<Fingerprint>) -> Option<(u64, Fingerprint)> {
    Some((next.checked_sub(1)?, fingerprint?))
}

impl Position {
    pub(crate) fn to_commit(&self) -> Commit {
        let mut metadata = String::new();
        if let Some(fingerprint) = self.fingerprint {
            let version = if self.lagging.is_empty() { 1 } else { 2 };
            metadata = format!("{version};{fingerprint}");
            for (partition, offset) in &self.lagging {
                metadata.push_str(&format!(";@{partition}:{}", base36(self.next.saturating_sub(*offset))));
            }
            for (conversation, offset) in &self.parked {
                let id = URL_SAFE_NO_PAD.encode(conversation.as_bytes());
                metadata.push_str(&format!(";{id}:{}", base36(self.next.saturating_sub(*offset))));
            }
        }
        Commit { next: self.next, metadata }
    }

    pub(crate) fn from_commit(commit: &Commit) -> Result<Self, String> {
        let next = commit.next;
        if commit.metadata.is_empty() {
            return Ok(Self { next, ..Self::default() });
        }
        let mut parts = commit.metadata.split(';');
        if !matches!(parts.next(), Some("1" | "2")) {
            return Err("it is of another version".into());
        }
        let fingerprint = parts.next().and_then(|text| text.parse().ok()).ok_or("it has no fingerprint")?;
        let mut position = Self { next, fingerprint: Some(fingerprint), ..Self::default() };
        for part in parts {
            if let Some(lag) = part.strip_prefix('@') {
                position.lagging.push(lagging(lag, next).ok_or_else(|| format!("'{part}' is no lagging partition"))?);
            } else {
                position.parked.push(parked(part, next).ok_or_else(|| format!("'{part}' is no parked position"))?);
            }
        }
        Ok(position)
    }
}

fn lagging(part: &str, next: u64) -> Option<(u32, u64)> {
    let (partition, back) = part.split_once(':')?;
    Some((partition.parse().ok()?, next.checked_sub(u64::from_str_radix(back, 36).ok()?)?))
}

fn parked(part: &str, next: u64) -> Option<(ConversationId, u64)> {
    let (id, back) = part.split_once(':')?;
    let bytes: [u8; 16] = URL_SAFE_NO_PAD.decode(id).ok()?.try_into().ok()?;
    let conversation = ConversationId::try_from(Uuid::from_bytes(bytes)).ok()?;
    Some((conversation, next.checked_sub(u64::from_str_radix(back, 36).ok()?)?))
}

fn base36(mut number: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut out = Vec::new();
    loop {
        out.push(char::from(DIGITS[(number % 36) as usize]));
        number /= 36;
        if number == 0 {
            return out.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lagging::LAGGING_MAX;
    use crate::parked::PARKED_MAX;

    #[test]
    fn a_full_position_fits_and_comes_back() {
        let conversation = |n: u128| ConversationId::try_from(Uuid::from_u128(n)).unwrap();
        let next = domain::OFFSET_MAX;
        let parked = (0..PARKED_MAX as u128).map(|n| (conversation(n), n as u64)).collect();
        let lagging = (1000..).take(LAGGING_MAX).map(|partition| (partition, 0)).collect();
        let position = Position { next, fingerprint: Some(Fingerprint(7)), parked, lagging };
        let commit = position.to_commit();
        assert!(commit.metadata.len() <= eventlog::METADATA_BYTES_MAX, "{}", commit.metadata.len());
        assert_eq!(Position::from_commit(&commit), Ok(position));
    }

    #[test]
    fn an_empty_commit_is_a_beginning_and_nonsense_is_refused() {
        let empty = Commit { next: 0, metadata: String::new() };
        assert_eq!(Position::from_commit(&empty), Ok(Position::default()));
        for bad in [
            "3;0000000000000007",
            "1;xyz",
            "2;0000000000000007;@x:1",
            "2;0000000000000007;@1:zz",
            "1;0000000000000007;AAAA:1",
            "1;0000000000000007;AAAAAAAAAAAAAAAAAAAAAA:zz",
        ] {
            assert!(Position::from_commit(&Commit { next: 5, metadata: bad.into() }).is_err(), "{bad}");
        }
    }
}
