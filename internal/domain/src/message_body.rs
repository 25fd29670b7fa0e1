//! What a message says: its text, whom it mentions, and content of a kind that Klatsch does not know.

use crate::{MessageText, Seq, UserId};

/// What an author says with a message, and says anew as a whole with every edit of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessageBody {
    /// The text.
    pub text: MessageText,
    /// Whom it mentions. Since version 3 of the rules.
    pub mentions: Mentions,
    /// Content of another kind, which clients that do not know it show by the text. Since version 3 of the rules.
    pub custom: Option<CustomContent>,
}

/// Whom a message mentions. That is data of its own: texts are never searched for names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mentions {
    /// Sorted, each once.
    users: Vec<UserId>,
    /// Whether it mentions every member.
    pub all: bool,
}

/// What a message has besides its text, as far as it must be known to judge later events about the message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extras {
    /// Whom it mentions.
    pub mentions: Mentions,
    /// Whether it has content of another kind.
    pub custom: bool,
}

/// What must be known of what a message says to judge its next edit, or its deletion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// What it has besides its text.
    pub extras: Extras,
    /// The seqs of its edits since version 3 of the rules: what each says is kept in a row of its own.
    pub edits: Vec<Seq>,
}

/// Content of a kind that Klatsch carries and stores, and does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomContent {
    /// The name of its kind, with a dot in it: names without one are reserved.
    pub kind: String,
    /// The content, in a form that the kind defines.
    pub data: MessageText,
}

/// A part of a message that a reply is about, from one character up to another, which is not in it any more. Characters
/// are Unicode code points of the text. It is not checked against the text: that may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// The number of characters before it.
    pub from: u32,
    /// The number of characters up to its end.
    pub to: u32,
}

impl Said {
    /// Whether the message may have said more than a text at some time: what it said before its edits is kept.
    pub(crate) fn was_more(&self) -> bool {
        self.extras != Extras::default() || !self.edits.is_empty()
    }
}

impl MessageBody {
    /// Whether it is text and nothing else, as all messages were before version 3 of the rules.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.mentions == Mentions::default() && self.custom.is_none()
    }

    /// What it has besides its text.
    #[must_use]
    pub fn extras(&self) -> Extras {
        Extras { mentions: self.mentions.clone(), custom: self.custom.is_some() }
    }

    /// Its length in bytes, which counts towards the author's quota.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.bytes() + self.custom.as_ref().map_or(0, |custom| custom.data.bytes())
    }
}

impl<T: Into<MessageText>> From<T> for MessageBody {
    fn from(text: T) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

impl Mentions {
    /// Mentions of these users, in any order, and of every member if `all`.
    #[must_use]
    pub fn new(mut users: Vec<UserId>, all: bool) -> Self {
        users.sort_unstable();
        users.dedup();
        Self { users, all }
    }

    /// The users, sorted, each once.
    #[must_use]
    pub fn users(&self) -> &[UserId] {
        &self.users
    }

    /// The users whom `other` does not mention.
    pub(crate) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = UserId> + use<'a> {
        self.users.iter().filter(|user| other.users.binary_search(user).is_err()).copied()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn users_are_a_set() {
        let user = |n| UserId::try_from(Uuid::from_u128(n)).unwrap();
        let mentions = |users: &[u128]| Mentions::new(users.iter().map(|n| user(*n)).collect(), false);
        assert_eq!(mentions(&[3, 1, 3]).users(), [user(1), user(3)]);
        assert_eq!(mentions(&[1, 2, 3]).without(&mentions(&[2, 9])).collect::<Vec<_>>(), [user(1), user(3)]);
    }

    #[test]
    fn a_text_alone_is_plain() {
        let mut body = MessageBody::from("hello");
        assert!(body.is_plain() && body.bytes() == 5);
        body.mentions.all = true;
        assert!(!body.is_plain());
        let custom = CustomContent { kind: "com.example.poll".into(), data: "{}".into() };
        let body = MessageBody { custom: Some(custom), ..MessageBody::from("poll") };
        assert!(!body.is_plain() && body.bytes() == 6);
    }
}
