//! [`eventlog::consume`] with a group whose events the test sends by hand.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use environment::Entropy;
use eventlog::consume::{ConsumeError, Ended, Outcome, Work, consume};
use eventlog::{
    AppendError, AppendReceipt, Assigned, Commit, CommitError, Committer, EventLog, GroupEvent, GroupMember, LogError,
    NewRecord, PartitionReader, Revocation, SharedLog, TopicFound, TopicPartition, Watermarks,
};
use events::topics::TopicSpec;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const GROUP: &str = "group";
const TOPIC: &str = "topic";

/// A log that only supports groups.
struct Scripted {
    events: Mutex<Option<mpsc::UnboundedReceiver<GroupEvent>>>,
    /// The group's commit, the same in every partition.
    next: u64,
    /// How often reading the commit fails before it succeeds.
    silent: Mutex<u32>,
}

struct ScriptedMember(mpsc::UnboundedReceiver<GroupEvent>);

struct Fenced;

#[async_trait]
impl GroupMember for ScriptedMember {
    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        self.0.recv().await.ok_or(LogError::Closed)
    }

    fn committer(&self) -> Box<dyn Committer> {
        Box::new(Fenced)
    }
}

#[async_trait]
impl Committer for Fenced {
    async fn commit(&self, _: &[(TopicPartition, Commit)]) -> Result<(), CommitError> {
        Err(CommitError::Fenced)
    }
}

#[async_trait]
impl EventLog for Scripted {
    async fn enqueue(&self, topic: &str, _: NewRecord) -> Result<AppendReceipt, AppendError> {
        Err(AppendError::NoTopic(topic.to_owned()))
    }

    fn send_lossy(&self, _: &str, _: NewRecord) -> bool {
        false
    }

    async fn reader(&self, topic: &str, _: u32, _: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        Err(LogError::NoTopic(topic.to_owned()))
    }
    async fn watermarks(&self, topic: &str, _: u32) -> Result<Watermarks, LogError> {
        Err(LogError::NoTopic(topic.to_owned()))
    }
    async fn offset_at(&self, topic: &str, _: u32, _: i64) -> Result<Option<u64>, LogError> {
        Err(LogError::NoTopic(topic.to_owned()))
    }
    async fn join(&self, _: &str, _: &[&str]) -> Result<Box<dyn GroupMember>, LogError> {
        let events = self.events.lock().unwrap().take().expect("joined once");
        Ok(Box::new(ScriptedMember(events)))
    }
    async fn committed(&self, _: &str, _: &TopicPartition) -> Result<Option<Commit>, LogError> {
        let mut silent = self.silent.lock().unwrap();
        if let Some(left) = silent.checked_sub(1) {
            *silent = left;
            return Err(LogError::Transient("no coordinator".into()));
        }
        Ok(Some(Commit { next: self.next, metadata: String::new() }))
    }
    async fn commit_offline(&self, _: &str, _: &[(TopicPartition, Commit)]) -> Result<(), LogError> {
        Err(LogError::Closed)
    }
    async fn describe(&self, _: &TopicSpec) -> Result<Option<TopicFound>, LogError> {
        Ok(None)
    }
    async fn create(&self, _: &TopicSpec) -> Result<(), LogError> {
        Err(LogError::Closed)
    }
    async fn close(&self) {}
}

/// The behaviour of a partition's task.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Waits until it is stopped, as real work does.
    Work,
    /// Ends by itself at once.
    End(Ended),
    /// Works for a while, then has to be restarted.
    Last(Duration),
    /// Fails for good.
    Fail,
    /// Panics at once.
    Panic,
    /// Works, and panics when it is stopped.
    PanicAtEnd,
}

/// A consumer of a scripted group.
struct Scene {
    tell: mpsc::UnboundedSender<GroupEvent>,
    /// The started tasks: partition, and offset from which they begin.
    begun: mpsc::UnboundedReceiver<(u32, Option<u64>)>,
    shutdown: CancellationToken,
    consuming: JoinHandle<Result<(), ConsumeError>>,
}

