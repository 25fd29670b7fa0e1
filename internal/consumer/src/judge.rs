//! Deciding an event as of its seq: facts that are not in memory are read as of the event before, then the reducer
//! decides.

use std::collections::BTreeMap;

use domain::{Appended, Effects, Event, Role, Seq, UnknownRules, apply};
use process::{Panicked, catch_panic};
use prometheus_client::metrics::counter::Counter;
use store::{Answers, FactsLookup, Loaded, read_target};

use crate::{ConsumerError, PartitionAccess};

/// Reads the facts about `event` that `loaded` does not know, as of the event before it, and returns those that are
/// kept nowhere else. `unwritten` are changes of the author's membership that are decided and not in the store yet;
/// `id_reads` counts.
///
/// # Errors
/// As [`PartitionAccess::store`]; a row that cannot be read is a reason to hold the conversation.
pub async fn read_facts(
    access: &PartitionAccess,
    loaded: &mut Loaded,
    (event, appended): (&Event, Appended),
    unwritten: impl Fn() -> Vec<(Seq, Option<Role>)>,
    id_reads: &Counter,
) -> Result<Answers, ConsumerError> {
    let (conversation, author) = (event.conversation, event.author);
    let (as_of, mut answers) = (appended.seq.before().unwrap_or_default(), Answers::default());
    loop {
        match loaded.facts(event, &answers) {
            FactsLookup::Ready(_) => return Ok(answers),
            FactsLookup::Read(id) => {
                id_reads.inc();
                match access.store("read an id", |store| store.id(conversation, id, as_of)).await? {
                    Some(row) => loaded.ids.keep(id, row),
                    None => answers.absent.push(id),
                }
            }
            FactsLookup::ReadPast(past) => {
                let written = access.store("read memberships", |store| store.memberships(conversation, author)).await?;
                let mut versions: BTreeMap<Seq, Option<Role>> = written.into_iter().collect();
                versions.extend(unwritten());
                answers.learn(past, versions.into_iter().collect(), as_of);
            }
            FactsLookup::ReadTarget(fact) => {
                let read = access.store("read a target", |store| read_target(store, conversation, fact, as_of));
                loaded.keep(read.await?);
            }
        }
    }
}

/// Why an event cannot be judged by this program: its conversation is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotJudged {
    /// Its rules are unknown to this program: upgrade.
    Rules(u32),
    /// Judging it panicked, which is a bug of this program.
    Panicked,
}

/// Decides `event` and applies it to `loaded`; drop `loaded` on failure. `then` makes the caller's result of the
/// effects. A panic in either would come again after every restart, so it is caught and returned.
///
/// # Errors
/// When this program cannot judge it.
pub fn judge<T>(
    loaded: &mut Loaded,
    (event, appended): (&Event, Appended),
    facts: &domain::Facts,
    rules_newest: u32,
    then: impl FnOnce(Effects) -> T,
) -> Result<T, NotJudged> {
    let judged = catch_panic(|| {
        let effects = apply(&loaded.state, event, appended, facts, rules_newest)?;
        loaded.absorb(appended.seq, &effects, facts.target.as_ref());
        Ok(then(effects))
    });
    match judged {
        Ok(Ok(judged)) => Ok(judged),
        Ok(Err(UnknownRules(version))) => Err(NotJudged::Rules(version)),
        Err(Panicked) => {
            let (conversation, seq) = (event.conversation, appended.seq);
            tracing::error!(conversation_id = %conversation, %seq, "judging an event panicked");
            Err(NotJudged::Panicked)
        }
    }
}
