//! Handles typed lines.

use std::io::Write;

use domain::{CommandId, MessageText, UserId};
use protocol::{CommandFrame, CommandKind, EntryBody, ErrorCode, MentionsBody};

use crate::TerminalError;
use crate::line::{HELP, Line, Which};
use crate::render::in_main_view;
use crate::room::{HISTORY_SHOWN, Room};
use crate::{render, say};
use client::HistoryQuery;

/// The most entries on one page of history.
const HISTORY_MAX: usize = 200;

impl Room {
    /// Executes a line; returns whether it was `/quit`.
    pub(crate) async fn typed(&mut self, text: &str, output: &mut (dyn Write + Send)) -> Result<bool, TerminalError> {
        let line = match text.parse::<Line>() {
            Ok(line) => line,
            Err(words) => {
                self.failed = true;
                say(output, &self.ink.line(&format!("!! {words}")))?;
                return Ok(false);
            }
        };
        let outcome = match line {
            Line::Quit => return Ok(true),
            Line::Nothing => Ok(()),
            Line::Help => return say(output, HELP).map(|()| false),
            Line::Who => self.who(output).await,
            Line::Status(status) => {
                self.client.present(status);
                Ok(())
            }
            Line::History(count) => self.history(count, output).await,
            Line::Pins => self.pins(output).await,
            Line::Versions(which) => self.versions(which, output).await,
            Line::Command(command) => self.submit(command, text),
            Line::OfMessage(which, command) => self.message(which).and_then(|id| self.submit(command(id), text)),
            Line::OfThread(which, command) => self.root(which).and_then(|id| self.submit(command(id), text)),
            Line::OfUser(name, command) => match self.user(&name).await {
                Ok(user) => self.submit(command(user), text),
                Err(error) => Err(error),
            },
        };
        match outcome {
            Ok(()) => {}
            Err(TerminalError::Io { what, source }) => return Err(TerminalError::Io { what, source }),
            Err(error) => {
                self.failed = true;
                say(output, &self.ink.line(&format!("!! {}", render::plain(&error.to_string()))))?;
            }
        }
        Ok(false)
    }

    /// From here on the command survives a crash.
    fn submit(&mut self, mut command: CommandKind, text: &str) -> Result<(), TerminalError> {
        if let CommandKind::Send { body, mentions, .. } | CommandKind::Edit { body, mentions, .. } = &mut command {
            *mentions = mentioned(body, |name| self.names.user(name));
        }
        let frame = CommandFrame::new(self.client.mint(), self.conversation(), command);
        let id = self.client.submit(frame)?;
        self.sent.insert(id, text.to_owned());
        if let Some(state) = self.client.checkpoint() {
            self.file.save(state)?;
        }
        Ok(())
    }

