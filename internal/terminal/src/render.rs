//! Formats timeline entries as lines of text.

use std::collections::HashMap;

use domain::{Doing, Status, UserId};
use markdown::{Block, Span};
use protocol::{EntryBody, VersionBody};

/// Replaces control characters, so that a text of another user cannot control the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// How present somebody is, to follow their name.
pub(crate) fn status(status: Status) -> &'static str {
    match status {
        Status::Offline => "offline",
        Status::Idle => "away",
        Status::Online => "online",
        Status::Dnd => "not to be disturbed",
    }
}

/// What somebody does who is shown as typing, to follow their name.
pub(crate) fn doing(doing: Doing) -> &'static str {
    match doing {
        Doing::Text => "is typing",
        Doing::File => "is sending a file ...",
        Doing::Assistant => "is writing an answer ...",
    }
}

/// The time of day, UTC.
pub(crate) fn time_of_day(time_ms: i64) -> String {
    let seconds = time_ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The known names of users, by id.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: HashMap<UserId, String>,
}

impl Names {
    pub(crate) fn learn(&mut self, user: UserId, name: &str) {
        self.known.insert(user, plain(name));
    }

    pub(crate) fn of(&self, user: UserId) -> String {
        let known = self.known.get(&user);
        // The last digits of the id, because ids that are minted in a row begin alike.
        known.cloned().unwrap_or_else(|| user.to_string().split_off(28))
    }

    /// The user of that name, if it is known.
    pub(crate) fn user(&self, name: &str) -> Option<UserId> {
        self.known.iter().find(|(_, known)| *known == name).map(|(user, _)| *user)
    }

    pub(crate) fn knows(&self, user: UserId) -> bool {
        self.known.contains_key(&user)
    }

    /// The users of an entry whose names are not known.
    pub(crate) fn missing(&self, entry: &EntryBody) -> Vec<UserId> {
        let reacted = entry.reactions.iter().map(|reaction| reaction.user);
        let all = std::iter::once(entry.author).chain(entry.users.iter().copied()).chain(reacted);
        all.filter(|user| !self.known.contains_key(user)).collect()
    }

    fn list(&self, users: &[UserId]) -> String {
        users.iter().map(|user| self.of(*user)).collect::<Vec<_>>().join(", ")
    }
}

/// Adds colours, if the output may be coloured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ink {
    /// Whether the output may be coloured.
    pub(crate) colour: bool,
}

impl Ink {
    const FAINT: &str = "\x1b[2m";
    const RED: &str = "\x1b[31m";
    const BOLD: &str = "\x1b[1m";
    const PLAIN: &str = "\x1b[0m";

    /// A line with its colours: errors are red; in a message, the number and time are faint and the author's name
    /// is bold; all other lines are faint.
    pub(crate) fn line(self, line: &str) -> String {
        let (faint, red, bold, plain) = (Self::FAINT, Self::RED, Self::BOLD, Self::PLAIN);
        if !self.colour {
            return line.to_owned();
        }
        if line.starts_with("!!") {
            return format!("{red}{line}{plain}");
        }
        let is_message = line.starts_with('#') || line.starts_with("*#");
        // Number, time and author contain no blanks; the author ends with a colon.
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some(number), Some(time), Some(author), Some(text)) if is_message => {
                format!("{faint}{number} {time}{plain} {bold}{author}{plain} {}", styled(text))
            }
            _ => format!("{faint}{line}{plain}"),
        }
    }
}

/// A text of one line with the styles that its marks say. What is more than a line in other clients stays as it was typed.
fn styled(text: &str) -> String {
    let blocks = markdown::parse(text);
    match &blocks[..] {
        [Block::Paragraph(spans)] => {
            let mut out = String::with_capacity(text.len());
            spans.iter().for_each(|span| style(span, Ink::PLAIN, &mut out));
            out
        }
        _ => text.to_owned(),
    }
}

