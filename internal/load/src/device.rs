//! One device of the load: a client of the `client` crate with its orders and its journal.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use client::{
    Client, ClientEvent, ClientOptions, CommandFrame, CommandId, CommandKind, ConversationId, DeviceState, Fate,
    FeedFrame, FeedKind, MessageText, Seq, SyncConversation, SyncState,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::journal::{ELSEWHERE, Journal, Shown};
use crate::ledger::{self, NOT_OURS};
use crate::world::World;

/// What a device is told to do.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// Send the message of that number.
    Send { number: u32, id: CommandId, conversation: ConversationId, due: Instant, bytes: u32 },
    /// Lose the connection.
    Cut,
    /// Go away.
    Leave,
    /// Come back.
    Return,
    /// Show everything up to these heads (by conversation), then end; or at that time, whatever is missing.
    Finish { heads: Arc<Vec<Option<Seq>>>, until: Instant },
}

/// A device, and how it connects.
pub(crate) struct Device {
    pub(crate) number: u32,
    pub(crate) world: Arc<World>,
    pub(crate) options: ClientOptions,
    /// The nodes that it connects to, and with which it begins.
    pub(crate) nodes: (Vec<String>, usize),
    /// The numbers of its user's conversations.
    pub(crate) conversations: Vec<u32>,
    pub(crate) orders: mpsc::Receiver<Order>,
}

/// A device that runs.
struct Running {
    device: Device,
    /// `None` while it is away.
    client: Option<Client>,
    journal: Journal,
    /// Whether it was up at least once.
    begun: bool,
    /// Whether it is connected and synced.
    up: bool,
    finish: Option<(Arc<Vec<Option<Seq>>>, Instant)>,
}

impl Device {
    /// Runs until it was told to finish, and returns its journal.
    pub(crate) async fn run(self) -> Journal {
        let state = self.options.state.clone();
        let client = Some(self.client(state));
        let journal = Journal::default();
        let mut running = Running { device: self, client, journal, begun: false, up: false, finish: None };
        while !running.is_finished() {
            running.step().await;
        }
        running.end().await
    }

    fn client(&self, state: DeviceState) -> Client {
        let options = ClientOptions { state, ..self.options.clone() };
        Client::new(options).over(self.nodes.0.clone(), self.nodes.1)
    }
}

impl Running {
    async fn step(&mut self) {
        let until = self.finish.as_ref().map(|(_, until)| *until);
        let client = &mut self.client;
        let event = async {
            match client {
                Some(client) => client.next().await,
                None => std::future::pending().await,
            }
        };
        let order = tokio::select! {
            biased;
            order = self.device.orders.recv(), if until.is_none() => order,
            event = event => {
                self.happened(event);
                self.look();
                return;
            }
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return,
        };
        // Without anybody who gives orders, there is nothing left to do.
        self.obey(order.unwrap_or(Order::Finish { heads: Arc::default(), until: Instant::now() })).await;
    }

    async fn obey(&mut self, order: Order) {
        let world = &self.device.world;
        match order {
            Order::Send { number, id, conversation, due, bytes } => {
                let Some(client) = &mut self.client else {
                    world.dropped.fetch_add(1, Ordering::Relaxed);
                    return;
                };
                if !self.up {
                    // It waits, and may be overtaken by one that is due once the device is connected.
                    world.ledger.unordered(number);
                }
                let body = MessageText::from(world.ledger.text(number, bytes as usize));
                let what = CommandKind::send(body, None);
                // A device with too many open commands cannot send; the send stays open, and is told as unresolved.
                if let Err(error) = client.submit(CommandFrame::new(id, conversation, what)) {
                    tracing::debug!(%error, "a send was not taken");
                }
                world.late(Instant::now().saturating_duration_since(due));
            }
            Order::Cut => {
                if let Some(client) = &mut self.client {
                    client.reconnect();
                }
            }
            Order::Leave => {
                if let Some(mut client) = self.client.take() {
                    self.device.options.state = self.checkpoint(&mut client).await;
                    self.remember(&client);
                    self.down(None, "away".into());
                }
            }
            Order::Return => {
                if self.client.is_none() {
                    let state = std::mem::take(&mut self.device.options.state);
                    self.client = Some(self.device.client(state));
                    // How long it takes to be back counts from here.
                    let now = world.ledger.now_us();
                    if let Some(loss) = self.journal.losses.last_mut() {
                        loss.at_us = now;
                    }
                }
            }
            Order::Finish { heads, until } => self.finish = Some((heads, until)),
        }
    }

