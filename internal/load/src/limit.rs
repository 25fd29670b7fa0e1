//! `find-limit`: the rate is raised until a bound is missed, then lowered until one is held.

use std::time::Duration;

use crate::options::BoundOptions;
use crate::report::Step;
use crate::world::Live;

/// How much each step raises the rate.
const UP: f64 = 1.25;
/// How much it is lowered after a miss.
const DOWN: f64 = 0.85;
/// How often it is lowered before the search is given up.
const DOWNS_MAX: u32 = 6;
/// The part of the run that one step of the way up lasts.
const STEP_PART: u32 = 10;
/// The shortest step.
const STEP_MIN: Duration = Duration::from_secs(2);

/// The search.
#[derive(Debug)]
pub(crate) struct Search {
    rate: f64,
    /// The highest rate that may be tried: what the sockets of all devices may send.
    most: f64,
    /// How long a rate is held that is to be the answer.
    hold: Duration,
    /// How often the rate was lowered; `None` on the way up.
    downs: Option<u32>,
    pub(crate) steps: Vec<Step>,
    pub(crate) limit: Option<f64>,
}

/// What to play next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Next {
    pub(crate) name: &'static str,
    pub(crate) rate: f64,
    pub(crate) lasting: Duration,
}

impl Search {
    pub(crate) fn new(rate: f64, most: f64, hold: Duration) -> Self {
        Self { rate: rate.min(most), most, hold, downs: None, steps: Vec::new(), limit: None }
    }

    /// The next rate to try; `None` when the search has ended.
    pub(crate) fn next(&self) -> Option<Next> {
        let (rate, step) = (self.rate, (self.hold / STEP_PART).max(STEP_MIN));
        match self.downs {
            _ if self.limit.is_some() => None,
            None => Some(Next { name: "rise", rate, lasting: step }),
            Some(downs) if downs <= DOWNS_MAX => Some(Next { name: "hold", rate, lasting: self.hold }),
            Some(_) => None,
        }
    }

    /// What was measured at the rate. Open sends beyond a second's worth are a miss, too: the server falls behind.
    #[allow(clippy::cast_precision_loss)] // far fewer than 2^52
    pub(crate) fn measured(&mut self, live: &Live, open: usize, bounds: &BoundOptions) {
        let (ack, shown, late) = (live.ack.figures(), live.shown.figures(), live.late.figures());
        let within = |value: f64, most: f64| most <= 0.0 || value <= most;
        let kept = ack.count > 0
            && open as f64 <= self.rate.max(10.0)
            && within(ack.p99_ms, bounds.ack_p99_ms)
            && within(shown.p99_ms, bounds.shown_p99_ms)
            && within(late.p99_ms, bounds.tool_p99_ms);
        let (ack_p99_ms, shown_p99_ms, tool_p99_ms) = (ack.p99_ms, shown.p99_ms, late.p99_ms);
        self.steps.push(Step { rate: self.rate, ack_p99_ms, shown_p99_ms, tool_p99_ms, kept });
        match (self.downs, kept) {
            (None, true) if self.rate < self.most => self.rate = (self.rate * UP).min(self.most),
            // The devices may send no more: that is held, and the answer is "at least".
            (None, true) => self.downs = Some(0),
            (Some(_), true) => self.limit = Some(self.rate),
            (downs, false) => {
                self.rate *= DOWN;
                self.downs = Some(downs.map_or(0, |downs| downs + 1));
            }
        }
    }

    /// Whether the rate was lowered because the tool, and not the server, was too slow.
    pub(crate) fn tool_was_the_limit(&self, bounds: &BoundOptions) -> bool {
        let missed = self.steps.iter().rev().find(|step| !step.kept);
        missed.is_some_and(|step| bounds.tool_p99_ms > 0.0 && step.tool_p99_ms > bounds.tool_p99_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> BoundOptions {
        BoundOptions {
            ack_p99_ms: 100.0,
            shown_p99_ms: 100.0,
            burst_p99_ms: 0.0,
            others_times: None,
            back_within: 0.0,
            connects_per_second: 0,
            tool_p99_ms: 20.0,
        }
    }

    /// A server that is fast up to a rate.
    fn found(begin: f64, true_limit: f64, most: f64) -> Search {
        let mut search = Search::new(begin, most, Duration::from_secs(60));
        while let Some(next) = search.next() {
            let mut live = Live::default();
            let us = if next.rate <= true_limit { 5_000 } else { 900_000 };
            live.ack.record(us);
            live.shown.record(us);
            search.measured(&live, 0, &bounds());
        }
        search
    }

    #[test]
    fn the_limit_is_found_from_below_and_held() {
        let search = found(50.0, 400.0, 10_000.0);
        let limit = search.limit.unwrap();
        assert!((300.0..=400.0).contains(&limit), "{limit}");
        assert!(!search.tool_was_the_limit(&bounds()));
        assert_eq!(found(50.0, 1.0, 10_000.0).limit, None, "nothing is held anywhere near where it began");
        assert_eq!(found(50.0, 9_999.0, 300.0).limit, Some(300.0), "all that the devices may send");
    }
}
