//! The report of a run: a table for people, and the same as JSON for `compare`.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fmt, fs};

use serde::{Deserialize, Serialize};

use crate::bounds::Bound;
use crate::exit::{Exit, SetupError};
use crate::figures::{Figures, Times};
use crate::journal::{Journal, Loss};
use crate::ledger::Sent;
use crate::oracle::Verdict;
use crate::plan::{Plan, Role, WARM_UP};
use crate::usage::Usage;

/// Which devices a figure is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Those that nothing happened to.
    Others,
    /// Those that lost a connection.
    Cut,
    /// Those that read slowly or not at all.
    Slow,
    /// Those that were away.
    Away,
}

/// The latencies of one stage and one group of devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageFigures {
    /// The name of the stage.
    pub stage: String,
    /// The devices: of acknowledgements those that sent, of what was shown those that showed it.
    pub group: Group,
    /// From when a send was due to its acknowledgement.
    pub ack: Figures,
    /// From when a send was due until another device showed it.
    pub shown: Figures,
}

/// A rate that was held.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Messages a second.
    pub rate: f64,
    /// The 99th percentile to the acknowledgement, in milliseconds.
    pub ack_p99_ms: f64,
    /// The 99th percentile until shown, in milliseconds.
    pub shown_p99_ms: f64,
    /// The 99th percentile of how late the tool was, in milliseconds.
    pub tool_p99_ms: f64,
    /// Whether all bounds were kept.
    pub kept: bool,
}

/// What is known of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The name of the scenario.
    pub scenario: String,
    /// Devices, and users.
    pub devices: usize,
    /// Users.
    pub users: usize,
    /// Messages a second, where nothing else is said.
    pub rate: f64,
    /// Seconds from the end of warming up to the last send.
    pub seconds: f64,
    /// Latencies by stage and group.
    pub stages: Vec<StageFigures>,
    /// Of find-limit: the rates that were tried.
    pub steps: Vec<Step>,
    /// Of find-limit: the highest rate that was held.
    pub limit: Option<f64>,
    /// The oracle's findings.
    pub verdict: Verdict,
    /// The bounds.
    pub bounds: Vec<Bound>,
    /// How late the tool itself was.
    pub tool_late: Figures,
    /// Sends that were due and could not be given to their device, and devices that the tool could not end.
    pub tool_dropped: u64,
    /// How late the tool may be, in milliseconds.
    pub tool_p99_most_ms: f64,
    /// What the tool used while the scenario was played.
    pub tool_usage: Usage,
    /// Time without connection, of devices that lost it and came back.
    pub back: Figures,
    /// Lost connections, by close code and reason.
    pub losses: BTreeMap<String, u64>,
    /// Resets, by reason.
    pub resets: BTreeMap<String, u64>,
    /// Commands that the server put off, by code.
    pub put_off: BTreeMap<String, u64>,
    /// Devices on each node at the end.
    pub nodes: BTreeMap<String, u64>,
    /// The most connections that were welcomed in one second.
    pub connects_per_second: u64,
    /// The server's limits that cut the load, in words.
    pub limits_hit: Vec<String>,
    /// The exit code.
    pub exit: u8,
}

impl Report {
    /// How the run ends.
    #[must_use]
    pub fn outcome(&self) -> Exit {
        if self.verdict.is_certain() {
            Exit::Failed
        } else if !self.limits_hit.is_empty() {
            Exit::Setup
        } else if self.tool_dropped > 0 || self.tool_late.p99_ms > self.tool_p99_most_ms {
            Exit::Overloaded
        } else if self.verdict.is_zero() && self.bounds.iter().all(Bound::passed) {
            Exit::Passed
        } else {
            Exit::Failed
        }
    }

    /// Writes the report to a file, for [`crate::compare`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), SetupError> {
        let failed = || SetupError::io(format!("writing {}", path.display()));
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed()(error.into()))?;
        fs::write(path, text).map_err(failed())
    }
}

/// The group of each device.
pub(crate) fn groups(plan: &Plan, journals: &[Journal]) -> Vec<Group> {
    let group = |(journal, role): (&Journal, &Role)| match role {
        Role::Stopped | Role::Trickling => Group::Slow,
        Role::Leaver => Group::Away,
        Role::Cut => Group::Cut,
        Role::Normal if journal.losses.iter().all(Loss::is_move) => Group::Others,
        Role::Normal => Group::Cut,
    };
    journals.iter().zip(&plan.roles).map(group).collect()
}

