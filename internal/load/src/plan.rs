//! What a run will do, checked before anything is started: its stages, who is disturbed, and its bounds.

use std::time::Duration;

use crate::exit::SetupError;
use crate::ledger::TEXT_BYTES_MIN;
use crate::options::{LoadOptions, Scenario, THREADS_MAX, seconds};
use crate::pace::{Act, Stage};

/// The name of the stage that no figure is of.
pub(crate) const WARM_UP: &str = "warm-up";
/// The most devices of a run.
const DEVICES_MAX: usize = 50_000;
/// The most members that a conversation is made with: the server takes no more in one command.
const MEMBERS_MAX: usize = 256;
/// Sockets of a user that a node keeps.
const DEVICES_PER_USER_MAX: usize = 20;
/// Messages a second that a socket may send in the long run: the server refuses more.
const SOCKET_RATE_MAX: f64 = 30.0;
/// Messages a second that a user may send over all sockets.
const USER_RATE_MAX: f64 = 60.0;
/// The longest text of a message that the server takes.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Messages shown on all devices together: each is kept until the end, in 48 bytes.
const SHOWN_MAX: f64 = 50_000_000.0;
/// What the kernels of both sides may buffer of a connection, with room to spare: the loud conversation must exceed it.
const BUFFERED_BYTES: f64 = 5_000_000.0;
/// How long the server lets a device take nothing, with the five seconds within which it must close it.
pub(crate) const SLOW_CLOSED_AFTER: Duration = Duration::from_secs(15);
/// The longest time that devices may be slow: after 90 s of silence they give the connection up themselves.
const SLOW_AT_MOST: Duration = Duration::from_secs(80);
/// A burst, and the pause after it.
const BURST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));
/// How much a burst exceeds the rate.
const BURST_TIMES: f64 = 10.0;

/// What a device is to suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing.
    Normal,
    /// Its connection is cut.
    Cut,
    /// It stops reading.
    Stopped,
    /// It reads one kilobyte a second.
    Trickling,
    /// It goes away for a while.
    Leaver,
}

/// A run that can be played.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) options: LoadOptions,
    pub(crate) scenario: Scenario,
    pub(crate) users: usize,
    pub(crate) rate: f64,
    /// The sizes of conversations.
    pub(crate) sizes: Vec<usize>,
    /// Without those of find-limit, which depend on what is measured.
    pub(crate) stages: Vec<Stage>,
    /// The role of each device.
    pub(crate) roles: Vec<Role>,
}

impl Plan {
    /// Checks the options.
    ///
    /// # Errors
    /// Every option that cannot be, in one sentence each.
    pub(crate) fn new(scenario: Scenario, options: LoadOptions) -> Result<Self, SetupError> {
        let world = &options.world;
        let rate = options.rate.unwrap_or(match scenario {
            Scenario::FanIn => 300.0,
            Scenario::Idle => 1.0,
            _ => 50.0,
        });
        let users = world.devices.div_ceil(world.devices_per_user.max(1));
        let sizes = match scenario {
            Scenario::FanIn => vec![users.min(MEMBERS_MAX)],
            _ => world.sizes.clone(),
        };
        let roles = roles(scenario, &options);
        let stages = stages(scenario, rate, seconds(options.seconds));
        let plan = Self { scenario, users, rate, sizes, stages, roles, options };
        let faults = plan.faults();
        if faults.is_empty() { Ok(plan) } else { Err(SetupError::Usage(faults.join("; "))) }
    }

    /// What is played before the stages, and not measured.
    pub(crate) fn warm_up(&self) -> Stage {
        Stage::new(WARM_UP, self.rate, seconds(self.options.warm_up))
    }

