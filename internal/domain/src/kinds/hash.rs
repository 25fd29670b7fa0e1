//! The payload hash: a digest of a command's fields, in sixteen bytes.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::Kind;
use crate::{CustomContent, MessageBody, MessageText, UserId};

/// The first sixteen bytes of SHA-256 over a command's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PayloadHash(pub [u8; 16]);

/// The hash input: fields with length prefixes, so that no two different commands hash the same bytes. The hash is
/// stored with every id row, so the encoding never changes.
pub(super) struct HashInput(Sha256);

impl HashInput {
    pub(super) fn of(kind: Kind) -> Self {
        let mut input = Self(Sha256::new());
        input.text(kind.name());
        input
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// The text as the record has it. A hash of a short text can be found by trying texts, so whoever must not read the
    /// text must not have its hash either, or the hash must be keyed. Today the log and the rows have the text itself
    /// beside the hash. Once texts are sealed, the record has the sealed form: made by a deterministic cipher (such as
    /// AES-SIV, RFC 5297) under a key of the author's that the id's time chooses. A retry then still has the same hash,
    /// no consumer needs a key to judge, and after the key is destroyed nobody can try texts. So neither this encoding
    /// nor the rows change with sealing.
    pub(super) fn message_text(&mut self, text: &MessageText) -> &mut Self {
        self.text(text.reveal())
    }

    /// What a body has besides its text. Of one that is plain it is nothing, so that its hash stays what it was before
    /// version 3 of the rules.
    pub(super) fn beside_text(&mut self, body: &MessageBody) -> &mut Self {
        if body.mentions.all || !body.mentions.users().is_empty() {
            let users: Vec<u8> = body.mentions.users().iter().flat_map(|user| *user.as_bytes()).collect();
            self.text("mentions").bytes(&[u8::from(body.mentions.all)]).bytes(&users);
        }
        if let Some(CustomContent { kind, data }) = &body.custom {
            self.text("custom").text(kind).message_text(data);
        }
        self
    }

    pub(super) fn optional(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            None => self.bytes(&[0]),
            Some(bytes) => self.bytes(&[1]).bytes(bytes),
        }
    }

    /// Hashes a list of users as a set: sorted, without duplicates. It is always the last field.
    pub(super) fn users(&mut self, users: &[UserId]) -> &mut Self {
        for user in users.iter().collect::<BTreeSet<_>>() {
            self.bytes(user.as_bytes());
        }
        self
    }

    pub(super) fn finish(self) -> PayloadHash {
        let mut hash = [0; 16];
        hash.copy_from_slice(&self.0.finalize()[..16]);
        PayloadHash(hash)
    }
}
