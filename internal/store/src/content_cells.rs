//! The cells of a timeline row that hold what an entry is and says. They are read in `entry`.

use domain::{CommandId, Content, Mentions, MessageBody, Quote, Reply, ThreadPlace, UserId};

use crate::ValueRef;
use crate::message_rows::mention_bytes;
use crate::rows::{KIND_CREATED, KIND_JOINED, KIND_LEFT, KIND_MESSAGE, KIND_TITLE};

/// What the cells of an entry hold of its content.
pub(crate) struct ContentCells {
    kind: &'static str,
    body: BodyCells,
    reply_to: Option<CommandId>,
    quote: Option<Vec<u8>>,
    users: Option<Vec<u8>>,
    thread: Option<ThreadPlace>,
}

/// What the cells of a message hold of what it says.
#[derive(Default)]
pub(crate) struct BodyCells {
    text: Option<String>,
    mentions: Option<Vec<u8>>,
    custom: Option<(String, String)>,
}

impl From<Content> for ContentCells {
    fn from(content: Content) -> Self {
        let of = |kind| {
            let body = BodyCells::default();
            Self { kind, body, reply_to: None, quote: None, users: None, thread: None }
        };
        let bytes = |users: &[UserId]| Some(users.iter().flat_map(|user| *user.as_bytes()).collect());
        match content {
            Content::Message { body, reply_to, thread } => {
                let (to, quote) = reply_to.map(|Reply { to, quote }| (to, quote)).unzip();
                let quote = quote.flatten().map(quote_bytes);
                let body = BodyCells::of_new(body);
                Self { body, reply_to: to, quote, thread, ..of(KIND_MESSAGE) }
            }
            Content::Created => of(KIND_CREATED),
            Content::Joined(joined) => Self { users: bytes(&joined), ..of(KIND_JOINED) },
            Content::Left(user) => Self { users: bytes(&[user]), ..of(KIND_LEFT) },
            Content::Title(title) => {
                Self { body: BodyCells { text: Some(title), ..BodyCells::default() }, ..of(KIND_TITLE) }
            }
        }
    }
}

impl ContentCells {
    pub(crate) fn cells(&self) -> [(&'static str, ValueRef<'_>); 11] {
        let thread = self.thread.as_ref();
        let [body, mentions, custom_kind, custom_data] = self.body.cells();
        [
            ("kind", self.kind.into()),
            body,
            ("reply_to", self.reply_to.as_ref().into()),
            ("users", self.users.as_deref().into()),
            ("thread", thread.map(|thread| &thread.root).into()),
            ("thread_ordinal", thread.map(|thread| thread.ordinal).into()),
            ("also_in_conversation", thread.map(|thread| thread.also_in_conversation).into()),
            ("quote", self.quote.as_deref().into()),
            mentions,
            custom_kind,
            custom_data,
        ]
    }
}

impl BodyCells {
    /// Of a new message: what it does not have needs no cell.
    pub(crate) fn of_new(MessageBody { text, mentions, custom }: MessageBody) -> Self {
        Self {
            text: Some(text.into_record()),
            mentions: (mentions != Mentions::default()).then(|| mention_bytes(&mentions)),
            custom: custom.map(|custom| (custom.kind, custom.data.into_record())),
        }
    }

    /// Of a message that is there: what it does not have any more is overwritten, unless it never had more than its
    /// text.
    pub(crate) fn of(MessageBody { text, mentions, custom }: MessageBody, whole: bool) -> Self {
        let custom = custom.map(|custom| (custom.kind, custom.data.into_record())).unwrap_or_default();
        Self {
            text: Some(text.into_record()),
            mentions: whole.then(|| mention_bytes(&mentions)),
            custom: whole.then_some(custom),
        }
    }

    /// As [`Self::cells`], in those that hold what a message says since its last edit.
    pub(crate) fn edited_cells(&self) -> [(&'static str, ValueRef<'_>); 4] {
        let [text, mentions, kind, data] = self.cells().map(|(_, value)| value);
        [
            ("edited_body", text),
            ("edited_mentions", mentions),
            ("edited_custom_kind", kind),
            ("edited_custom_data", data),
        ]
    }

    pub(crate) fn cells(&self) -> [(&'static str, ValueRef<'_>); 4] {
        let (kind, data) = self.custom.as_ref().map(|(kind, data)| (kind.as_str(), data.as_str())).unzip();
        [
            ("body", self.text.as_deref().into()),
            ("mentions", self.mentions.as_deref().into()),
            ("custom_kind", kind.into()),
            ("custom_data", data.into()),
        ]
    }
}

/// A quoted part in a cell: its two numbers, big-endian.
fn quote_bytes(Quote { from, to }: Quote) -> Vec<u8> {
    [from.to_be_bytes(), to.to_be_bytes()].concat()
}
