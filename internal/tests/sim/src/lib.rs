//! The whole system, run from one seed: the real services on engines in memory, devices over pipes, faults at every
//! interface, in virtual time on one thread; with an oracle at the end.
//!
//! A seed determines a [`Plan`], which is data; [`run()`] executes it; the same plan always gives the same trace.
//! `README.md` tells what is simulated and what is not.

mod judge;
mod life;
mod log;
mod net;
mod plan;
mod run;
#[cfg(feature = "seeded-bugs")]
pub mod seeded_bugs;
mod seeds;
mod shrink;
mod store;
mod trace;
mod typing;
mod weather;
mod world;

pub use plan::{Kind, PROCESSES, Plan, Repeat, Setup, Step, Verb, What, plan_of};
pub use run::{Outcome, run};
pub use seeds::{Report, Shown, run_seeds, show};
pub use shrink::{Shrunk, shrink};
pub use testkit::foreign::{Foreign, Stream};
pub use trace::Totals;
pub use weather::Rates;