    /// The state with which the device can go on later. Events that the client has not returned yet are in that state: they
    /// are taken first, or they would never be in the journal.
    async fn checkpoint(&mut self, client: &mut Client) -> DeviceState {
        loop {
            if let Some(state) = client.checkpoint() {
                return state.clone();
            }
            let event = client.next().await;
            self.happened(event);
        }
    }

    fn happened(&mut self, event: ClientEvent) {
        let world = Arc::clone(&self.device.world);
        match event {
            ClientEvent::Connected { .. } => world.connected(),
            ClientEvent::Disconnected { code, reason } => {
                world.trouble(reason.clone());
                self.down(code, reason);
            }
            ClientEvent::Stopped { code, reason } => {
                world.trouble(reason.clone());
                self.journal.stopped = Some(reason.clone());
                self.down(code, reason);
            }
            ClientEvent::Reset { reason } => {
                if self.begun {
                    *self.journal.resets.entry(reason).or_default() += 1;
                }
            }
            ClientEvent::Synced { conversations } => self.synced(&conversations),
            ClientEvent::Feed(frame) => self.shown(&frame),
            ClientEvent::Logged { id } => {
                if let Some(us) = world.ledger.number(id).and_then(|number| world.ledger.acked(number)) {
                    world.acked(us);
                }
            }
            ClientEvent::Fate { id, fate, sends, .. } => {
                if let Some(number) = world.ledger.number(id) {
                    if sends != 1 {
                        world.ledger.unordered(number);
                    }
                    world.ledger.settled(
                        number,
                        match fate {
                            Fate::Stands { seq, .. } => ledger::Fate::Stands(seq),
                            Fate::Refused { reason: code, .. } | Fate::Rejected { code, .. } => {
                                ledger::Fate::Refused(code)
                            }
                        },
                    );
                }
            }
            ClientEvent::Signal(_) | ClientEvent::Marked { .. } => {}
        }
    }

    fn synced(&mut self, conversations: &[SyncConversation]) {
        for synced in conversations.iter().filter(|synced| synced.state == SyncState::Ready) {
            let Some(number) = self.device.world.number(synced.id) else { continue };
            self.journal.synced(number, synced.head);
            self.device.world.head_at_start(number, synced.head);
        }
    }

    fn shown(&mut self, frame: &FeedFrame) {
        let world = &self.device.world;
        let Some((conversation, seq)) = frame.event_key() else { return };
        let conversation = world.number(conversation);
        if let Some(conversation) = conversation {
            self.journal.reached(conversation, seq);
        }
        let FeedFrame::Event { id, what: FeedKind::Message { body, .. }, .. } = frame else { return };
        let number = world.ledger.named_in(Some(body));
        // What is said in other conversations of these accounts is not of the run.
        if conversation.is_none() && number == NOT_OURS {
            return;
        }
        let (conversation, at_us) = (conversation.unwrap_or(ELSEWHERE), world.ledger.now_us());
        self.journal.shown.push(Shown { conversation, number, seq, id: *id, at_us });
        if let Some((due_us, author)) = world.ledger.due(number)
            && author != self.device.number
        {
            world.shown(at_us.saturating_sub(due_us));
        }
    }

    /// Looks whether the device has come up.
    fn look(&mut self) {
        if self.up || !self.client.as_ref().is_some_and(Client::is_live) {
            return;
        }
        (self.up, self.begun) = (true, true);
        self.device.world.up.fetch_add(1, Ordering::Relaxed);
        self.journal.back(self.device.world.ledger.now_us());
    }

    fn down(&mut self, code: Option<u16>, reason: String) {
        if self.begun {
            self.journal.lost(self.device.world.ledger.now_us(), code, reason);
        }
        if std::mem::take(&mut self.up) {
            self.device.world.up.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn is_finished(&self) -> bool {
        let Some((heads, until)) = &self.finish else { return false };
        let Some(client) = &self.client else { return true };
        let reached = |conversation: &u32| {
            let number = *conversation as usize;
            let head = heads.get(number).copied().flatten();
            let id = self.device.world.conversations[number].id;
            head.is_none_or(|head| client.state().highest.get(&id).is_some_and(|highest| *highest >= head))
        };
        let all = self.up && client.is_live() && self.device.conversations.iter().all(reached);
        all || self.journal.stopped.is_some() || Instant::now() >= *until
    }

    fn remember(&mut self, client: &Client) {
        for (code, count) in client.put_off() {
            *self.journal.put_off.entry(*code).or_default() += count;
        }
        client.node().clone_into(&mut self.journal.node);
    }

    async fn end(mut self) -> Journal {
        if let Some(client) = self.client.take() {
            self.remember(&client);
            client.close().await;
        }
        self.journal
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