    /// The user of that name.
    async fn user(&mut self, name: &str) -> Result<UserId, TerminalError> {
        let user = match self.client.http().user_by_name(name).await {
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                return Err(TerminalError::Usage(format!("nobody is called {name}")));
            }
            found => found?,
        };
        self.names.learn(user.id, &user.name);
        Ok(user.id)
    }

    /// The id of the message that a line refers to.
    fn message(&self, which: Which) -> Result<CommandId, TerminalError> {
        self.entry_of(which).map(|entry| entry.id)
    }

    /// The root of the thread that a message is in, or under which it has one.
    fn root(&self, which: Which) -> Result<CommandId, TerminalError> {
        self.entry_of(which).map(|entry| entry.thread.unwrap_or(entry.id))
    }

    fn entry_of(&self, which: Which) -> Result<&EntryBody, TerminalError> {
        let me = self.client.identity().user;
        let messages = || self.view.entries().rev().filter(|entry| entry.kind == "message");
        let main = |number| messages().find(|entry| entry.ordinal == number && in_main_view(entry));
        let found = match which {
            Which::Number(number) => main(number),
            Which::InThread(root, number) => main(root).and_then(|root| {
                messages().find(|entry| entry.thread == Some(root.id) && entry.thread_ordinal == Some(number))
            }),
            Which::Last => messages().find(|entry| entry.author == me && !entry.deleted),
        };
        found.ok_or_else(|| TerminalError::Usage("there is no such message here".into()))
    }

    async fn who(&mut self, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        let mut after = None;
        loop {
            let page = self.client.http().members(self.conversation(), after).await?;
            for member in &page.members {
                if let Ok(found) = self.client.http().user(member.user).await {
                    self.names.learn(member.user, &found.name);
                }
                let status = self.presences.of(member.user).map(|presence| presence.status);
                let shown = status.map_or(String::new(), |status| format!(", {}", render::status(status)));
                let line = format!("-- {} ({}{shown})", self.names.of(member.user), member.role);
                say(output, &self.ink.line(&line))?;
            }
            match page.members.last().filter(|_| page.more) {
                Some(last) => after = Some(last.user),
                None => return Ok(()),
            }
        }
    }

    /// The pinned messages, the newest ones where there are many.
    async fn pins(&mut self, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        let query = HistoryQuery { limit: Some(HISTORY_MAX), ..HistoryQuery::default() };
        let page = self.client.http().pins(self.conversation(), query).await?;
        if page.entries.is_empty() {
            say(output, &self.ink.line("-- nothing is pinned"))?;
        }
        for entry in &page.entries {
            self.show_entry(entry, false, output).await?;
        }
        self.view.merge(page.entries);
        Ok(())
    }

    /// What a message has said in its time, oldest first.
    async fn versions(&mut self, which: Which, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        let (id, mut after) = (self.message(which)?, None);
        loop {
            let page = self.client.http().versions(self.conversation(), id, after).await?;
            for version in &page.versions {
                say(output, &self.ink.line(&render::version(version)))?;
            }
            match page.versions.last().filter(|_| page.more) {
                Some(last) => after = Some(last.seq),
                None => return Ok(()),
            }
        }
    }

    async fn history(&mut self, count: Option<usize>, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        let limit = count.unwrap_or(HISTORY_SHOWN).clamp(1, HISTORY_MAX);
        let at_least = self.client.state().highest.get(&self.conversation()).copied();
        let query = HistoryQuery { limit: Some(limit), at_least, ..HistoryQuery::default() };
        let page = self.client.http().history(self.conversation(), query).await?;
        for entry in &page.entries {
            self.show_entry(entry, false, output).await?;
        }
        // The shown entries are added to the view, so that lines can refer to them.
        self.view.merge(page.entries);
        Ok(())
    }
}

/// Whom a text mentions: `@all` is everybody, `@NAME` somebody whose name is known here. Other texts with an @ are texts.
fn mentioned(body: &MessageText, user: impl Fn(&str) -> Option<UserId>) -> Option<MentionsBody> {
    let mut found = MentionsBody::default();
    for word in body.reveal().split_whitespace().filter_map(|word| word.strip_prefix('@')) {
        match word.trim_end_matches(|c: char| c.is_ascii_punctuation() && c != '_') {
            "all" => found.all = true,
            name => found.users.extend(user(name)),
        }
    }
    (found != MentionsBody::default()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_an_at_are_mentions() {
        let bob: UserId = "00000000-0000-4000-8000-000000000002".parse().unwrap();
        let of = |text: &str| mentioned(&text.into(), |name| (name == "bob").then_some(bob));
        let by_name = Some(MentionsBody { users: vec![bob], all: false });
        for text in ["@bob", "hi @bob!", "@bob, and you, @carol"] {
            assert_eq!(of(text), by_name, "{text}");
        }
        for text in ["bob", "a@bob", "@bobby", "@", "mail me @home"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(of("@all: lunch"), Some(MentionsBody { users: vec![], all: true }));
    }
}
