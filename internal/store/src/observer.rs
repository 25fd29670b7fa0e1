//! Tells a program how its requests to the store went, so that it can count them: the same for every engine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::StoreError;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Reads a few rows.
    Read,
    /// Reads a page of rows.
    Page,
    /// Writes a row; in the embedded engine, whatever one job of its writer changes besides rows of the log.
    Write,
    /// Writes rows of one partition; in the embedded engine, rows of the log, of any partitions.
    Batch,
    /// A lightweight transaction; the embedded engine needs none.
    Conditional,
}

impl Op {
    /// Every operation.
    pub const ALL: [Self; 5] = [Self::Read, Self::Page, Self::Write, Self::Batch, Self::Conditional];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Page => "page",
            Self::Write => "write",
            Self::Batch => "batch",
            Self::Conditional => "conditional",
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// It failed in a way that a retry may mend: a timeout, an overloaded or unreachable server.
    Transient,
    /// It failed for good.
    Failed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Transient, Self::Failed];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Transient => "transient",
            Self::Failed => "failed",
        }
    }

    /// The outcome of a request with that result.
    pub fn of<T>(result: &Result<T, StoreError>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(error) if error.is_transient() => Self::Transient,
            Err(_) => Self::Failed,
        }
    }
}

/// Is told of every request: what it was, how it ended, and how long its caller waited, also for its permit or its turn
/// with the writer. By default nobody is told.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<Observe>>);

type Observe = dyn Fn(Op, Outcome, Duration) + Send + Sync;

impl Observer {
    /// Calls `observe`, which must not block.
    pub fn new(observe: impl Fn(Op, Outcome, Duration) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observe)))
    }

    /// A request has ended. For engines.
    pub fn observe(&self, op: Op, outcome: Outcome, waited: Duration) {
        if let Some(observe) = &self.0 {
            observe(op, outcome, waited);
        }
    }

    /// Makes a request that waits for nothing but its data. For engines.
    ///
    /// # Errors
    /// Those of the request.
    pub fn observed<T>(&self, op: Op, request: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.0.is_none() {
            return request();
        }
        let begun = Instant::now();
        let result = request();
        self.observe(op, Outcome::of(&result), begun.elapsed());
        result
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.0.is_some()).finish()
    }
}
