//! Parsing typed lines. A kind's typed command is here alone: `typed` finds the message or the user that it names, and
//! submits it.

use std::str::FromStr;

use domain::{CommandId, UserId};
use protocol::{CommandKind, OwnStatus};

/// A typed line. Messages are named by their number in the conversation, or by `last` for the user's own last one.
pub(crate) enum Line {
    Nothing,
    /// A command that names neither a message nor a user.
    Command(CommandKind),
    /// A command about a message, to be made with the message's id.
    OfMessage(Which, Box<dyn FnOnce(CommandId) -> CommandKind + Send>),
    /// A command about the thread of a message, to be made with the id of the thread's root.
    OfThread(Which, Box<dyn FnOnce(CommandId) -> CommandKind + Send>),
    /// A command about the user of that name, to be made with the user's id.
    OfUser(String, Box<dyn FnOnce(UserId) -> CommandKind + Send>),
    Who,
    /// How present the user is here.
    Status(OwnStatus),
    History(Option<usize>),
    /// The pinned messages.
    Pins,
    /// What a message has said in its time.
    Versions(Which),
    Help,
    Quit,
}

/// A reference to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Number(u64),
    /// A message that is in a thread alone: the number of the thread's root, and its own in the thread.
    InThread(u64, u64),
    Last,
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "last" {
            return Ok(Self::Last);
        }
        let number = text.trim_start_matches('#');
        let found = match number.split_once('.') {
            None => number.parse().map(Self::Number),
            Some((root, number)) => root.parse().and_then(|root| Ok(Self::InThread(root, number.parse()?))),
        };
        found.map_err(|_| format!("'{text}' is not a message's number, like 12 or 12.3, nor 'last'"))
    }
}

pub(crate) const HELP: &str = "\
/reply N TEXT   /edit N TEXT   /delete N   /react N EMOJI
/unreact N EMOJI   /versions N
                N is a message's number, or 'last' for your own last one
/thread N TEXT  says it in the thread of a message; there, messages are 12.1, 12.2, ...
/both N TEXT    says it there and here
/pin N   /unpin N   /pins
                what everybody is to find
/who            who is here, as what, and whether they are online
/away   /busy   /back
                how present you are to others, from this terminal
/history [N]    what was said before
/add NAME   /remove NAME   /role NAME member|admin|owner   /title TEXT
/leave          leave the group for good       /quit  go, and come back later
@NAME, @all     in a text: mentions a member, or everybody
A line that begins with // says the rest of it, with one slash.";

impl FromStr for Line {
    type Err = String;

