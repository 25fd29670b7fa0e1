//! Commands of clients: an id, a conversation, and a kind. The first two are the same for every kind and are
//! defined once in [`CommandFrame`]; the kinds with their fields are in [`CommandKind`].

use domain::kinds::{
    AddMembers, AddReaction, ChangeRole, ChangeTitle, Create, DeleteMessage, EditMessage, IntoThread, Leave,
    PinMessage, RemoveMember, RemoveReaction, SendMessage, UnpinMessage, Withdraw,
};
use domain::{
    Action, CommandId, ConversationId, ConversationKind, Mentions, MessageBody, MessageText, Quote, Reply, Role, UserId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{Field, FieldType, flag};
use crate::said::{ContentBody, MentionsBody, QuoteBody};

/// A command. Its id is a UUIDv7 that the client makes, and stays the same when the command is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct CommandFrame {
    /// The id of the command; for a withdrawal, the id of the command to withdraw.
    pub id: CommandId,
    /// The conversation that it is for; `None` for `create`, where the id is derived and the ack names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// The kind of the command, with its fields.
    #[serde(flatten)]
    pub what: CommandKind,
}

/// The kinds of commands, with the fields of `domain::kinds` as clients write them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)] // the fields are described in `domain::kinds`
pub enum CommandKind {
    /// Opens a conversation: direct with the one member named, or a group.
    Create {
        kind: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        title: Option<String>,
        members: Vec<UserId>,
    },
    /// Adds members.
    AddMembers { members: Vec<UserId> },
    /// Removes a member.
    RemoveMember { user: UserId },
    /// Leaves the conversation.
    Leave {},
    /// Changes a role.
    ChangeRole { user: UserId, role: String },
    /// Changes the title.
    ChangeTitle { title: String },
    /// Sends a message.
    Send {
        #[serde(with = "crate::text")]
        body: MessageText,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reply_to: Option<CommandId>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        thread: Option<CommandId>,
        #[serde(skip_serializing_if = "std::ops::Not::not", default, deserialize_with = "flag")]
        also_in_conversation: bool,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        quote: Option<QuoteBody>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        mentions: Option<MentionsBody>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        content: Option<ContentBody>,
    },
    /// Edits a message of the user's own: what it says from then on, as a whole.
    Edit {
        target: CommandId,
        #[serde(with = "crate::text")]
        body: MessageText,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        mentions: Option<MentionsBody>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        content: Option<ContentBody>,
    },
    /// Deletes a message.
    Delete { target: CommandId },
    /// Reacts to a message.
    React { target: CommandId, emoji: String },
    /// Removes one of the user's reactions.
    Unreact { target: CommandId, emoji: String },
    /// Withdraws a command whose fate is unknown, so that it cannot be accepted any more.
    Withdraw {},
    /// Pins a message.
    Pin { target: CommandId },
    /// Takes the pin of a message away.
    Unpin { target: CommandId },
}

impl CommandKind {
    /// Sends a text, outside threads.
    #[must_use]
    pub fn send(body: MessageText, reply_to: Option<CommandId>) -> Self {
        let (thread, quote, mentions, content) = (None, None, None, None);
        Self::Send { body, reply_to, thread, also_in_conversation: false, quote, mentions, content }
    }

    /// Sends a text into a thread.
    #[must_use]
    pub fn send_into_thread(body: MessageText, root: CommandId, also_in_conversation: bool) -> Self {
        let (reply_to, quote, mentions, content) = (None, None, None, None);
        Self::Send { body, reply_to, thread: Some(root), also_in_conversation, quote, mentions, content }
    }

    /// Gives a message another text, and nothing else to say.
    #[must_use]
    pub fn edit(target: CommandId, body: MessageText) -> Self {
        Self::Edit { target, body, mentions: None, content: None }
    }
}

impl CommandFrame {
    /// A command with that id, for that conversation (`None` for one that opens a conversation).
    #[must_use]
    pub fn new(id: CommandId, conversation: impl Into<Option<ConversationId>>, what: CommandKind) -> Self {
        Self { id, conversation: conversation.into(), what }
    }

    /// The command as an action of `author`, with its id and its conversation.
    ///
    /// # Errors
    /// A sentence, when it names an unknown kind of conversation or role, or lacks its conversation.
    pub fn into_action(self, author: UserId) -> Result<(CommandId, ConversationId, Action), String> {
        let action = self.what.into_action()?;
        let conversation = match (&action, self.conversation) {
            (Action::Create(create), _) => opened(create, author, self.id)?,
            (_, Some(conversation)) => conversation,
            (_, None) => return Err("the command needs a 'conversation'".to_owned()),
        };
        Ok((self.id, conversation, action))
    }
}

