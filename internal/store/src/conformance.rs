//! The conformance suite that every engine of the store passes.
//!
//! An engine's tests pass a [`Factory`] to [`run`]. Most cases share one store and use fresh ids; cases that make
//! a new incarnation, or list rows of all ids, have a store of their own. Ids come from a seed, so a failure can
//! be reproduced. All users and conversations have UUIDs of the same version: CQL sorts UUIDs of different
//! versions otherwise than by bytes, and no code relies on that order.
#![allow(clippy::unwrap_used)] // this is test code that other crates' tests link

mod as_of;
mod beside;
mod fixture;
mod generated;
mod histories;
mod holds;
mod incarnations;
mod lists;
mod load;
mod merging;
mod progress;
mod timelines;
mod users;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{SharedStore, StoreError};
use fixture::Fixture;

/// A store for a test, empty at first, that nothing else uses.
#[async_trait]
pub trait Subject: Send + Sync {
    /// A handle as another program would open it: pinned to the incarnation that is current now.
    async fn open(&self) -> Result<SharedStore, StoreError>;
}

/// Makes empty stores.
#[async_trait]
pub trait Factory: Send + Sync {
    /// A fresh, empty store.
    async fn store(&self) -> Result<Arc<dyn Subject>, StoreError>;
}

type Run = fn(Fixture) -> Pin<Box<dyn Future<Output = ()> + Send>>;

struct Case {
    name: &'static str,
    /// Whether the case needs a store of its own.
    alone: bool,
    run: Run,
}

const fn shared(name: &'static str, run: Run) -> Case {
    Case { name, alone: false, run }
}

const fn alone(name: &'static str, run: Run) -> Case {
    Case { name, alone: true, run }
}

const CASES: &[Case] = &[
    shared("a higher timestamp wins in each cell", |f| Box::pin(merging::higher_timestamp_wins(f))),
    shared("on a tie the larger bytes win", |f| Box::pin(merging::larger_bytes_win_a_tie(f))),
    shared("a late older write never wins", |f| Box::pin(merging::late_older_write_never_wins(f))),
    shared("any order of the same writes is the same store", |f| Box::pin(merging::any_order_is_the_same(f))),
    shared("writes of any timestamps merge as cells", |f| Box::pin(merging::wild_writes_merge_as_cells(f))),
    shared("a row in part does not show", |f| Box::pin(merging::row_in_part_does_not_show(f))),
    shared("members and roles as of a place", |f| Box::pin(as_of::members(f))),
    shared("settings as of a place", |f| Box::pin(as_of::settings(f))),
    shared("counters as of a place, across buckets", |f| Box::pin(as_of::counters(f))),
    shared("ids as of a place", |f| Box::pin(as_of::ids(f))),
    shared("the range of ids crosses weeks and ends at the newest stamp", |f| Box::pin(as_of::ids_from(f))),
    shared("a told conversation reads back as of every place", |f| Box::pin(histories::as_of_every_place(f))),
    shared("a told conversation reads back as it is now", |f| Box::pin(histories::as_it_is_now(f))),
    shared("pages of a timeline in both directions", |f| Box::pin(timelines::pages(f))),
    shared("pages across buckets", |f| Box::pin(timelines::pages_across_buckets(f))),
    shared("an empty timeline", |f| Box::pin(timelines::empty(f))),
    shared("every kind of entry comes back", |f| Box::pin(timelines::every_kind(f))),
    shared("edits and deletions", |f| Box::pin(timelines::edits_and_deletions(f))),
    shared("reactions", |f| Box::pin(timelines::reactions(f))),
    shared("what a head names is there", |f| Box::pin(timelines::what_a_head_names_is_there(f))),
    shared("a user's conversations", |f| Box::pin(lists::user_conversations(f))),
    shared("a user's list is read in pages", |f| Box::pin(lists::lists_are_read_in_pages(f))),
    shared("heads in the order asked", |f| Box::pin(lists::heads(f))),
    shared("read marks only rise", |f| Box::pin(lists::marks(f))),
    shared("membership versions of one user", |f| Box::pin(lists::memberships(f))),
    shared("progress only rises and keeps its fingerprint", |f| Box::pin(progress::only_rises(f))),
    shared("waiting for progress", |f| Box::pin(progress::waits(f))),
    shared("rows and the progress that they make", |f| Box::pin(progress::with_rows(f))),
    shared("hold cells only rise", |f| Box::pin(holds::only_rise(f))),
    shared("only what is held is listed", |f| Box::pin(holds::lists_what_is_held(f))),
    shared("10,000 members", |f| Box::pin(load::many_members(f))),
    shared("many writers at once", |f| Box::pin(load::many_writers(f))),
    shared("names are unique", |f| Box::pin(users::names_are_unique(f))),
    shared("one of many takes a name", |f| Box::pin(users::one_of_many_takes_a_name(f))),
    shared("a session's secret is replaced once", |f| Box::pin(users::rotation(f))),
    shared("one of many replaces a secret", |f| Box::pin(users::one_of_many_rotates(f))),
    shared("privacy settings are kept", |f| Box::pin(users::privacy(f))),
    shared("a password is replaced once", |f| Box::pin(users::passwords(f))),
    shared("a user's sessions", |f| Box::pin(users::a_users_sessions(f))),
    shared("ended sessions are named by their minute", |f| Box::pin(users::ended_sessions(f))),
    alone("the outbox is in the order of ids", |f| Box::pin(users::outbox(f))),
    alone("a new incarnation is empty", |f| Box::pin(incarnations::new_one_is_empty(f))),
    alone("a paused zombie never writes into the new tables", |f| Box::pin(incarnations::zombie(f))),
    alone("waiting ends when the store is emptied", |f| Box::pin(incarnations::waiting_ends(f))),
    alone("what outlives an incarnation", |f| Box::pin(incarnations::what_outlives_it(f))),
    alone("rows are built beside and switched to", |f| Box::pin(beside::built_and_switched(f))),
    alone("one of two switches wins", |f| Box::pin(beside::one_switch_wins(f))),
    alone("what is dropped is gone and its number stays taken", |f| Box::pin(beside::dropped(f))),
    alone("a handle that follows is never behind what it said", |f| Box::pin(beside::follows(f))),
    shared("pages behind rows in part", |f| Box::pin(timelines::pages_behind_rows_in_part(f))),
    shared("reactions by emoji", |f| Box::pin(timelines::reactions_by_emoji(f))),
    shared("emojis as of a place", |f| Box::pin(as_of::emojis(f))),
    shared("more reactions than an entry shows", |f| Box::pin(timelines::more_reactions_than_an_entry_shows(f))),
    shared("members are read in pages", |f| Box::pin(lists::members_are_read_in_pages(f))),
    shared("a dropped event stays as it was noted first", |f| Box::pin(holds::drops_stay(f))),
    shared("told conversations have events of every kind", |f| Box::pin(histories::of_every_kind(f))),
];

/// Runs every case against stores of `factory`.
///
/// # Panics
/// When a case fails.
pub async fn run(factory: &dyn Factory) {
    run_named(factory, "").await;
}

/// Runs the cases whose names contain `part`.
///
/// # Panics
/// When a case fails.
pub async fn run_named(factory: &dyn Factory, part: &str) {
    let together = factory.store().await.unwrap();
    for (seed, case) in (1..).zip(CASES) {
        if !case.name.contains(part) {
            continue;
        }
        eprintln!("store conformance: {}", case.name);
        let subject = if case.alone { factory.store().await.unwrap() } else { Arc::clone(&together) };
        (case.run)(Fixture::new(subject, seed).await).await;
    }
}