/// `around` are the styles of what the span is in: to go on with behind it.
fn style(span: &Span<'_>, around: &str, out: &mut String) {
    let mut within = |code: &str, spans: &[Span<'_>]| {
        let inner = format!("{around}\x1b[{code}m");
        out.push_str(&inner);
        spans.iter().for_each(|span| style(span, &inner, out));
        out.push_str(around);
    };
    match span {
        Span::Text(text) => out.push_str(text),
        Span::Strong(spans) => within("1", spans),
        Span::Emphasis(spans) => within("3", spans),
        Span::Struck(spans) => within("9", spans),
        Span::Code(text) => within("36", &[Span::Text((*text).into())]),
        // A terminal shows where a link leads.
        Span::Link { target, label } => {
            within("4", label);
            let shown = matches!(&label[..], [Span::Text(text)] if text == target);
            if !shown {
                out.push_str(&format!(" ({target})"));
            }
        }
    }
}

/// The numbers of messages that a message is about: `Some(None)` for one that is not loaded, `None` where there is none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct About {
    /// The message that it replies to.
    pub(crate) answered: Option<Option<u64>>,
    /// The root of the thread that it is in.
    pub(crate) root: Option<Option<u64>>,
}

/// Whether the message counts in the conversation: it is in no thread, or in the main view as well.
pub(crate) fn in_main_view(entry: &EntryBody) -> bool {
    entry.thread.is_none() || entry.also_in_conversation
}

/// An entry as a line. `changed` marks one that was shown before and has changed.
pub(crate) fn entry(entry: &EntryBody, names: &Names, about: About, changed: bool) -> String {
    let (time, author) = (time_of_day(entry.time), names.of(entry.author));
    let body = entry.body.as_ref().map(|body| plain(body.reveal())).unwrap_or_default();
    let others: Vec<UserId> = entry.users.iter().copied().filter(|user| *user != entry.author).collect();
    match entry.kind.as_str() {
        "message" => {
            let mark = if changed { "*" } else { "" };
            let text = if entry.deleted { "(deleted)" } else { &*body };
            // Content that this terminal does not know is told by its text.
            let content = entry.content.as_ref().map(|content| format!("({}) ", plain(&content.kind)));
            let content = content.unwrap_or_default();
            let edited = if entry.edited.is_some() && !entry.deleted { " (edited)" } else { "" };
            let reactions: String = entry
                .reactions
                .iter()
                .map(|reaction| format!(" [{} {}]", names.of(reaction.user), plain(&reaction.emoji)))
                .collect();
            let answered = match about.answered {
                Some(Some(number)) => format!("(to #{number}) "),
                Some(None) => "(to an older one) ".to_owned(),
                None => String::new(),
            };
            let root = about.root.map(|number| number.map_or("?".to_owned(), |number| number.to_string()));
            let (number, thread) = match root {
                Some(root) if in_main_view(entry) => (entry.ordinal.to_string(), format!("(thread of #{root}) ")),
                Some(root) => (format!("{root}.{}", entry.thread_ordinal.unwrap_or_default()), String::new()),
                None => (entry.ordinal.to_string(), String::new()),
            };
            format!("{mark}#{number} {time} {author}: {thread}{answered}{content}{text}{edited}{reactions}")
        }
        // The entry has neither members nor a title; `/who` lists the members.
        "created" => format!("-- {time} {author} began the conversation"),
        "joined" => format!("-- {time} {author} added {}", names.list(&others)),
        "left" if entry.users.contains(&entry.author) => format!("-- {time} {author} left"),
        "left" => format!("-- {time} {author} removed {}", names.list(&entry.users)),
        "title" => format!("-- {time} {author} named it '{body}'"),
        other => format!("-- {time} {author}: {}", plain(other)),
    }
}