impl CommandKind {
    /// The command that asks for the action.
    #[must_use]
    pub fn of(action: Action) -> Self {
        match action {
            Action::Create(Create { kind, title, members }) => {
                Self::Create { kind: kind.name().to_owned(), title, members }
            }
            Action::AddMembers(AddMembers { members }) => Self::AddMembers { members },
            Action::RemoveMember(RemoveMember { user }) => Self::RemoveMember { user },
            Action::Leave(Leave) => Self::Leave {},
            Action::ChangeRole(ChangeRole { user, role }) => Self::ChangeRole { user, role: role.name().to_owned() },
            Action::ChangeTitle(ChangeTitle { title }) => Self::ChangeTitle { title },
            Action::SendMessage(SendMessage { body, reply_to, thread }) => Self::Send {
                mentions: MentionsBody::of(&body.mentions),
                content: body.custom.map(ContentBody::from),
                body: body.text,
                reply_to: reply_to.map(|reply| reply.to),
                quote: reply_to.and_then(|reply| reply.quote).map(QuoteBody::from),
                thread: thread.map(|thread| thread.root),
                also_in_conversation: thread.is_some_and(|thread| thread.also_in_conversation),
            },
            Action::EditMessage(EditMessage { target, body }) => Self::Edit {
                target,
                mentions: MentionsBody::of(&body.mentions),
                content: body.custom.map(ContentBody::from),
                body: body.text,
            },
            Action::DeleteMessage(DeleteMessage { target }) => Self::Delete { target },
            Action::AddReaction(AddReaction { target, emoji }) => Self::React { target, emoji },
            Action::RemoveReaction(RemoveReaction { target, emoji }) => {
                Self::Unreact { target, emoji: emoji.unwrap_or_default() }
            }
            Action::Withdraw(Withdraw) => Self::Withdraw {},
            Action::PinMessage(PinMessage { target }) => Self::Pin { target },
            Action::UnpinMessage(UnpinMessage { target }) => Self::Unpin { target },
        }
    }

    /// The name of the command's type, as clients write it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::AddMembers { .. } => "add_members",
            Self::RemoveMember { .. } => "remove_member",
            Self::Leave {} => "leave",
            Self::ChangeRole { .. } => "change_role",
            Self::ChangeTitle { .. } => "change_title",
            Self::Send { .. } => "send",
            Self::Edit { .. } => "edit",
            Self::Delete { .. } => "delete",
            Self::React { .. } => "react",
            Self::Unreact { .. } => "unreact",
            Self::Withdraw {} => "withdraw",
            Self::Pin { .. } => "pin",
            Self::Unpin { .. } => "unpin",
        }
    }

    /// The fields of commands of that type, beside the command's id and conversation: to say which one is wrong.
    #[must_use]
    pub fn fields_of(name: &str) -> Vec<Field> {
        const USER: Field = Field::required("user", FieldType::User);
        const MEMBERS: Field = Field::required("members", FieldType::Users);
        const TARGET: Field = Field::required("target", FieldType::Command);
        const BODY: Field = Field::required("body", FieldType::Text);
        const MENTIONS: Field = Field::optional("mentions", FieldType::Mentions);
        const CONTENT: Field = Field::optional("content", FieldType::Content);
        match name {
            "create" => {
                vec![Field::required("kind", FieldType::Text), Field::optional("title", FieldType::Text), MEMBERS]
            }
            "add_members" => vec![MEMBERS],
            "remove_member" => vec![USER],
            "change_role" => vec![USER, Field::required("role", FieldType::Text)],
            "change_title" => vec![Field::required("title", FieldType::Text)],
            "send" => vec![
                BODY,
                Field::optional("reply_to", FieldType::Command),
                Field::optional("thread", FieldType::Command),
                Field::optional("also_in_conversation", FieldType::Flag),
                Field::optional("quote", FieldType::Quote),
                MENTIONS,
                CONTENT,
            ],
            "edit" => vec![TARGET, BODY, MENTIONS, CONTENT],
            "react" | "unreact" => vec![TARGET, Field::required("emoji", FieldType::Text)],
            "delete" | "pin" | "unpin" => vec![TARGET],
            _ => Vec::new(),
        }
    }

    fn into_action(self) -> Result<Action, String> {
        Ok(match self {
            Self::Create { kind, title, members } => {
                let kind = ConversationKind::from_name(&kind)
                    .ok_or_else(|| format!("kind '{}' is neither 'direct' nor 'group'", short(&kind)))?;
                Action::Create(Create { kind, title, members })
            }
            Self::AddMembers { members } => Action::AddMembers(AddMembers { members }),
            Self::RemoveMember { user } => Action::RemoveMember(RemoveMember { user }),
            Self::Leave {} => Action::Leave(Leave),
            Self::ChangeRole { user, role } => {
                let role = Role::from_name(&role)
                    .ok_or_else(|| format!("role '{}' is none of 'member', 'admin', 'owner'", short(&role)))?;
                Action::ChangeRole(ChangeRole { user, role })
            }
            Self::ChangeTitle { title } => Action::ChangeTitle(ChangeTitle { title }),
            Self::Send { body, reply_to, thread, also_in_conversation, quote, mentions, content } => {
                if thread.is_none() && also_in_conversation {
                    return Err(
                        "'also_in_conversation' is for messages of a thread: name its root as 'thread'".to_owned()
                    );
                }
                let quote = quote.map(Quote::from);
                if reply_to.is_none() && quote.is_some() {
                    return Err("a 'quote' is of the message that 'reply_to' names: name it".to_owned());
                }
                Action::SendMessage(SendMessage {
                    body: said(body, mentions, content),
                    reply_to: reply_to.map(|to| Reply { to, quote }),
                    thread: thread.map(|root| IntoThread { root, also_in_conversation }),
                })
            }
            Self::Edit { target, body, mentions, content } => {
                Action::EditMessage(EditMessage { target, body: said(body, mentions, content) })
            }
            Self::Delete { target } => Action::DeleteMessage(DeleteMessage { target }),
            Self::React { target, emoji } => Action::AddReaction(AddReaction { target, emoji }),
            Self::Unreact { target, emoji } => Action::RemoveReaction(RemoveReaction { target, emoji: Some(emoji) }),
            Self::Withdraw {} => Action::Withdraw(Withdraw),
            Self::Pin { target } => Action::PinMessage(PinMessage { target }),
            Self::Unpin { target } => Action::UnpinMessage(UnpinMessage { target }),
        })
    }
}

