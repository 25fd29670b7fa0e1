//! Events appended to `chat.messages` by hand: conversations, and messages in them. No service checks or limits them; the
//! consumers judge them as those of clients.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use domain::kinds::{AddMembers, Create, SendMessage};
use domain::limits::MEMBERS_PER_EVENT_MAX;
use domain::{Action, CommandId, ConversationId, ConversationKind, Event, RULES_NEWEST, UserId};
use eventlog::{AppendReceipt, NewRecord, SharedLog, partition_of_id};
use events::Codec;
use events::topics::{DELIVERIES, MESSAGES, spec_of};
use store::SharedStore;
use uuid::Uuid;

/// Appends that are not acknowledged yet.
const IN_FLIGHT_MAX: usize = 5_000;
/// The bytes of a message's text.
const BODY_BYTES: usize = 150;
/// Records of each partition that are appended together where batches are to be small: about those of a producer that
/// waits for nothing and has many senders.
const BATCH_RECORDS: usize = 10;
/// Heads that are read at once.
const HEADS_AT_ONCE: usize = 100;

/// Appends events.
pub(crate) struct Messages {
    log: SharedLog,
    codec: Codec,
    conversations: Vec<Conversation>,
    receipts: VecDeque<AppendReceipt>,
    body: String,
    /// What was appended so far.
    pub(crate) appended: Appended,
}

struct Conversation {
    id: ConversationId,
    /// A member.
    author: UserId,
    /// The delivery partitions of its members.
    partitions: u64,
}

/// Events that were appended, and what must come of them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Appended {
    /// Messages, by conversation.
    messages: BTreeMap<ConversationId, u64>,
    /// Conversations that were created.
    pub(crate) created: u64,
    /// Delivery records that the fan-out must make of all events: one for each partition of recipients.
    pub(crate) deliveries: u64,
}

impl Appended {
    /// All messages.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.values().sum()
    }

    /// Adds what was appended to the same log besides.
    pub(crate) fn add(&mut self, other: Self) {
        for (conversation, messages) in other.messages {
            *self.messages.entry(conversation).or_default() += messages;
        }
        self.created += other.created;
        self.deliveries += other.deliveries;
    }

    /// Looks whether the store has as many messages as were appended: the ordinal of a conversation's head counts them.
    ///
    /// # Errors
    /// When there are more or fewer: such a run is void.
    pub(crate) async fn all_stored(&self, store: &SharedStore) -> Result<()> {
        let (conversations, mut stored) = (self.messages.keys().copied().collect::<Vec<_>>(), 0);
        for some in conversations.chunks(HEADS_AT_ONCE) {
            stored += store.heads(some).await?.into_iter().flatten().map(|head| head.ordinal).sum::<u64>();
        }
        let appended = self.messages();
        ensure!(stored == appended, "void: {appended} messages were appended, and the store has {stored}");
        Ok(())
    }
}

impl Messages {
    /// Appends to that log.
    pub(crate) fn new(log: &SharedLog) -> Self {
        let (log, body) = (Arc::clone(log), ".".repeat(BODY_BYTES));
        let (codec, appended) = (Codec::compiled_in(), Appended::default());
        Self { log, codec, conversations: Vec::new(), receipts: VecDeque::new(), body, appended }
    }

    /// Opens a conversation of these users: a direct one, where there are two.
    pub(crate) async fn open(&mut self, users: &[UserId]) -> Result<ConversationId> {
        let (&author, id) = (users.first().context("a conversation has members")?, id()?);
        let (kind, conversation) = match users {
            [one, other] => (ConversationKind::Direct, ConversationId::direct(*one, *other)),
            _ => (ConversationKind::Group, ConversationId::group(author, id)),
        };
        let title = (kind == ConversationKind::Group).then(|| "bench".to_owned());
        let mut parts = users.chunks(MEMBERS_PER_EVENT_MAX).map(<[UserId]>::to_vec);
        let members = parts.next().unwrap_or_default();
        self.append(id, conversation, author, Action::Create(Create { kind, title, members })).await?;
        for members in parts {
            let action = Action::AddMembers(AddMembers { members });
            self.append(self::id()?, conversation, author, action).await?;
        }
        self.appended.created += 1;
        self.appended.deliveries += self.take_part(conversation, users);
        Ok(conversation)
    }