impl Scene {
    /// Starts the consumer. Tasks behave as `script` says, in the order in which they start; later ones act as
    /// [`Act::Work`].
    fn start(script: impl IntoIterator<Item = Act>) -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        let log: SharedLog = Arc::new(Scripted { events: Mutex::new(Some(events)), next: 7, silent: Mutex::new(1) });
        let (begin, begun) = mpsc::unbounded_channel();
        let script: Arc<Mutex<VecDeque<Act>>> = Arc::new(Mutex::new(script.into_iter().collect()));
        let work: Work = Arc::new(move |assigned: Assigned, _, stop: CancellationToken| {
            let act = script.lock().unwrap().pop_front().unwrap_or(Act::Work);
            begin.send((assigned.at.partition, assigned.commit.map(|commit| commit.next))).unwrap();
            Box::pin(async move {
                match act {
                    Act::Work => {
                        stop.cancelled().await;
                        Outcome::Ok(Ended::Stopped)
                    }
                    Act::End(ended) => Ok(ended),
                    Act::Last(time) => {
                        sleep(time).await;
                        Ok(Ended::Again)
                    }
                    Act::Fail => Err("broken for good".into()),
                    Act::Panic => panic!("made by the test"),
                    Act::PanicAtEnd => {
                        stop.cancelled().await;
                        panic!("made by the test");
                    }
                }
            })
        });
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let consuming = tokio::spawn(async move {
            let entropy = Entropy::seeded(1);
            consume(&log, GROUP, &[TOPIC], work, &entropy, token).await
        });
        Self { tell, begun, shutdown, consuming }
    }

    fn assign(&self, partition: u32) {
        let commit = Some(Commit { next: 5, metadata: String::new() });
        let assigned = Assigned { at: TopicPartition::new(TOPIC, partition), commit };
        self.tell.send(GroupEvent::Assigned(vec![assigned])).unwrap();
    }

    /// Revokes the partition; the receiver resolves when it is released.
    fn revoke(&self, partition: u32) -> oneshot::Receiver<()> {
        let (release, released) = oneshot::channel();
        let partitions = vec![TopicPartition::new(TOPIC, partition)];
        self.tell.send(GroupEvent::Revoked(Revocation { partitions, release })).unwrap();
        released
    }

    async fn begun(&mut self) -> (u32, Option<u64>) {
        self.begun.recv().await.unwrap()
    }

    async fn end(self) -> Result<(), ConsumeError> {
        self.shutdown.cancel();
        self.consuming.await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_fenced_begins_again_from_the_commit_once_that_can_be_read() {
    let mut scene = Scene::start([Act::End(Ended::Again)]);
    scene.assign(0);
    assert_eq!(scene.begun().await, (0, Some(5)));
    assert_eq!(scene.begun().await, (0, Some(7)), "from what the group has committed by now");
    scene.end().await.unwrap();
}

#[tokio::test]
async fn a_partition_that_ended_by_itself_is_released_and_taken_again() {
    let mut scene = Scene::start([Act::End(Ended::Stopped)]);
    scene.assign(0);
    scene.begun().await;
    scene.revoke(0).await.unwrap();
    scene.assign(0);
    assert_eq!(scene.begun().await, (0, Some(5)));
    scene.end().await.unwrap();
}

#[tokio::test]
async fn one_that_is_lost_while_it_begins_again_is_not_worked_on() {
    let mut scene = Scene::start([Act::Work, Act::End(Ended::Again)]);
    scene.assign(0);
    scene.assign(1);
    for _ in 0..2 {
        scene.begun().await;
    }
    scene.tell.send(GroupEvent::Lost(vec![TopicPartition::new(TOPIC, 1)])).unwrap();
    scene.revoke(0).await.unwrap();
    // Whether the task restarted before the loss is a race; after the loss it must not restart.
    while scene.begun.try_recv().is_ok() {}
    scene.assign(2);
    assert_eq!(scene.begun().await, (2, Some(5)));
    scene.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn others_that_end_during_a_revocation_begin_again() {
    let mut scene = Scene::start([Act::Work, Act::End(Ended::Again)]);
    scene.assign(0);
    scene.begun().await;
    scene.assign(1);
    let released = scene.revoke(0);
    released.await.unwrap();
    assert_eq!(scene.begun().await, (1, Some(5)));
    assert_eq!(scene.begun().await, (1, Some(7)));
    scene.end().await.unwrap();
}

#[tokio::test]
async fn work_that_fails_for_good_ends_all_of_it() {
    let mut scene = Scene::start([Act::Work, Act::Fail]);
    scene.assign(0);
    scene.assign(1);
    for _ in 0..2 {
        scene.begun().await;
    }
    let error = (&mut scene.consuming).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "topic/1: broken for good");
}

/// Regression: the end of a task that panicked during a revocation was not recognised.
#[tokio::test(start_paused = true)]
async fn one_that_panics_while_it_is_revoked_is_released_and_the_others_go_on() {
    let mut scene = Scene::start([Act::PanicAtEnd]);
    scene.assign(0);
    scene.assign(1);
    for _ in 0..2 {
        scene.begun().await;
    }
    let released = timeout(Duration::from_secs(5), scene.revoke(0));
    released.await.expect("its end is waited for no longer than it takes").unwrap();
    scene.assign(0);
    assert_eq!(scene.begun().await, (0, Some(5)));
    scene.end().await.unwrap();
}

#[tokio::test]
async fn one_that_panics_ends_all_of_it_and_is_named() {
    let mut scene = Scene::start([Act::Work, Act::Panic]);
    scene.assign(0);
    scene.assign(1);
    let error = (&mut scene.consuming).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "topic/1: its task panicked");
}

/// Without the growing wait, a log that always fails would make all partitions restart at full speed.
#[tokio::test(start_paused = true)]
async fn a_partition_that_does_not_last_begins_again_later_each_time_and_one_that_lasted_soon() {
    let lasts = Act::Last(Duration::from_secs(60));
    let script = std::iter::repeat_n(Act::End(Ended::Again), 40).chain([lasts, Act::Work]);
    let mut scene = Scene::start(script);
    scene.assign(0);
    scene.begun().await;
    let (mut at, mut waits) = (Instant::now(), Vec::new());
    for _ in 0..40 {
        scene.begun().await;
        waits.push(at.elapsed());
        at = Instant::now();
    }
    assert!(waits[1..].iter().all(|wait| (5..=10_000).contains(&wait.as_millis())), "{waits:?}");
    assert!(waits[20..].iter().all(|wait| wait.as_millis() >= 1000), "{waits:?}");
    assert!(waits[1] != waits[2] && waits[30] != waits[31], "with jitter: {waits:?}");
    scene.begun().await;
    assert!(at.elapsed() <= Duration::from_millis(60_050), "it lasted: the first wait again");
    scene.end().await.unwrap();
}