/// What a message said for a time, as a line.
pub(crate) fn version(version: &VersionBody) -> String {
    format!("-- {} {}", time_of_day(version.time), plain(version.body.reveal()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{CommandId, Seq};
    use protocol::ReactionBody;

    #[test]
    fn marks_are_styles_and_what_is_none_stays() {
        assert_eq!(styled("**a *b* c** d"), "\x1b[0m\x1b[1ma \x1b[0m\x1b[1m\x1b[3mb\x1b[0m\x1b[1m c\x1b[0m d");
        assert_eq!(styled("[here](https://a.org/x)"), "\x1b[0m\x1b[4mhere\x1b[0m (https://a.org/x)");
        for same in ["snake_case and 2 * 3", "- an item", "> a quote", "`open", ""] {
            assert_eq!(styled(same), same);
        }
    }

    #[test]
    fn entries_read_well_and_cannot_steer_the_terminal() {
        let ann: UserId = "00000000-0000-4000-8000-000000000001".parse().unwrap();
        let bob: UserId = "00000000-0000-4000-8000-000000000002".parse().unwrap();
        let mut names = Names::default();
        names.learn(ann, "ann");
        let message = EntryBody {
            seq: Seq::default(),
            id: CommandId::first_at(1),
            author: ann,
            time: 45_296_000,
            kind: "message".into(),
            ordinal: 7,
            changed: Seq::default(),
            body: Some("hi \u{1b}[2J".into()),
            reply_to: None,
            thread: None,
            thread_ordinal: None,
            also_in_conversation: false,
            quote: None,
            mentions: None,
            content: None,
            users: vec![],
            edited: Some(1),
            deleted: false,
            deleted_by: None,
            reactions: vec![ReactionBody { user: bob, emoji: "+1".into() }],
            replies: None,
            withheld: false,
        };
        let line = entry(&message, &names, About::default(), true);
        assert_eq!(line, "*#7 12:34:56 ann: hi \u{fffd}[2J (edited) [00000002 +1]");
        let deleted = EntryBody { deleted: true, reactions: vec![], ..message.clone() };
        assert_eq!(entry(&deleted, &names, About::default(), false), "#7 12:34:56 ann: (deleted)");
        let about = About { answered: Some(Some(3)), root: None };
        assert_eq!(entry(&deleted, &names, about, false), "#7 12:34:56 ann: (to #3) (deleted)");
        let below = EntryBody {
            thread: Some(CommandId::first_at(2)),
            thread_ordinal: Some(4),
            body: Some("yes".into()),
            edited: None,
            reactions: vec![],
            ..message.clone()
        };
        let about = |root| About { answered: None, root: Some(root) };
        assert_eq!(entry(&below, &names, about(Some(3)), false), "#3.4 12:34:56 ann: yes");
        assert_eq!(entry(&below, &names, about(None), false), "#?.4 12:34:56 ann: yes");
        let both = EntryBody { also_in_conversation: true, ..below };
        assert_eq!(entry(&both, &names, about(Some(3)), false), "#7 12:34:56 ann: (thread of #3) yes");
        let created = EntryBody { kind: "created".into(), body: None, reactions: vec![], ..message.clone() };
        assert_eq!(entry(&created, &names, About::default(), false), "-- 12:34:56 ann began the conversation");
        let joined = EntryBody { kind: "joined".into(), body: None, users: vec![ann, bob], ..message };
        assert_eq!(entry(&joined, &names, About::default(), false), "-- 12:34:56 ann added 00000002");
        assert_eq!(names.missing(&joined), [bob, bob]);
    }

    #[test]
    fn colours_change_no_text() {
        let (plain, coloured) = (Ink { colour: false }, Ink { colour: true });
        for line in ["-- ann left", "!! nobody is called x", "#7 12:34:56 ann: hi you", "*#7 12:34:56 ann: hi", "# x"] {
            assert_eq!(plain.line(line), line);
            let shown = coloured.line(line);
            assert!(
                shown.contains('\u{1b}') && shown.ends_with(line.split(' ').next_back().unwrap_or_default())
                    || shown.ends_with(Ink::PLAIN)
            );
            let bare =
                [Ink::FAINT, Ink::RED, Ink::BOLD, Ink::PLAIN].iter().fold(shown, |line, ink| line.replace(ink, ""));
            assert_eq!(bare, line);
        }
    }
}
