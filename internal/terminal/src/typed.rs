//! Handles typed lines.

use std::io::Write;

use domain::{CommandId, ConversationId, UserId};
use protocol::{CommandFrame, CommandKind, ErrorCode};

use crate::TerminalError;
use crate::line::{HELP, Line, Which};
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
            Line::History(count) => self.history(count, output).await,
            Line::Add(name) => {
                let add = |id, conversation, user| {
                    CommandFrame::new(id, conversation, CommandKind::AddMembers { members: vec![user] })
                };
                self.about(&name, text, add).await
            }
            Line::Remove(name) => {
                let remove =
                    |id, conversation, user| CommandFrame::new(id, conversation, CommandKind::RemoveMember { user });
                self.about(&name, text, remove).await
            }
            Line::Role(name, role) => {
                let change = |id, conversation, user| {
                    CommandFrame::new(id, conversation, CommandKind::ChangeRole { user, role })
                };
                self.about(&name, text, change).await
            }
            line => self.command(line, text),
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

    fn command(&mut self, line: Line, text: &str) -> Result<(), TerminalError> {
        let (id, conversation) = (self.client.mint(), self.conversation());
        let frame = match line {
            Line::Say(body) => {
                CommandFrame::new(id, conversation, CommandKind::Send { body: body.into(), reply_to: None })
            }
            Line::Reply(which, body) => CommandFrame::new(
                id,
                conversation,
                CommandKind::Send { body: body.into(), reply_to: Some(self.message(which)?) },
            ),
            Line::Leave => CommandFrame::new(id, conversation, CommandKind::Leave {}),
            Line::Title(title) => CommandFrame::new(id, conversation, CommandKind::ChangeTitle { title }),
            Line::Edit(which, body) => CommandFrame::new(
                id,
                conversation,
                CommandKind::Edit { target: self.message(which)?, body: body.into() },
            ),
            Line::Delete(which) => {
                CommandFrame::new(id, conversation, CommandKind::Delete { target: self.message(which)? })
            }
            Line::React(which, emoji) => {
                CommandFrame::new(id, conversation, CommandKind::React { target: self.message(which)?, emoji })
            }
            Line::Unreact(which) => {
                CommandFrame::new(id, conversation, CommandKind::Unreact { target: self.message(which)? })
            }
            Line::Nothing
            | Line::Who
            | Line::History(_)
            | Line::Add(_)
            | Line::Remove(_)
            | Line::Role(..)
            | Line::Help
            | Line::Quit => return Ok(()),
        };
        self.submit(frame, text)
    }

    /// From here on the command survives a crash.
    fn submit(&mut self, frame: CommandFrame, text: &str) -> Result<(), TerminalError> {
        let id = self.client.submit(frame)?;
        self.sent.insert(id, text.to_owned());
        if let Some(state) = self.client.checkpoint() {
            self.file.save(state)?;
        }
        Ok(())
    }

    /// Sends a command that concerns the user of that name.
    async fn about(
        &mut self,
        name: &str,
        text: &str,
        command: impl FnOnce(CommandId, ConversationId, UserId) -> CommandFrame,
    ) -> Result<(), TerminalError> {
        let user = match self.client.http().user_by_name(name).await {
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                return Err(TerminalError::Usage(format!("nobody is called {name}")));
            }
            found => found?,
        };
        self.names.learn(user.id, &user.name);
        let (id, conversation) = (self.client.mint(), self.conversation());
        self.submit(command(id, conversation, user.id), text)
    }

    /// The id of the message that a line refers to.
    fn message(&self, which: Which) -> Result<CommandId, TerminalError> {
        let me = self.client.identity().user;
        let mut messages = self.view.entries().rev().filter(|entry| entry.kind == "message");
        let found = match which {
            Which::Number(number) => messages.find(|entry| entry.ordinal == number),
            Which::Last => messages.find(|entry| entry.author == me && !entry.deleted),
        };
        found.map(|entry| entry.id).ok_or_else(|| TerminalError::Usage("there is no such message here".into()))
    }

    async fn who(&mut self, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        let mut after = None;
        loop {
            let page = self.client.http().members(self.conversation(), after).await?;
            for member in &page.members {
                if let Ok(found) = self.client.http().user(member.user).await {
                    self.names.learn(member.user, &found.name);
                }
                let line = format!("-- {} ({})", self.names.of(member.user), member.role);
                say(output, &self.ink.line(&line))?;
            }
            match page.members.last().filter(|_| page.more) {
                Some(last) => after = Some(last.user),
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
