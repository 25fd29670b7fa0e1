//! The doctor: what is reachable, what is misconfigured, how far everything has come, in words. It changes nothing.

mod engines;
mod services;

use std::fmt;

use eventlog::SharedLog;
use host::Clock;
use serde::Serialize;
use store::SharedStore;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Warn,
    /// It does not work.
    Fail,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// Of what.
    pub subject: String,
    /// A sentence.
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

/// What to look at. An engine that could not be opened comes as the reason.
pub struct Patient {
    /// The log.
    pub log: Result<SharedLog, String>,
    /// The store.
    pub store: Result<SharedStore, String>,
    /// The schema registry, where there is one.
    pub registry: Option<String>,
    /// Base URLs of services.
    pub services: Vec<String>,
    /// Where the keys are published: a URL or a file.
    pub jwks: Option<String>,
    /// This machine's.
    pub clock: Clock,
}

/// What was found, in the order of looking.
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

    /// The worst of them.
    #[must_use]
    pub fn worst(&self) -> Level {
        self.0.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }
}

/// Looks at everything. Never fails: what cannot be looked at is a finding.
pub async fn examine(patient: &Patient) -> Findings {
    let mut found = Findings::default();
    let log = patient.log.as_ref();
    match log {
        Err(reason) => found.fail("log", reason),
        Ok(log) => engines::log(&**log, &patient.clock, &mut found).await,
    }
    let store = patient.store.as_ref();
    match store {
        Err(reason) => found.fail("store", reason),
        Ok(store) => engines::store(&**store, &mut found).await,
    }
    if let (Ok(log), Ok(store)) = (log, store) {
        engines::applied(&**log, &**store, &mut found).await;
    }
    services::registry(patient.registry.as_deref(), &mut found).await;
    services::keys(patient.jwks.as_deref(), &mut found).await;
    for url in &patient.services {
        services::ready(url, &mut found).await;
    }
    found
}