fn said(text: MessageText, mentions: Option<MentionsBody>, content: Option<ContentBody>) -> MessageBody {
    MessageBody { text, mentions: mentions.map(Mentions::from).unwrap_or_default(), custom: content.map(Into::into) }
}

/// The id of the conversation that `create` opens.
fn opened(create: &Create, author: UserId, id: CommandId) -> Result<ConversationId, String> {
    match create.kind {
        ConversationKind::Group => Ok(ConversationId::group(author, id)),
        ConversationKind::Direct => match create.members.iter().find(|user| **user != author) {
            Some(other) => Ok(ConversationId::direct(author, *other)),
            None => Err("a direct conversation needs one other member".to_owned()),
        },
    }
}

/// A command before the check whether its kind needs a conversation.
#[derive(Deserialize)]
struct Unchecked {
    id: CommandId,
    #[serde(default)]
    conversation: Option<Value>,
    #[serde(flatten)]
    what: CommandKind,
}

impl TryFrom<Unchecked> for CommandFrame {
    type Error = String;

    fn try_from(Unchecked { id, conversation, what }: Unchecked) -> Result<Self, String> {
        let conversation = match (&what, conversation) {
            // `create` has no such field, so it is ignored as any unknown field is.
            (CommandKind::Create { .. }, _) => None,
            (_, None) => return Err("missing field `conversation`".to_owned()),
            (_, Some(named)) => Some(ConversationId::deserialize(named).map_err(|error| error.to_string())?),
        };
        Ok(Self { id, conversation, what })
    }
}

/// The beginning of a client's text, short enough to be quoted in an error message.
fn short(text: &str) -> String {
    text.chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use domain::Kind;

    use super::*;

    fn user(number: u128) -> UserId {
        UserId::try_from(uuid::Uuid::from_u128(number)).unwrap()
    }

    #[test]
    fn every_kind_of_action_goes_over_the_wire_and_back() {
        let (id, conversation) = (CommandId::first_at(5), ConversationId::direct(user(1), user(2)));
        let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for action in Action::samples() {
            let opens = action.kind() == Kind::Create;
            let command = CommandFrame::new(id, (!opens).then_some(conversation), CommandKind::of(action.clone()));
            let json = serde_json::to_value(&command).unwrap();
            let name = json["type"].as_str().unwrap().to_owned();
            assert_eq!(name, command.what.name());
            let fields = json
                .as_object()
                .unwrap()
                .keys()
                .filter(|field| !["type", "id", "conversation"].contains(&field.as_str()));
            types.entry(name).or_default().extend(fields.cloned());
            let parsed: CommandFrame = serde_json::from_value(json).unwrap();
            assert_eq!(parsed, command);
            let (same, at, meant) = parsed.into_action(user(1)).unwrap();
            assert_eq!((same, meant), (id, action));
            assert!(opens || at == conversation);
        }
        assert_eq!(types.len(), Kind::ALL.len(), "a type for each kind");
        for (name, sent) in types {
            let listed = CommandKind::fields_of(&name).into_iter().map(|field| field.name.to_owned()).collect();
            assert_eq!(sent, listed, "the fields of '{name}'");
        }
    }

    #[test]
    fn only_what_opens_a_conversation_names_none() {
        let id = CommandId::first_at(5);
        let create = format!(r#"{{"type":"create","id":"{id}","conversation":7,"kind":"group","members":[]}}"#);
        assert_eq!(serde_json::from_str::<CommandFrame>(&create).unwrap().conversation, None);
        for conversation in ["", r#","conversation":null"#, r#","conversation":7"#] {
            let leave = format!(r#"{{"type":"leave","id":"{id}"{conversation}}}"#);
            assert!(serde_json::from_str::<CommandFrame>(&leave).is_err(), "{leave}");
        }
    }
}
