//! One conversation on the terminal: shows events, sends typed lines, and saves the device's state.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use domain::{CommandId, ConversationId, Doing, Presence, SIGNAL_SHOWN, Seq, UserId, WATCHED_MAX};
use protocol::{CommandKind, EntryBody, ErrorCode, FeedFrame, SignalFrame, StandsName};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, Lines};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::line::Line;
use crate::render::{self, Ink, Names};
use crate::{ChatOptions, Ended, TerminalError, say};
use client::{Client, ClientEvent, ENTRIES_MAX, Fate, HistoryQuery, Presences, StateFile, View};

/// Entries that are shown at the beginning.
pub(crate) const HISTORY_SHOWN: usize = 30;
/// How long to wait, after the end of the input, until all commands are settled.
const SETTLE_WAIT: Duration = Duration::from_secs(60);
/// How often the device's state is saved while there are events.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// The pause before rows are read again after a transient error.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A conversation on the terminal.
pub(crate) struct Room {
    pub(crate) client: Client,
    pub(crate) view: View,
    pub(crate) names: Names,
    pub(crate) file: StateFile,
    pub(crate) ink: Ink,
    once: bool,
    interactive: bool,
    /// The typed lines of the user's open commands, to say which of them failed.
    pub(crate) sent: BTreeMap<CommandId, String>,
    /// The newest entry on the screen.
    shown: Option<Seq>,
    /// The shown entries: the `changed` of each as it was shown, by seq. At the bound the oldest are dropped, and
    /// their later changes are not shown.
    screen: BTreeMap<Seq, Seq>,
    /// The read mark that was sent last.
    marked: Option<Seq>,
    /// Rows that have to be read, as of at least this seq, at this time. Until they are read, no new entry is
    /// shown or marked as read, because the missing rows come before it.
    read: Option<(Seq, Instant)>,
    /// Whether a command or line was not accepted.
    pub(crate) failed: bool,
    /// Whether the user has left the conversation; then no more input is read.
    left: bool,
    saved: Instant,
    /// Notified at each key of a message.
    keys: Arc<Notify>,
    /// The users who were shown as typing, what they did, and until when this is not shown again.
    typing: BTreeMap<(UserId, Doing), Instant>,
    /// How present the members are, as far as it is known.
    pub(crate) presences: Presences,
    /// Whether the loss of the socket was shown, and no reconnect since.
    lost: bool,
}

impl Room {
    pub(crate) fn new(client: Client, conversation: ConversationId, file: StateFile, options: &ChatOptions) -> Self {
        let identity = client.identity().clone();
        let mut names = Names::default();
        names.learn(identity.user, &identity.name);
        Self {
            view: View::new(conversation, identity.user),
            client,
            names,
            file,
            ink: Ink { colour: options.colour },
            once: options.once,
            interactive: options.interactive,
            sent: BTreeMap::new(),
            shown: None,
            screen: BTreeMap::new(),
            marked: None,
            read: None,
            failed: false,
            left: false,
            saved: Instant::now(),
            keys: Arc::clone(&options.keys),
            typing: BTreeMap::new(),
            presences: Presences::default(),
            lost: false,
        }
    }

    pub(crate) fn conversation(&self) -> ConversationId {
        self.view.conversation()
    }

    /// Shows earlier messages. A device that resumes receives what it missed from the feed, and shows the messages
    /// before that; with `once`, the newest are shown.
    pub(crate) async fn begin(&mut self, resumes: bool, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        let line = format!("-- conversation {}, /help for help", self.conversation());
        say(output, &self.ink.line(&line))?;
        if self.interactive {
            self.watch_members().await;
        }
        let highest = self.client.state().highest.get(&self.conversation()).copied();
        let before = highest.filter(|_| resumes && !self.once).map(Seq::next);
        let query = HistoryQuery { before, limit: Some(HISTORY_SHOWN), at_least: highest, ..HistoryQuery::default() };
        self.read_rows(query, output).await
    }