    fn faults(&self) -> Vec<String> {
        let (options, world) = (&self.options, &self.options.world);
        let mut faults = Vec::new();
        let mut check = |fine: bool, words: String| {
            if !fine {
                faults.push(words);
            }
        };
        check((2..=DEVICES_MAX).contains(&world.devices), format!("--devices must be 2 to {DEVICES_MAX}"));
        check(
            (1..=DEVICES_PER_USER_MAX).contains(&world.devices_per_user),
            format!(
                "--devices-per-user must be 1 to {DEVICES_PER_USER_MAX}: the server keeps no more sockets of a user"
            ),
        );
        check(self.users >= 2, "there must be two users: more --devices, or fewer --devices-per-user".into());
        check(
            !world.sizes.is_empty() && world.sizes.iter().all(|size| (2..=MEMBERS_MAX).contains(size)),
            format!("--sizes must be 2 to {MEMBERS_MAX} each: the server takes no more members in one command"),
        );
        check(self.rate > 0.0 && self.rate.is_finite(), "--rate must be more than 0".into());
        check(world.connect_rate > 0.0, "--connect-rate must be more than 0".into());
        check((1.0..=86_400.0).contains(&options.seconds), "--seconds must be 1 to 86400".into());
        let fits = |bytes: usize| (TEXT_BYTES_MIN..=BODY_BYTES_MAX).contains(&bytes);
        check(
            fits(options.body_bytes) && fits(options.loud_bytes),
            format!(
                "--body-bytes and --loud-bytes must be {TEXT_BYTES_MIN} to {BODY_BYTES_MAX}: a text says which one it is"
            ),
        );
        check(options.share.is_none_or(|share| (0.0..=1.0).contains(&share)), "--share must be between 0 and 1".into());
        check((1..=THREADS_MAX).contains(&world.threads), format!("--threads must be 1 to {THREADS_MAX}"));
        check(
            options.command.is_none() || self.scenario == Scenario::Storm,
            "--command is for the scenario storm".into(),
        );
        if faults.is_empty() {
            faults = self.limits();
        }
        faults
    }

    /// What the server's limits and the tool's memory do not allow.
    #[allow(clippy::cast_precision_loss)] // far fewer than 2^52
    fn limits(&self) -> Vec<String> {
        let (options, mut faults) = (&self.options, Vec::new());
        let senders = self.roles.iter().filter(|role| matches!(role, Role::Normal | Role::Cut)).count().max(1) as f64;
        let peak = self.stages.iter().map(|stage| stage.rate).fold(self.rate, f64::max);
        let socket = peak / senders;
        let per_user = socket * options.world.devices_per_user as f64;
        if self.scenario != Scenario::FindLimit && (socket > SOCKET_RATE_MAX / 2.0 || per_user > USER_RATE_MAX / 2.0) {
            faults.push(format!(
                "{peak:.0} messages a second from {senders:.0} devices come too near the server's limits of \
                 {SOCKET_RATE_MAX:.0} of a socket and {USER_RATE_MAX:.0} of a user: take more --devices"
            ));
        }
        let receivers = self.sizes.iter().sum::<usize>() as f64 / self.sizes.len() as f64;
        let sends: u64 = self.stages.iter().map(Stage::sends).sum::<u64>() + self.warm_up().sends();
        let shown = sends as f64 * receivers * options.world.devices_per_user as f64;
        if shown > SHOWN_MAX {
            faults.push(format!(
                "{shown:.0} messages would be shown on all devices together, and the tool remembers {SHOWN_MAX:.0}"
            ));
        }
        if let Some(stage) = self.stages.iter().find(|stage| stage.act == Act::Slow) {
            let filling = stage.lasting.saturating_sub(SLOW_CLOSED_AFTER).as_secs_f64();
            let bytes = options.loud_rate * options.loud_bytes as f64 * filling;
            if bytes < BUFFERED_BYTES {
                faults.push(format!(
                    "{bytes:.0} bytes reach a slow device in the half of --seconds in which it is slow, less {} s: \
                     less than the {BUFFERED_BYTES:.0} that kernels may buffer, so the server would not notice: raise \
                     --seconds, --loud-rate or --loud-bytes",
                    SLOW_CLOSED_AFTER.as_secs()
                ));
            }
            if stage.lasting > SLOW_AT_MOST {
                faults.push(format!(
                    "--seconds must be at most {} here: a device that hears nothing for long leaves by itself",
                    SLOW_AT_MOST.as_secs() * 2
                ));
            }
        }
        faults
    }

    /// The others' 99th percentile while the scenario disturbs, as a multiple of before.
    pub(crate) fn others_times(&self) -> f64 {
        self.options.bounds.others_times.unwrap_or(match self.scenario {
            Scenario::Storm => 3.0,
            Scenario::Slow => 1.1,
            _ => 1.5,
        })
    }
}

