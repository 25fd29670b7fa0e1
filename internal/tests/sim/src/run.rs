//! Runs one plan from its beginning to its verdict, in virtual time on one thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow};
use tokio::runtime::Builder;

use crate::judge::judge;
use crate::plan::Plan;
use crate::trace::Totals;
use crate::world::World;

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The hash of the trace: the same for the same plan, on every machine.
    pub hash: u64,
    /// How often each kind of thing happened.
    pub totals: Totals,
    /// The lines of the trace, if they were kept.
    pub lines: Vec<String>,
    /// What is wrong, as text; `None` when nothing is.
    pub wrong: Option<String>,
}

/// Runs the plan. With `keep`, the lines of the trace are kept.
#[must_use]
pub fn run(plan: &Plan, keep: bool) -> Outcome {
    let attempt = catch_unwind(AssertUnwindSafe(|| -> Result<Outcome> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        runtime.block_on(live(plan, keep))
    }));
    let outcome = attempt.unwrap_or_else(|_| Err(anyhow!("the run panicked")));
    outcome.unwrap_or_else(|error| Outcome {
        hash: 0,
        totals: Totals::new(),
        lines: Vec::new(),
        wrong: Some(format!("{error:#}")),
    })
}

async fn live(plan: &Plan, keep: bool) -> Result<Outcome> {
    let mut world = World::begin(plan, keep).await?;
    world.gather().await?;
    for step in &plan.steps {
        world.step(step).await;
    }
    let wrong = judge(&mut world, plan).await.err().map(|error| format!("{error:#}"));
    let trace = &world.shared.trace;
    for device in &world.people.devices {
        let memory = device.memory();
        trace.note(&device.name);
        for heard in &memory.journal.heard {
            trace.note(&format!("{} {:?} {:x} {}", heard.conversation, heard.seq, heard.digest, heard.passed));
        }
        trace.note(&format!("{:?} {:?} {:?}", memory.journal.resets, memory.journal.ends, memory.journal.errors));
        trace.add("read marks heard", u64::from(memory.journal.reads));
        trace.add("read marks acknowledged", memory.journal.marks_acked.len() as u64);
        trace.add("account frames heard", u64::from(memory.journal.accounts));
        trace.add("foreign frames passed over", u64::from(memory.journal.passed));
        trace.add("frames heard", memory.journal.heard.len() as u64);
        trace.add("tokens renewed", u64::from(memory.journal.renewals));
        trace.add("connections", u64::from(memory.journal.connects));
        trace.add("resets", memory.journal.resets.iter().filter(|reason| *reason != "first").count() as u64);
    }
    let (hash, lines, totals) = trace.end();
    Ok(Outcome { hash, totals, lines, wrong })
}