    /// Speaks in their direct conversation, too, which was opened before.
    pub(crate) fn known(&mut self, one: UserId, other: UserId) {
        self.take_part(ConversationId::direct(one, other), &[one, other]);
    }

    /// Speaks in the conversation from now on. Returns the delivery partitions of its members.
    fn take_part(&mut self, id: ConversationId, members: &[UserId]) -> u64 {
        let of = |user: &UserId| partition_of_id(user.uuid(), spec_of(DELIVERIES).partitions);
        let partitions = members.iter().map(of).collect::<BTreeSet<_>>().len() as u64;
        let author = members.first().copied();
        self.conversations.extend(author.map(|author| Conversation { id, author, partitions }));
        partitions
    }

    /// So many messages, one conversation after the other.
    pub(crate) async fn say(&mut self, count: usize) -> Result<()> {
        self.say_together(count, count.max(1)).await
    }

    /// The same in small batches, as the services append what many people send.
    pub(crate) async fn say_in_small_batches(&mut self, count: usize) -> Result<()> {
        self.say_together(count, BATCH_RECORDS * spec_of(MESSAGES).partitions as usize).await
    }

    /// So many messages, and after each `together` of them a wait until all are durable.
    async fn say_together(&mut self, count: usize, together: usize) -> Result<()> {
        for number in 0..count {
            self.one(number).await?;
            if (number + 1) % together == 0 {
                self.durable().await?;
            }
        }
        self.durable().await
    }

    async fn one(&mut self, number: usize) -> Result<()> {
        let at = self.conversations.get(number % self.conversations.len().max(1));
        let Conversation { id: conversation, author, partitions } = *at.context("no conversation was opened")?;
        let message = SendMessage { body: self.body.clone().into(), reply_to: None, thread: None };
        *self.appended.messages.entry(conversation).or_default() += 1;
        self.appended.deliveries += partitions;
        self.append(id()?, conversation, author, Action::SendMessage(message)).await
    }

    /// Waits until all are durable.
    pub(crate) async fn durable(&mut self) -> Result<()> {
        while let Some(receipt) = self.receipts.pop_front() {
            receipt.await?;
        }
        Ok(())
    }

    async fn append(
        &mut self,
        id: CommandId,
        conversation: ConversationId,
        author: UserId,
        action: Action,
    ) -> Result<()> {
        let rules = RULES_NEWEST;
        let event = Event { id, conversation, author, received_ms: 0, rules, key_id: None, looked_up: true, action };
        let (encoded, key) = (self.codec.event(&event), conversation.to_string());
        let record = NewRecord { key, partition: None, headers: encoded.headers, payload: encoded.payload };
        self.receipts.push_back(self.log.enqueue(MESSAGES, record).await?);
        if self.receipts.len() >= IN_FLIGHT_MAX
            && let Some(oldest) = self.receipts.pop_front()
        {
            oldest.await?;
        }
        Ok(())
    }
}

fn id() -> Result<CommandId> {
    CommandId::try_from(Uuid::now_v7()).context("the clock is out of bounds")
}

#[cfg(test)]
mod tests {
    use environment::Clock;
    use eventlog::embedded::EmbeddedLog;
    use kv::Database;
    use store::embedded::EmbeddedStore;
    use testkit::numbered;

    use super::*;

    #[tokio::test]
    async fn messages_that_the_store_does_not_have_make_a_run_void() {
        let log: SharedLog = EmbeddedLog::open(Database::in_memory(), Clock::system()).await.unwrap();
        log.create(spec_of(MESSAGES)).await.unwrap();
        let store: SharedStore = EmbeddedStore::open(Database::in_memory(), Clock::system()).await.unwrap();
        let mut messages = Messages::new(&log);
        messages.appended.all_stored(&store).await.unwrap();
        messages.open(&[numbered::user(0), numbered::user(1)]).await.unwrap();
        messages.say_in_small_batches(5).await.unwrap();
        let Appended { created, deliveries, .. } = messages.appended;
        assert_eq!((messages.appended.messages(), created), (5, 1));
        assert!([6, 12].contains(&deliveries), "one or two of each event: {deliveries}");
        let void = messages.appended.all_stored(&store).await.unwrap_err();
        assert_eq!(void.to_string(), "void: 5 messages were appended, and the store has 0");
    }
}