/// The stages of a scenario that lasts `all`, without warming up.
fn stages(scenario: Scenario, rate: f64, all: Duration) -> Vec<Stage> {
    let third = all / 3;
    let disturbed = |name, act, back| {
        vec![
            Stage::new("before", rate, third),
            Stage::new(name, rate, third).with(act),
            Stage::new("after", rate, third).with(back),
        ]
    };
    match scenario {
        Scenario::Steady | Scenario::FanIn | Scenario::Idle => vec![Stage::new("steady", rate, all)],
        Scenario::Storm => disturbed("storm", Act::Cut, Act::Nothing),
        // The server has to notice that they are slow, which takes most of it.
        Scenario::Slow => vec![
            Stage::new("before", rate, all / 4),
            Stage::new("slow", rate, all / 2).with(Act::Slow),
            Stage::new("after", rate, all / 4).with(Act::Hurry),
        ],
        Scenario::Away => disturbed("away", Act::Leave, Act::Return),
        Scenario::FindLimit => Vec::new(),
        Scenario::Burst => {
            let mut stages = vec![Stage::new("before", rate, third)];
            let rounds = (third.as_secs() / (BURST.0 + BURST.1).as_secs()).max(1);
            for _ in 0..rounds {
                stages.push(Stage::new("burst", rate * BURST_TIMES, BURST.0));
                stages.push(Stage::new("pause", rate, BURST.1.min(third)));
            }
            stages.push(Stage::new("after", rate, third));
            stages
        }
    }
}

/// Who is disturbed: devices spread evenly over all of them, so that each user and node has its part.
fn roles(scenario: Scenario, options: &LoadOptions) -> Vec<Role> {
    let devices = options.world.devices.min(DEVICES_MAX);
    let of = |role: Role, share: f64| -> Vec<Role> {
        let share = options.share.unwrap_or(share).clamp(0.0, 1.0);
        (0..devices).map(|device| if falls_in(device, share) { role } else { Role::Normal }).collect()
    };
    match scenario {
        Scenario::Storm if options.command.is_none() => of(Role::Cut, 0.5),
        Scenario::Away => of(Role::Leaver, 0.2),
        Scenario::Slow => {
            let mut roles = of(Role::Stopped, 0.02 * 2.0);
            let share = options.share.map_or(0.04, |share| share * 2.0).min(1.0);
            let mut stopped = false;
            for (device, role) in roles.iter_mut().enumerate() {
                if falls_in(device, share) {
                    stopped = !stopped;
                    *role = if stopped { Role::Stopped } else { Role::Trickling };
                }
            }
            roles
        }
        _ => vec![Role::Normal; devices],
    }
}

/// Whether a device is among a share of all devices that is spread evenly.
#[allow(clippy::cast_precision_loss)] // far fewer than 2^52
fn falls_in(device: usize, share: f64) -> bool {
    ((device + 1) as f64 * share).floor() > (device as f64 * share).floor()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Call {
        #[command(flatten)]
        options: LoadOptions,
    }

    fn plan(scenario: Scenario, words: &[&str]) -> Result<Plan, SetupError> {
        let call = Call::try_parse_from(["load"].iter().chain(words)).unwrap();
        Plan::new(scenario, call.options)
    }

    #[test]
    fn a_share_of_the_devices_is_spread_over_all_of_them() {
        let plan = plan(Scenario::Slow, &["--devices", "1000", "--seconds", "120"]).unwrap();
        let count = |role: Role| plan.roles.iter().filter(|other| **other == role).count();
        assert_eq!((count(Role::Stopped), count(Role::Trickling), count(Role::Normal)), (20, 20, 960));
        assert!(plan.roles[..100].contains(&Role::Stopped) && plan.roles[900..].contains(&Role::Trickling));
    }

    #[test]
    fn what_cannot_be_is_told_before_anything_is_started() {
        for (scenario, words, part) in [
            (Scenario::Steady, &["--devices", "10", "--rate", "900"][..], "the server's limits"),
            (Scenario::Steady, &["--sizes", "2,900"], "--sizes"),
            (Scenario::Steady, &["--command", "true"], "--command"),
            (Scenario::Slow, &["--seconds", "30"], "kernels may buffer"),
            (Scenario::Steady, &["--rate", "1000", "--seconds", "80000", "--devices", "9000"], "remembers"),
        ] {
            let error = plan(scenario, words).unwrap_err();
            assert!(error.to_string().contains(part), "{words:?}: {error}");
            assert_eq!(error.exit(), crate::Exit::Usage);
        }
    }

    #[test]
    fn every_scenario_lasts_as_long_as_it_was_asked_to() {
        for scenario in <Scenario as clap::ValueEnum>::value_variants() {
            let plan = plan(*scenario, &["--seconds", "120", "--devices", "400"]).unwrap();
            let lasts: Duration = plan.stages.iter().map(|stage| stage.lasting).sum();
            let wanted = if *scenario == Scenario::FindLimit { 0 } else { 120 };
            assert_eq!(lasts, Duration::from_secs(wanted), "{scenario:?}");
        }
    }
}