    /// Parses a line; the error says what is wrong with it.
    fn from_str(line: &str) -> Result<Self, String> {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.trim().is_empty() {
            return Ok(Self::Nothing);
        }
        let say = |body: &str| Self::Command(CommandKind::send(body.into(), None));
        let Some(command) = line.strip_prefix('/') else { return Ok(say(line)) };
        if command.starts_with('/') {
            return Ok(say(command));
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        let text = |text: &str, what: &str| {
            if text.is_empty() { Err(format!("/{name} needs {what}")) } else { Ok(text.to_owned()) }
        };
        let which = |text: &str| if text.is_empty() { Err(format!("/{name} needs a message")) } else { text.parse() };
        let (first, second) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let second = second.trim();
        Ok(match name {
            "reply" => {
                let (to, body) = (which(first)?, text(second, "a text")?);
                let reply = |to| CommandKind::send(body.into(), Some(to));
                Self::OfMessage(to, Box::new(reply))
            }
            "thread" | "both" => into_thread(which(first)?, text(second, "a text")?, name == "both"),
            "edit" => {
                let (target, body) = (which(first)?, text(second, "a text")?);
                Self::OfMessage(target, Box::new(|target| CommandKind::edit(target, body.into())))
            }
            "delete" => Self::OfMessage(which(rest)?, Box::new(|target| CommandKind::Delete { target })),
            "react" | "unreact" => {
                let (target, emoji, adds) = (which(first)?, text(second, "an emoji")?, name == "react");
                Self::OfMessage(
                    target,
                    Box::new(move |target| match adds {
                        true => CommandKind::React { target, emoji },
                        false => CommandKind::Unreact { target, emoji },
                    }),
                )
            }
            "pin" => Self::OfMessage(which(rest)?, Box::new(|target| CommandKind::Pin { target })),
            "unpin" => Self::OfMessage(which(rest)?, Box::new(|target| CommandKind::Unpin { target })),
            "pins" => Self::Pins,
            "versions" => Self::Versions(which(rest)?),
            "add" => {
                Self::OfUser(text(rest, "a name")?, Box::new(|user| CommandKind::AddMembers { members: vec![user] }))
            }
            "remove" => Self::OfUser(text(rest, "a name")?, Box::new(|user| CommandKind::RemoveMember { user })),
            "role" => {
                let role = second.to_owned();
                if domain::Role::from_name(&role).is_none() {
                    return Err("/role needs a name, and 'member', 'admin' or 'owner'".to_owned());
                }
                Self::OfUser(first.to_owned(), Box::new(|user| CommandKind::ChangeRole { user, role }))
            }
            // With further text, the user probably means something else, such as a message.
            "leave" if rest.is_empty() => Self::Command(CommandKind::Leave {}),
            "leave" => return Err("/leave stands alone".to_owned()),
            "title" => Self::Command(CommandKind::ChangeTitle { title: rest.to_owned() }),
            "who" => Self::Who,
            "away" => Self::Status(OwnStatus::Idle),
            "busy" => Self::Status(OwnStatus::Dnd),
            "back" => Self::Status(OwnStatus::Online),
            "history" if rest.is_empty() => Self::History(None),
            "history" => Self::History(Some(rest.parse().map_err(|_| format!("'{rest}' is not a number"))?)),
            "help" => Self::Help,
            "quit" => Self::Quit,
            _ => return Err(format!("there is no /{name}\n{HELP}")),
        })
    }
}

/// Says it in the thread of the message, and with `also_in_conversation` in the main view as well.
fn into_thread(which: Which, body: String, also_in_conversation: bool) -> Line {
    let send = move |root| CommandKind::send_into_thread(body.into(), root, also_in_conversation);
    Line::OfThread(which, Box::new(send))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MESSAGE: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
    const BOB: &str = "00000000-0000-4000-8000-000000000002";

    /// What the line asks for: the reference, and the command as JSON with [`MESSAGE`] or [`BOB`] in it.
    fn asks(line: &str) -> (String, serde_json::Value) {
        let (named, command) = match line.parse().unwrap_or_else(|words| panic!("{line}: {words}")) {
            Line::Command(command) => (String::new(), command),
            Line::OfMessage(which, command) | Line::OfThread(which, command) => {
                (format!("{which:?}"), command(MESSAGE.parse().unwrap()))
            }
            Line::OfUser(name, command) => (name, command(BOB.parse().unwrap())),
            Line::Nothing
            | Line::Who
            | Line::Status(_)
            | Line::History(_)
            | Line::Pins
            | Line::Versions(_)
            | Line::Help
            | Line::Quit => {
                panic!("{line} is no command")
            }
        };
        (named, serde_json::to_value(command).unwrap())
    }

    #[test]
    fn lines_are_messages_or_commands() {
        assert!(matches!("  ".parse(), Ok(Line::Nothing)));
        assert!(matches!("/away".parse(), Ok(Line::Status(OwnStatus::Idle))));
        assert!(matches!("/history 5".parse(), Ok(Line::History(Some(5)))));
        let [none, twelve, three, last, bob] = ["", "Number(12)", "Number(3)", "Last", "bob"];
        for (line, named, command) in [
            ("hi there\r\n", none, json!({"type": "send", "body": "hi there"})),
            ("//me waves", none, json!({"type": "send", "body": "/me waves"})),
            ("/edit 12  new  text", twelve, json!({"type": "edit", "target": MESSAGE, "body": "new  text"})),
            ("/delete last", last, json!({"type": "delete", "target": MESSAGE})),
            ("/react #3 👍", three, json!({"type": "react", "target": MESSAGE, "emoji": "👍"})),
            ("/unreact #3 +1", three, json!({"type": "unreact", "target": MESSAGE, "emoji": "+1"})),
            ("/reply 3 so do I", three, json!({"type": "send", "body": "so do I", "reply_to": MESSAGE})),
            ("/thread 12.3 below", "InThread(12, 3)", json!({"type": "send", "body": "below", "thread": MESSAGE})),
            (
                "/both 12 below",
                twelve,
                json!({"type": "send", "body": "below", "thread": MESSAGE, "also_in_conversation": true}),
            ),
            ("/pin 12", twelve, json!({"type": "pin", "target": MESSAGE})),
            ("/unpin last", last, json!({"type": "unpin", "target": MESSAGE})),
            ("/add bob", bob, json!({"type": "add_members", "members": [BOB]})),
            ("/remove bob", bob, json!({"type": "remove_member", "user": BOB})),
            ("/role bob admin", bob, json!({"type": "change_role", "user": BOB, "role": "admin"})),
            ("/title Tea", none, json!({"type": "change_title", "title": "Tea"})),
            ("/leave", none, json!({"type": "leave"})),
        ] {
            assert_eq!(asks(line), (named.to_owned(), command), "{line}");
        }
        for wrong in [
            "/edit 12",
            "/edit x y",
            "/delete",
            "/history many",
            "/dance",
            "/add",
            "/remove",
            "/role bob",
            "/role bob king",
            "/reply 1",
            "/thread 1",
            "/thread 1.x below",
            "/thread 1.2.3 below",
        ] {
            assert!(wrong.parse::<Line>().is_err(), "{wrong}");
        }
    }
}