/// The latencies by stage and group. A message counts for a group only when its sender is of the group, too, or of the
/// others: what a disturbed device sends late is not the delay of those who receive it.
pub(crate) fn stage_figures(
    names: &[&'static str],
    sent: &[Sent],
    journals: &[Journal],
    groups: &[Group],
) -> Vec<StageFigures> {
    let mut times: BTreeMap<(usize, Group), (Times, Times)> = BTreeMap::new();
    // Stages of one name are one.
    let stage = |number: u16| {
        let name = names.get(usize::from(number)).filter(|name| **name != WARM_UP)?;
        names.iter().position(|other| other == name)
    };
    for message in sent {
        if let (Some(stage), Some(acked)) = (stage(message.stage), message.acked_us) {
            let group = groups[message.device as usize];
            times.entry((stage, group)).or_default().0.record(acked.saturating_sub(message.due_us));
        }
    }
    for (device, (journal, group)) in journals.iter().zip(groups).enumerate() {
        for shown in &journal.shown {
            let Some(message) = sent.get(shown.number as usize) else { continue };
            let author = message.device as usize;
            let counts = author != device && [*group, Group::Others].contains(&groups[author]);
            if let Some(stage) = stage(message.stage).filter(|_| counts) {
                times.entry((stage, *group)).or_default().1.record(shown.at_us.saturating_sub(message.due_us));
            }
        }
    }
    let figures = times.into_iter().map(|((stage, group), (ack, shown))| StageFigures {
        stage: names[stage].to_owned(),
        group,
        ack: ack.figures(),
        shown: shown.figures(),
    });
    figures.collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, devices, users, rate, seconds, .. } = self;
        writeln!(f, "{scenario}: {devices} devices of {users} users, {rate:.0} messages/s, {seconds:.0} s")?;
        writeln!(f, "\nfrom the intended time, in ms         count      p50      p90      p99    p99.9      max")?;
        for stage in &self.stages {
            let group = format!("{:?}", stage.group).to_lowercase();
            row(f, &format!("{} {group}: acknowledged", stage.stage), &stage.ack)?;
            row(f, &format!("{} {group}: shown", stage.stage), &stage.shown)?;
        }
        row(f, "connection back", &self.back)?;
        row(f, "lateness of the tool", &self.tool_late)?;
        self.steps(f)?;
        writeln!(f)?;
        for bound in &self.bounds {
            let measured = bound.measured.map_or("nothing measured".to_owned(), |measured| format!("{measured:.2}"));
            let verdict = if bound.passed() { "ok    " } else { "MISSED" };
            writeln!(f, "{verdict} {}: {measured}, at most {:.2} {}", bound.what, bound.most, bound.unit)?;
        }
        write!(f, "{}", self.verdict)?;
        for (what, counts) in [
            ("lost connections", &self.losses),
            ("resets", &self.resets),
            ("put off by the server", &self.put_off),
            ("devices at the end, on", &self.nodes),
        ] {
            for (why, count) in counts {
                writeln!(f, "{count} {what}: {why}")?;
            }
        }
        writeln!(f, "at most {} connections welcomed in one second", self.connects_per_second)?;
        let Usage { cpu_s, memory_mib } = self.tool_usage;
        let share = 100.0 * cpu_s / self.seconds.max(0.001);
        writeln!(
            f,
            "the tool took {cpu_s:.1} s of processor time ({share:.0} % of a core), {memory_mib:.0} MiB at most"
        )?;
        for words in &self.limits_hit {
            writeln!(f, "{words}")?;
        }
        writeln!(
            f,
            "{}",
            match self.outcome() {
                Exit::Passed => "PASSED",
                Exit::Failed => "FAILED: the product",
                Exit::Overloaded => "VOID: the tool was overloaded",
                Exit::Setup | Exit::Usage => "VOID: the server's limits cut the load",
            }
        )
    }
}

impl Report {
    fn steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let Step { rate, ack_p99_ms, shown_p99_ms, tool_p99_ms, kept } = step;
            let verdict = if *kept { "kept" } else { "missed" };
            writeln!(
                f,
                "at {rate:7.1}/s: p99 acknowledged {ack_p99_ms:.2} ms, shown {shown_p99_ms:.2} ms, tool {tool_p99_ms:.2} ms: {verdict}"
            )?;
        }
        match self.limit {
            Some(limit) => writeln!(f, "the limit: {limit:.0} messages/s were held"),
            None => Ok(()),
        }
    }
}

fn row(f: &mut fmt::Formatter<'_>, what: &str, figures: &Figures) -> fmt::Result {
    let Figures { count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms } = figures;
    if *count == 0 {
        return Ok(());
    }
    writeln!(f, "{what:32} {count:10} {p50_ms:8.2} {p90_ms:8.2} {p99_ms:8.2} {p999_ms:8.2} {max_ms:8.2}")
}
