//! Parsing typed lines.

use std::str::FromStr;

/// A typed line. Messages are named by their number in the conversation, or by `last` for the user's own last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Nothing,
    Say(String),
    Reply(Which, String),
    Edit(Which, String),
    Delete(Which),
    React(Which, String),
    Unreact(Which),
    Who,
    History(Option<usize>),
    Add(String),
    Remove(String),
    Role(String, String),
    Title(String),
    Leave,
    Help,
    Quit,
}

/// A reference to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Number(u64),
    Last,
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "last" {
            return Ok(Self::Last);
        }
        let number = text.trim_start_matches('#').parse();
        number.map(Self::Number).map_err(|_| format!("'{text}' is not a message's number, like 12, nor 'last'"))
    }
}

pub(crate) const HELP: &str = "\
/reply N TEXT   /edit N TEXT   /delete N   /react N EMOJI   /unreact N
                N is a message's number, or 'last' for your own last one
/who            who is here, and as what
/history [N]    what was said before
/add NAME   /remove NAME   /role NAME member|admin|owner   /title TEXT
/leave          leave the group for good       /quit  go, and come back later
A line that begins with // says the rest of it, with one slash.";

impl FromStr for Line {
    type Err = String;

    /// Parses a line; the error says what is wrong with it.
    fn from_str(line: &str) -> Result<Self, String> {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.trim().is_empty() {
            return Ok(Self::Nothing);
        }
        let Some(command) = line.strip_prefix('/') else { return Ok(Self::Say(line.to_owned())) };
        if command.starts_with('/') {
            return Ok(Self::Say(command.to_owned()));
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        let text = |text: &str, what: &str| {
            if text.is_empty() { Err(format!("/{name} needs {what}")) } else { Ok(text.to_owned()) }
        };
        let which = |text: &str| if text.is_empty() { Err(format!("/{name} needs a message")) } else { text.parse() };
        let (first, second) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        Ok(match name {
            "reply" => Self::Reply(which(first)?, text(second.trim(), "a text")?),
            "edit" => Self::Edit(which(first)?, text(second.trim(), "a text")?),
            "delete" => Self::Delete(which(rest)?),
            "react" => Self::React(which(first)?, text(second.trim(), "an emoji")?),
            "unreact" => Self::Unreact(which(rest)?),
            "who" => Self::Who,
            "history" if rest.is_empty() => Self::History(None),
            "history" => Self::History(Some(rest.parse().map_err(|_| format!("'{rest}' is not a number"))?)),
            "add" => Self::Add(text(rest, "a name")?),
            "remove" => Self::Remove(text(rest, "a name")?),
            "role" => {
                let role = second.trim();
                if domain::Role::from_name(role).is_none() {
                    return Err("/role needs a name, and 'member', 'admin' or 'owner'".to_owned());
                }
                Self::Role(first.to_owned(), role.to_owned())
            }
            // With further text, the user probably means something else, such as a message.
            "leave" if rest.is_empty() => Self::Leave,
            "leave" => return Err("/leave stands alone".to_owned()),
            "title" => Self::Title(rest.to_owned()),
            "help" => Self::Help,
            "quit" => Self::Quit,
            _ => return Err(format!("there is no /{name}\n{HELP}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_commands() {
        let line = |text: &str| text.parse::<Line>();
        assert_eq!(line("  "), Ok(Line::Nothing));
        assert_eq!(line("hi there\r\n"), Ok(Line::Say("hi there".into())));
        assert_eq!(line("//me waves"), Ok(Line::Say("/me waves".into())));
        assert_eq!(line("/edit 12  new  text"), Ok(Line::Edit(Which::Number(12), "new  text".into())));
        assert_eq!(line("/delete last"), Ok(Line::Delete(Which::Last)));
        assert_eq!(line("/react #3 👍"), Ok(Line::React(Which::Number(3), "👍".into())));
        assert_eq!(line("/history 5"), Ok(Line::History(Some(5))));
        assert_eq!(line("/reply #2 so do I"), Ok(Line::Reply(Which::Number(2), "so do I".into())));
        assert_eq!(line("/role bob admin"), Ok(Line::Role("bob".into(), "admin".into())));
        assert_eq!((line("/remove bob"), line("/leave")), (Ok(Line::Remove("bob".into())), Ok(Line::Leave)));
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
        ] {
            assert!(line(wrong).is_err(), "{wrong}");
        }
    }
}
