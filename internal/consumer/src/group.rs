//! A consumer group: the topics that it reads and the work on each; and the loop that follows the store's current
//! incarnation.

use std::pin::{Pin, pin};
use std::sync::Arc;

use eventlog::consume::{BoxError, Outcome, Work, consume};
use eventlog::{Assigned, Committer, SharedLog, promises};
use process::{Readiness, RetryError, retry_until_stopped};
use store::{StoreError, is_of_another_incarnation};
use tokio_util::sync::CancellationToken;

use crate::group_metrics::CountingLog;
use crate::{ConsumerError, GroupMetrics, Seams};

/// The work on one partition, until it is stopped or fails for good.
pub type Task = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A topic, and the work on its partitions.
pub struct Route<D> {
    /// The topic.
    pub topic: &'static str,
    /// Begins the work on a partition.
    pub begin: fn(Arc<D>, Assigned, Arc<dyn Committer>, CancellationToken) -> Task,
}

/// A consumer. `D` are the dependencies of its work.
pub struct Group<D: 'static> {
    /// The name in the conditions of readiness and in the log.
    pub name: &'static str,
    /// The id of the consumer group.
    pub id: &'static str,
    /// The topics that it reads. Each is named, so that a new topic goes to no consumer by accident.
    pub routes: &'static [Route<D>],
    /// The topics that it writes, which must keep their promises as well.
    pub writes: &'static [&'static str],
}

impl<D: 'static> Group<D> {
    fn reads(&self) -> Vec<&'static str> {
        self.routes.iter().map(|route| route.topic).collect()
    }

    fn begin(
        routes: &[Route<D>],
        deps: &Arc<D>,
        assigned: Assigned,
        committer: Arc<dyn Committer>,
        stop: CancellationToken,
    ) -> Task {
        match routes.iter().find(|route| route.topic == assigned.at.topic) {
            Some(route) => (route.begin)(Arc::clone(deps), assigned, committer, stop),
            None => Box::pin(async move { Err(ConsumerError::NoRoute(assigned.at).into()) }),
        }
    }
}

/// Consumes until `shutdown`: every partition that the group assigns to this process. When another incarnation of the
/// store becomes current, it begins again with that one. `deps` makes the dependencies of the work, from seams that are
/// pinned to one incarnation.
///
/// # Errors
/// When it cannot go on: a topic was re-created, or the log or the store is broken.
pub async fn run<D: Send + Sync + 'static>(
    seams: Seams,
    group: Group<D>,
    deps: impl Fn(Seams) -> D + Send + Sync,
    metrics: GroupMetrics,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), BoxError> {
    let condition = readiness.condition(group.name, "the topics were not looked at yet");
    let topics = [&*group.reads(), group.writes].concat();
    let watching = promises::watch(&*seams.log, &topics, &seams.codec, |fault| condition.tell(fault));
    tokio::select! {
        biased;
        ended = follow(&seams, &group, &deps, &metrics, &shutdown) => ended,
        never = watching => match never {},
    }
}

/// Consumes with the current incarnation, again and again.
async fn follow<D: Send + Sync + 'static>(
    seams: &Seams,
    group: &Group<D>,
    deps: &(impl Fn(Seams) -> D + Send + Sync),
    metrics: &GroupMetrics,
    shutdown: &CancellationToken,
) -> Result<(), BoxError> {
    // The loop of the group sees its events through this one.
    let log: SharedLog = Arc::new(CountingLog { inner: Arc::clone(&seams.log), metrics: metrics.clone() });
    loop {
        let open = || store::pinned(&*seams.store);
        let store =
            match retry_until_stopped("open the store", &seams.entropy, shutdown, StoreError::is_transient, open).await
            {
                Ok(store) => store,
                Err(RetryError::Stopped) => return Ok(()),
                Err(RetryError::Failed(error)) => return Err(error.into()),
            };
        let pinned = Seams { store: Arc::clone(&store), ..seams.clone() };
        let ended = consume_pinned(&log, &pinned, group, deps(pinned.clone()), shutdown.child_token()).await;
        // The pinned incarnation may be current again by now: then only the error tells that another one was current in
        // between.
        let another = ended.as_ref().is_err_and(|error| is_of_another_incarnation(&**error))
            || store::still_current(&*store).await.is_err_and(|error| is_of_another_incarnation(&error));
        if !another || shutdown.is_cancelled() {
            return ended;
        }
        tracing::info!(consumer = group.name, "the consumer begins again with the current incarnation");
    }
}

/// Consumes with a handle to one incarnation, until `stop` or until another one is current.
async fn consume_pinned<D: Send + Sync + 'static>(
    log: &SharedLog,
    seams: &Seams,
    group: &Group<D>,
    deps: D,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let (deps, routes) = (Arc::new(deps), group.routes);
    let work: Work = Arc::new(move |assigned, committer, stop| Group::begin(routes, &deps, assigned, committer, stop));
    let topics = group.reads();
    let mut consuming = pin!(consume(log, group.id, &topics, work, &seams.entropy, stop.clone()));
    tokio::select! {
        biased;
        ended = &mut consuming => Ok(ended?),
        error = store::replaced(&*seams.store) => {
            stop.cancel();
            consuming.await?;
            Err(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use eventlog::consume::Ended;
    use eventlog::{Commit, CommitError, TopicPartition};

    use super::*;

    struct Nobody;

    #[async_trait]
    impl Committer for Nobody {
        async fn commit(&self, _: &[(TopicPartition, Commit)]) -> Result<(), CommitError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_topic_without_a_route_is_an_error_and_nobody_elses_work() {
        const ROUTES: &[Route<()>] =
            &[Route { topic: "chat.messages", begin: |_, _, _, _| Box::pin(async { Ok(Ended::Again) }) }];
        let begin = |topic| {
            let assigned = Assigned { at: TopicPartition::new(topic, 0), commit: None };
            Group::begin(ROUTES, &Arc::new(()), assigned, Arc::new(Nobody), CancellationToken::new())
        };
        assert!(matches!(begin("chat.messages").await, Ok(Ended::Again)));
        let error = begin("chat.receipts").await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(ConsumerError::NoRoute(_))), "{error}");
    }
}
