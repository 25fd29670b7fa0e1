//! What a message says besides its text, in JSON: the same in commands, frames and entries.

use domain::{CustomContent, Mentions, MessageText, Quote, UserId};
use serde::{Deserialize, Serialize};

use crate::fields::flag;
use crate::integer::integer;

/// Whom a message mentions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MentionsBody {
    /// Users, at most [`domain::limits::MENTIONS_MAX`], sorted where the server says it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub users: Vec<UserId>,
    /// Whether every member is mentioned.
    #[serde(skip_serializing_if = "std::ops::Not::not", default, deserialize_with = "flag")]
    pub all: bool,
}

/// Content of a kind that Klatsch carries and does not know. Clients that do not know it either show the message's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentBody {
    /// The name of its kind, with a dot in it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The content, in a form that the kind defines.
    #[serde(with = "crate::text", default)]
    pub data: MessageText,
}

/// The part of a message that a reply is about: its characters (Unicode code points) `from` up to `to`, which is not in
/// it. Where the text has none of that length any more, clients show its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteBody {
    /// The number of characters before it.
    #[serde(deserialize_with = "integer")]
    pub from: u32,
    /// The number of characters up to its end.
    #[serde(deserialize_with = "integer")]
    pub to: u32,
}

impl MentionsBody {
    /// The mentions of a message; `None` where it mentions nobody.
    #[must_use]
    pub fn of(mentions: &Mentions) -> Option<Self> {
        (*mentions != Mentions::default()).then(|| Self { users: mentions.users().to_vec(), all: mentions.all })
    }
}

impl From<MentionsBody> for Mentions {
    fn from(MentionsBody { users, all }: MentionsBody) -> Self {
        Self::new(users, all)
    }
}

impl From<CustomContent> for ContentBody {
    fn from(CustomContent { kind, data }: CustomContent) -> Self {
        Self { kind, data }
    }
}

impl From<ContentBody> for CustomContent {
    fn from(ContentBody { kind, data }: ContentBody) -> Self {
        Self { kind, data }
    }
}

impl From<Quote> for QuoteBody {
    fn from(Quote { from, to }: Quote) -> Self {
        Self { from, to }
    }
}

impl From<QuoteBody> for Quote {
    fn from(QuoteBody { from, to }: QuoteBody) -> Self {
        Self { from, to }
    }
}
