//! Attacks on a server: what unauthenticated and hostile users may do from outside, while people go on talking.
//!
//! Each attack has a file and an entry in [`ATTACKS`]. It prints its figures, ends by itself, and reports whether
//! people were served and none of their messages was lost. Only loopback addresses are attacked.

mod backlog;
mod crowd;
mod foreign;
mod ground;
mod leaderless;
mod memory;
mod people;
mod sign_ins;
mod strangers;
mod target;
mod unread;

use std::pin::Pin;

use anyhow::{Context as _, Result};

pub use people::{Figures, People};
pub use target::{Target, Wishes};

/// An attack, by name.
#[derive(Debug)]
pub struct Attack {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in one line.
    pub what: &'static str,
    run: fn(Wishes) -> Running,
}

/// A running attack: `true` when people were served and nothing was lost. The future need not be `Send`: the
/// compiler cannot prove that for futures that borrow from those of the engines.
type Running = Pin<Box<dyn Future<Output = Result<bool>>>>;

/// All attacks.
pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "strangers",
        what: "2,000 connections that send nothing, at a soft limit of 1,024 descriptors",
        run: |wishes| Box::pin(strangers::run(wishes, "ulimit -Sn 1024")),
    },
    Attack {
        name: "strangers-hard",
        what: "the same at a hard limit of 1,024 descriptors",
        run: |wishes| Box::pin(strangers::run(wishes, "ulimit -n 1024")),
    },
    Attack {
        name: "sign-ins",
        what: "100 connections of wrong sign-ins, from one address and from many, while people sign in",
        run: |wishes| Box::pin(sign_ins::run(wishes)),
    },
    Attack {
        name: "unread-pages",
        what: "150 pages of history, as large as they may be, that are requested and never read",
        run: |wishes| Box::pin(unread::run(wishes)),
    },
    Attack {
        name: "big-group",
        what: "one-letter messages without end in a group of 9,990 members of one delivery partition",
        run: |wishes| Box::pin(crowd::run(wishes)),
    },
    Attack {
        name: "ground-ids",
        what: "1,000 groups whose ids sort before all others, to which one account adds a user",
        run: |wishes| Box::pin(ground::run(wishes)),
    },
    Attack {
        name: "leaderless",
        what: "20,000 events while a partition of the deliveries has no leader",
        run: |wishes| Box::pin(leaderless::run(wishes)),
    },
    Attack {
        name: "foreign",
        what: "2,000 records of other producers in each topic, in no format of ours, on Kafka",
        run: |wishes| Box::pin(foreign::run(wishes)),
    },
    Attack {
        name: "backlog",
        what: "a websocket node that was stopped goes on with a million frames for its sockets, on Kafka",
        run: |wishes| Box::pin(backlog::run(wishes)),
    },
];

/// Runs the attack of that name.
///
/// # Errors
/// When there is no attack of that name, or it could not be carried out.
pub async fn run(name: &str, wishes: Wishes) -> Result<bool> {
    let attack = ATTACKS.iter().find(|attack| attack.name == name).context("there is no attack of that name")?;
    println!("{name}: {}", attack.what);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on((attack.run)(wishes))).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = ATTACKS.iter().map(|attack| attack.name).collect();
        assert_eq!(names.len(), ATTACKS.len());
    }
}
