//! The doctor: reports what is reachable, what is misconfigured and how far each consumer has come. It changes
//! nothing.

mod engines;
mod services;

use std::fmt;

use environment::Clock;
use eventlog::SharedLog;
use serde::Serialize;
use store::SharedStore;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but a person should look at it.
    Warn,
    /// It does not work.
    Fail,
}

/// A finding of the doctor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The severity.
    pub level: Level,
    /// The part that it is about.
    pub subject: String,
    /// The finding in words.
    pub words: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok  ",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        write!(f, "{level}  {}: {}", self.subject, self.words)
    }
}

/// An engine to examine, or why it is not open.
pub enum Opened<T> {
    /// It could be opened.
    Yes(T),
    /// It could not be opened, for that reason.
    No(String),
    /// The operator did not name it. That is no fault when there are services to ask.
    NotNamed(String),
    /// A running 'klatsch' has it open. That is no fault when there are services to ask.
    InUse(String),
}

impl<T> Opened<T> {
    fn get(&self) -> Option<&T> {
        match self {
            Self::Yes(engine) => Some(engine),
            Self::No(_) | Self::NotNamed(_) | Self::InUse(_) => None,
        }
    }

    /// Reports why the engine is not examined, unless it is open.
    fn tell(&self, subject: &str, services: bool, found: &mut Findings) {
        match self {
            Self::Yes(_) => {}
            Self::NotNamed(_) if services => {}
            Self::InUse(_) if services => found.ok(subject, "a running 'klatsch' has it, so only that is asked"),
            Self::No(reason) | Self::NotNamed(reason) | Self::InUse(reason) => found.fail(subject, reason),
        }
    }
}

/// The parts to examine.
pub struct Targets {
    /// The log.
    pub log: Opened<SharedLog>,
    /// The store.
    pub store: Opened<SharedStore>,
    /// The schema registry, where there is one.
    pub registry: Option<String>,
    /// Base URLs of services.
    pub services: Vec<String>,
    /// Where the public keys are published: a URL or a file.
    pub jwks: Option<String>,
    /// The clock of this machine.
    pub clock: Clock,
}

/// The findings, in the order of examination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, subject: impl Into<String>, words: impl Into<String>) {
        self.0.push(Finding { level, subject: subject.into(), words: words.into() });
    }

    fn ok(&mut self, subject: impl Into<String>, words: impl Into<String>) {
        self.add(Level::Ok, subject, words);
    }

    fn warn(&mut self, subject: impl Into<String>, words: impl Into<String>) {
        self.add(Level::Warn, subject, words);
    }

    fn fail(&mut self, subject: impl Into<String>, words: impl Into<String>) {
        self.add(Level::Fail, subject, words);
    }

    /// The worst severity.
    #[must_use]
    pub fn worst(&self) -> Level {
        self.0.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }
}

/// Examines everything. It never fails: a part that cannot be examined is a finding.
pub async fn examine(targets: &Targets) -> Findings {
    let mut found = Findings::default();
    let services = !targets.services.is_empty();
    targets.log.tell("log", services, &mut found);
    if let Some(log) = targets.log.get() {
        engines::log(&**log, &targets.clock, &mut found).await;
    }
    targets.store.tell("store", services, &mut found);
    if let Some(store) = targets.store.get() {
        engines::store(&**store, &mut found).await;
    }
    if let (Some(log), Some(store)) = (targets.log.get(), targets.store.get()) {
        engines::applied(&**log, &**store, &mut found).await;
    }
    services::registry(targets.registry.as_deref(), &mut found).await;
    services::keys(targets.jwks.as_deref(), &targets.clock, &mut found).await;
    for url in &targets.services {
        services::ready(url, &mut found).await;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(log: &Opened<SharedLog>, services: bool) -> Vec<Level> {
        let mut found = Findings::default();
        log.tell("log", services, &mut found);
        found.0.iter().map(|finding| finding.level).collect()
    }

    /// Issue 10, item 16: a healthy server that is asked over HTTP has no fault.
    #[test]
    fn with_services_to_ask_an_engine_that_nobody_named_or_that_is_in_use_is_no_fault() {
        assert_eq!(of(&Opened::NotNamed("where is it?".into()), true), []);
        assert_eq!(of(&Opened::InUse("in use".into()), true), [Level::Ok]);
        assert_eq!(of(&Opened::No("away".into()), true), [Level::Fail]);
        for other in [Opened::NotNamed("where is it?".into()), Opened::InUse("in use".into())] {
            assert_eq!(of(&other, false), [Level::Fail]);
        }
    }
}
