//! When sends are due: a list of stages, each with a rate. Nothing that the server does changes it.

use std::time::Duration;

/// A part of a run with one rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name in the report. Stages of one name are reported together.
    pub name: &'static str,
    /// Messages a second.
    pub rate: f64,
    /// How long it lasts.
    pub lasting: Duration,
    /// What happens as it begins.
    pub act: Act,
}

/// What happens as a stage begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Nothing,
    /// The connections of a share of the devices are cut, or the command is run.
    Cut,
    /// The slow devices stop reading, or read slowly.
    Slow,
    /// They read at full speed again.
    Hurry,
    /// A share of the devices goes away.
    Leave,
    /// They come back.
    Return,
}

impl Stage {
    /// A stage in which nothing happens but sends.
    #[must_use]
    pub const fn new(name: &'static str, rate: f64, lasting: Duration) -> Self {
        Self { name, rate, lasting, act: Act::Nothing }
    }

    /// The same stage, with something that happens as it begins.
    #[must_use]
    pub const fn with(self, act: Act) -> Self {
        Self { act, ..self }
    }

    /// How many sends are due in it.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // both factors are checked to be positive and small
    pub fn sends(&self) -> u64 {
        (self.rate * self.lasting.as_secs_f64()).max(0.0).floor() as u64
    }

    /// When its send number `number` is due, from its beginning.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // fewer than 2^52
    pub fn due(&self, number: u64) -> Duration {
        Duration::try_from_secs_f64(number as f64 / self.rate).unwrap_or(self.lasting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_are_due_at_even_distances_and_none_beyond_the_end() {
        let stage = Stage::new("steady", 500.0, Duration::from_secs(3));
        assert_eq!((stage.sends(), stage.due(0)), (1_500, Duration::ZERO));
        assert_eq!(stage.due(250), Duration::from_millis(500));
        assert!(stage.due(stage.sends() - 1) < stage.lasting);
        // A slow pace is exact, too: no send is rounded away.
        let slow = Stage::new("idle", 0.5, Duration::from_secs(10));
        assert_eq!((slow.sends(), slow.due(4)), (5, Duration::from_secs(8)));
        assert_eq!(Stage::new("silent", 0.0, Duration::from_secs(10)).sends(), 0);
    }
}