    /// Runs until the input has ended and everything is settled, or `stop` is cancelled.
    pub(crate) async fn stay(
        &mut self,
        input: impl AsyncBufRead + Unpin + Send,
        output: &mut (dyn Write + Send),
        stop: &CancellationToken,
    ) -> Result<Ended, TerminalError> {
        let mut lines = Some(input.lines());
        let mut give_up: Option<Instant> = None;
        loop {
            if lines.is_none() && self.is_settled() {
                return Ok(if self.failed { Ended::NotAccepted } else { Ended::Done });
            }
            let now = Instant::now();
            let read_at = self.read.map_or(now + SETTLE_WAIT, |(_, at)| at);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Ended::Done),
                event = self.client.next() => self.happened(event, output).await?,
                line = next_line(&mut lines), if self.takes_lines() => match line {
                    Ok(Some(text)) => {
                        if self.typed(&text, output).await? {
                            lines = None;
                        }
                    }
                    Ok(None) => lines = None,
                    Err(source) => return Err(TerminalError::io("reading what is typed", source)),
                },
                () = self.keys.notified() => self.client.typing(self.view.conversation()),
                () = sleep_until(read_at) => self.read_again(output).await?,
                () = sleep_until(give_up.unwrap_or(now)), if give_up.is_some() => return Ok(Ended::Unsettled),
            }
            if self.left {
                lines = None;
            }
            if lines.is_none() {
                give_up = give_up.or(Some(Instant::now() + SETTLE_WAIT));
            }
            self.save_now_and_then()?;
        }
    }

    /// Saves the state and closes the connection.
    pub(crate) async fn leave(
        self,
        output: &mut (dyn Write + Send),
        outcome: Result<Ended, TerminalError>,
    ) -> Result<Ended, TerminalError> {
        let ink = self.ink;
        let (open, saved) = (self.client.state().open_commands(), self.file.save(self.client.state()));
        self.client.close().await;
        if open > 0 {
            let path = self.file.path().display();
            let line = format!("-- {open} not settled yet: kept in {path} and sent again next time");
            say(output, &ink.line(&line))?;
        }
        let ended = outcome?;
        saved?;
        Ok(ended)
    }

    /// A script's next line is read once no command is open, since it may refer to the message that the last one
    /// sends.
    fn takes_lines(&self) -> bool {
        self.interactive || self.client.state().open_commands() == 0
    }

    fn is_settled(&self) -> bool {
        let state = self.client.state();
        self.client.is_live() && self.read.is_none() && state.open_commands() == 0
    }

    fn save_now_and_then(&mut self) -> Result<(), TerminalError> {
        if self.saved.elapsed() < SAVE_EVERY {
            return Ok(());
        }
        if let Some(state) = self.client.checkpoint() {
            self.file.save(state)?;
            self.saved = Instant::now();
        }
        Ok(())
    }

    async fn happened(&mut self, event: ClientEvent, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        match event {
            ClientEvent::Connected { .. } if self.lost => {
                self.lost = false;
                say(output, &self.ink.line("-- connected again"))
            }
            ClientEvent::Disconnected { reason, .. } if !self.lost => {
                self.lost = true;
                self.presences.forget();
                let line = format!("-- not connected, trying again: {}", render::plain(&reason));
                say(output, &self.ink.line(&line))
            }
            ClientEvent::Stopped { reason, .. } => {
                Err(TerminalError::Usage(format!("the server says not to come back: {}", render::plain(&reason))))
            }
            ClientEvent::Reset { .. } => {
                self.forget();
                Ok(())
            }
            ClientEvent::Synced { conversations } => {
                let here = conversations.iter().find(|one| one.id == self.conversation());
                if let Some(here) = here {
                    // While the conversation was unsynced, the view did not get its frames.
                    self.forget();
                    self.want_rows(here.head);
                }
                Ok(())
            }
            ClientEvent::Feed(frame) => self.received(&frame, output).await,
            ClientEvent::Signal(signal) => self.signalled(&signal, output).await,
            ClientEvent::Fate { id, fate, .. } => self.settled(id, fate, output),
            ClientEvent::Connected { .. }
            | ClientEvent::Disconnected { .. }
            | ClientEvent::Logged { .. }
            | ClientEvent::Marked { .. } => Ok(()),
        }
    }

    /// Shows once that a user is typing, and again if they had stopped meanwhile. Not shown in the output of
    /// scripts.
    async fn signalled(&mut self, signal: &SignalFrame, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        let now = Instant::now();
        self.view.signal(signal, now);
        let changed = self.presences.signal(signal);
        if !self.interactive {
            return Ok(());
        }
        if let Some(Presence { user, status, .. }) = changed.filter(|changed| changed.user != self.view.me()) {
            self.learn_name(user).await;
            let line = format!("-- {} is {}", self.names.of(user), render::status(status));
            say(output, &self.ink.line(&line))?;
        }
        let typing: Vec<_> = self.view.typing(now).map(|typing| (typing.user, typing.doing)).collect();
        self.typing.retain(|shown, until| *until > now && typing.contains(shown));
        for (user, doing) in typing {
            let on_screen = self.typing.insert((user, doing), now + SIGNAL_SHOWN).is_some();
            if !on_screen {
                self.learn_name(user).await;
                let line = format!("-- {} {}", self.names.of(user), render::doing(doing));
                say(output, &self.ink.line(&line))?;
            }
        }
        Ok(())
    }

    /// Watches the members, as many as may be watched. Who joins later is watched from the next start on.
    async fn watch_members(&mut self) {
        let (mut members, mut after) = (Vec::new(), None);
        while let Ok(page) = self.client.http().members(self.conversation(), after).await {
            members.extend(page.members.iter().map(|member| member.user));
            after = members.last().copied().filter(|_| page.more && members.len() < WATCHED_MAX);
            if after.is_none() {
                break;
            }
        }
        self.client.watch(members);
    }

    async fn received(&mut self, frame: &FeedFrame, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        if let Some(seq) = self.view.apply(frame).reread {
            self.want_rows(seq);
        }
        // A user who has sent a message or left may be shown as typing again.
        let typing: Vec<_> = self.view.typing(Instant::now()).map(|typing| (typing.user, typing.doing)).collect();
        self.typing.retain(|shown, _| typing.contains(shown));
        match frame.event_key() {
            Some((conversation, seq)) if conversation == self.conversation() => self.show(seq, output).await,
            _ => Ok(()),
        }
    }

    /// Empties the view, so that the rows are read again: frames applied to outdated entries would make them look
    /// newer than they are.
    fn forget(&mut self) {
        self.view = View::new(self.conversation(), self.client.identity().user);
    }

    fn settled(&mut self, id: CommandId, fate: Fate, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        let what = self.sent.remove(&id);
        let why = match fate {
            Fate::Stands { stands: StandsName::Withdrawal, .. } => "withdrawn".to_owned(),
            Fate::Stands { .. } => {
                // Set only once it is accepted: leaving can be refused, for example in a direct conversation.
                self.left |= what.is_some_and(|text| matches!(text.parse(), Ok(Line::Command(CommandKind::Leave {}))));
                return Ok(());
            }
            Fate::Refused { reason, message, .. } if message.is_empty() => name_of(reason),
            Fate::Refused { message, .. } | Fate::Rejected { message, .. } => message,
        };
        self.failed = true;
        let what = what.unwrap_or_else(|| "a command of an earlier run".to_owned());
        let line = format!("!! not accepted: {} -- {}", render::plain(&why), render::plain(&what));
        say(output, &self.ink.line(&line))
    }

    fn want_rows(&mut self, at_least: Seq) {
        let at_least = self.read.map_or(at_least, |(seq, _)| seq.max(at_least));
        self.read = Some((at_least, Instant::now()));
    }

    async fn read_again(&mut self, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        let Some((seq, _)) = self.read else { return Ok(()) };
        let at_least = Some(seq).filter(|seq| *seq > Seq::default());
        let query = HistoryQuery { limit: Some(HISTORY_SHOWN), at_least, ..HistoryQuery::default() };
        self.read_rows(query, output).await
    }

    /// Reads and shows rows. After a transient error they are read again later.
    async fn read_rows(&mut self, query: HistoryQuery, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        match self.client.http().history(self.conversation(), query).await {
            Ok(page) => {
                self.read = None;
                if let (Some(first), Some(shown)) = (page.entries.first(), self.shown)
                    && page.more
                    && first.seq > shown
                {
                    say(output, &self.ink.line("-- ... there is more in between: /history"))?;
                }
                self.view.read(page.entries);
                self.show(self.view.newest().unwrap_or_default(), output).await
            }
            Err(error) => {
                let passing = matches!(
                    error.code(),
                    None | Some(
                        ErrorCode::Retry
                            | ErrorCode::Held
                            | ErrorCode::Busy
                            | ErrorCode::Unavailable
                            | ErrorCode::RateLimited
                            | ErrorCode::Unknown
                            | ErrorCode::Internal
                    )
                );
                if !passing {
                    return Err(error.into());
                }
                tracing::debug!(%error, "the history is read again");
                let wait = error.retry_after().unwrap_or(READ_AGAIN_AFTER);
                self.read = Some((query.at_least.unwrap_or_default(), Instant::now() + wait));
                Ok(())
            }
        }
    }

    /// Shows the entries that have changed since they were shown, and then, unless rows have to be read first, new
    /// ones up to `to`.
    async fn show(&mut self, to: Seq, output: &mut (dyn Write + Send)) -> Result<(), TerminalError> {
        let differs = |entry: &&EntryBody| self.screen.get(&entry.seq).is_some_and(|changed| *changed < entry.changed);
        let differing: Vec<EntryBody> = self.view.entries().filter(differs).cloned().collect();
        for entry in &differing {
            self.show_entry(entry, true, output).await?;
        }
        if self.read.is_some() {
            return Ok(());
        }
        let beyond = self.view.entries().rev().take_while(|entry| self.shown < Some(entry.seq));
        let fresh: Vec<EntryBody> = beyond.filter(|entry| entry.seq <= to).cloned().collect();
        for entry in fresh.iter().rev() {
            self.show_entry(entry, false, output).await?;
            self.shown = Some(entry.seq);
        }
        if let Some(shown) = self.shown
            && self.marked < Some(shown)
        {
            self.marked = Some(shown);
            self.client.mark(self.conversation(), shown);
        }
        Ok(())
    }

    pub(crate) async fn show_entry(
        &mut self,
        entry: &EntryBody,
        changed: bool,
        output: &mut (dyn Write + Send),
    ) -> Result<(), TerminalError> {
        self.learn_names(entry).await;
        self.screen.insert(entry.seq, entry.changed);
        if self.screen.len() > ENTRIES_MAX {
            self.screen.pop_first();
        }
        let number = |id| self.view.entry(id).map(|entry| entry.ordinal);
        let about = render::About { answered: entry.reply_to.map(number), root: entry.thread.map(number) };
        let line = render::entry(entry, &self.names, about, changed);
        say(output, &self.ink.line(&line))
    }

    pub(crate) async fn learn_names(&mut self, entry: &EntryBody) {
        for user in self.names.missing(entry) {
            self.learn_name(user).await;
        }
    }

    async fn learn_name(&mut self, user: UserId) {
        // If the name cannot be read, part of the id is shown instead.
        if !self.names.knows(user)
            && let Ok(found) = self.client.http().user(user).await
        {
            self.names.learn(user, &found.name);
        }
    }
}

/// The next line; never resolves after the end of the input.
async fn next_line<I: AsyncBufRead + Unpin>(lines: &mut Option<Lines<I>>) -> std::io::Result<Option<String>> {
    match lines {
        Some(lines) => lines.next_line().await,
        None => std::future::pending().await,
    }
}

/// The code's name on the wire, for refusals without a sentence.
fn name_of(code: ErrorCode) -> String {
    serde_json::to_value(code).ok().and_then(|value| value.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}
