//! The coordinator of consumer groups within this process.
//!
//! Rebalances are cooperative, as in Kafka: a partition that has to move is first revoked from its owner, which
//! keeps working on its others. It is assigned to the new owner once the old one has released it and none of its
//! commits is being written. An owner that does not release in time loses the partition.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use environment::seeded_bugs::{Bug, seeded};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::assignment::{self, MemberId, Subscription};
use crate::TopicPartition;

/// How long an owner may take to release revoked partitions.
const RELEASE_WAIT: Duration = Duration::from_secs(10);
/// The owner of partitions during an operator's commit; no member has this id.
const NOBODY: MemberId = 0;

/// All groups of one log.
#[derive(Debug)]
pub(super) struct Groups {
    state: Mutex<State>,
    /// The tasks that wait for releases.
    tasks: TaskTracker,
    /// Ends those tasks.
    closing: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<String, Group>,
    members_so_far: MemberId,
}

#[derive(Debug, Default)]
struct Group {
    members: BTreeMap<MemberId, Member>,
    holdings: BTreeMap<TopicPartition, Holding>,
}

#[derive(Debug)]
struct Member {
    subscription: Subscription,
    /// Events that the member has not received yet.
    pending: VecDeque<Pending>,
    /// Notified when an event is added to `pending`.
    wake: Arc<Notify>,
    /// The time of its last poll; `None` while it polls.
    idle_since: Option<Instant>,
    /// Whether the member is alive. One that has not polled for too long owns nothing until it polls again.
    active: bool,
}

/// An event whose commits have not been looked up yet.
#[derive(Debug)]
pub(super) enum Pending {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>, oneshot::Sender<()>),
    Lost(Vec<TopicPartition>),
}

/// The ownership of a partition.
#[derive(Debug)]
struct Holding {
    member: MemberId,
    phase: Phase,
    /// Whether the member has received the assignment. Until then, a commit by the member belongs to an earlier
    /// ownership whose loss it has not noticed; others may have committed in between.
    is_known: bool,
    /// The number of commits for the partition that are being written.
    writing: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Owned,
    /// Revoked, not yet released; commits by the owner are still accepted.
    Revoking,
    /// Released or lost. The partition becomes free when no commit is being written, so that the next owner sees
    /// every commit.
    Draining,
}

/// Held while a commit for some partitions is being written; dropping it marks the end of the write.
#[derive(Debug)]
pub(super) struct WriteTicket {
    groups: Arc<Groups>,
    group: String,
    partitions: Vec<TopicPartition>,
}

impl Groups {
    pub(super) fn new(tasks: TaskTracker, closing: CancellationToken) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), tasks, closing })
    }

    /// Adds a member; returns its id and the signal for new events.
    pub(super) fn join(self: &Arc<Self>, group: &str, subscription: Subscription) -> (MemberId, Arc<Notify>) {
        let mut state = self.lock();
        state.members_so_far += 1;
        let (id, wake) = (state.members_so_far, Arc::new(Notify::new()));
        let member = Member {
            subscription,
            pending: VecDeque::new(),
            wake: Arc::clone(&wake),
            idle_since: Some(Instant::now()),
            active: true,
        };
        state.groups.entry(group.to_owned()).or_default().members.insert(id, member);
        self.rebalance(&mut state, group);
        (id, wake)
    }

    /// Removes the member; its partitions go to others at once.
    pub(super) fn leave(self: &Arc<Self>, group: &str, id: MemberId) {
        let mut state = self.lock();
        if let Some(found) = state.groups.get_mut(group) {
            found.members.remove(&id);
            found.take_all(id);
        }
        self.rebalance(&mut state, group);
    }

    /// Records that the member begins (`true`) or stops polling. A member that was declared dead becomes active
    /// again.
    pub(super) fn polls(self: &Arc<Self>, group: &str, id: MemberId, polls: bool) {
        let mut state = self.lock();
        let Some(member) = state.member(group, id) else { return };
        member.idle_since = (!polls).then(Instant::now);
        if polls && !member.active {
            member.active = true;
            self.rebalance(&mut state, group);
        }
    }

    /// The time of the member's last poll; `None` while it polls, or when it was declared dead already.
    pub(super) fn idle_since(&self, group: &str, id: MemberId) -> Option<Instant> {
        self.lock().member(group, id).filter(|member| member.active)?.idle_since
    }

    /// Declares the member dead: it loses its partitions.
    pub(super) fn expel(self: &Arc<Self>, group: &str, id: MemberId) {
        let mut state = self.lock();
        let Some(found) = state.groups.get_mut(group) else { return };
        let taken = found.take_all(id);
        let Some(member) = found.members.get_mut(&id) else { return };
        let untold = member.untold();
        member.active = false;
        member.pending.retain(|event| matches!(event, Pending::Lost(_)));
        member.tell(Pending::Lost(taken.into_iter().filter(|at| !untold.contains(at)).collect()));
        self.rebalance(&mut state, group);
    }

    /// The next event that the member has not received.
    pub(super) fn take_pending(&self, group: &str, id: MemberId) -> Option<Pending> {
        let mut state = self.lock();
        let found = state.groups.get_mut(group)?;
        let pending = found.members.get_mut(&id)?.pending.pop_front()?;
        if let Pending::Assigned(partitions) = &pending {
            for at in partitions {
                if let Some(held) = found.holdings.get_mut(at).filter(|held| held.member == id) {
                    held.is_known = true;
                }
            }
        }
        Some(pending)
    }

    /// Begins a commit by the member; `None` when it does not own all of the partitions.
    pub(super) fn begin_commit(
        self: &Arc<Self>,
        group: &str,
        id: MemberId,
        partitions: Vec<TopicPartition>,
    ) -> Option<WriteTicket> {
        let mut state = self.lock();
        let found = state.groups.get_mut(group)?;
        let counts = |held: &Holding| held.member == id && held.is_known && held.phase != Phase::Draining;
        let owned = |at| seeded(Bug::ZombieCommitAccepted) || found.holdings.get(at).is_some_and(counts);
        if !partitions.iter().all(owned) {
            return None;
        }
        for at in &partitions {
            if let Some(held) = found.holdings.get_mut(at) {
                held.writing += 1;
            }
        }
        Some(WriteTicket { groups: Arc::clone(self), group: group.to_owned(), partitions })
    }

    /// Begins an operator's commit; `None` while the group has members. A member that joins meanwhile is assigned
    /// the partitions after the commit.
    pub(super) fn begin_offline_commit(
        self: &Arc<Self>,
        group: &str,
        partitions: Vec<TopicPartition>,
    ) -> Option<WriteTicket> {
        let mut state = self.lock();
        let found = state.groups.entry(group.to_owned()).or_default();
        if !found.members.is_empty() {
            return None;
        }
        for at in &partitions {
            let free = || Holding { member: NOBODY, phase: Phase::Draining, is_known: false, writing: 0 };
            found.holdings.entry(at.clone()).or_insert_with(free).writing += 1;
        }
        Some(WriteTicket { groups: Arc::clone(self), group: group.to_owned(), partitions })
    }

    fn end_commit(self: &Arc<Self>, group: &str, partitions: &[TopicPartition]) {
        let mut state = self.lock();
        let Some(found) = state.groups.get_mut(group) else { return };
        for at in partitions {
            if let Some(held) = found.holdings.get_mut(at) {
                held.writing -= 1;
            }
        }
        if found.drop_drained() {
            self.rebalance(&mut state, group);
        }
    }

    /// Handles the end of a revocation: the member released the partitions, or did not in time.
    fn released(self: &Arc<Self>, group: &str, id: MemberId, partitions: &[TopicPartition], in_time: bool) {
        let mut state = self.lock();
        let Some(found) = state.groups.get_mut(group) else { return };
        let mut given = Vec::new();
        for at in partitions {
            match found.holdings.get_mut(at) {
                Some(held) if held.member == id && held.phase == Phase::Revoking => {
                    held.phase = Phase::Draining;
                    given.push(at.clone());
                }
                _ => {}
            }
        }
        found.drop_drained();
        if !in_time && let Some(member) = found.members.get_mut(&id) {
            // Drop a revocation that the member has not even received.
            member.pending.retain(|event| !matches!(event, Pending::Revoked(of, _) if of == partitions));
            member.tell(Pending::Lost(given));
        }
        self.rebalance(&mut state, group);
    }

    /// Moves towards balance: assigns free partitions and revokes those that must move.
    fn rebalance(self: &Arc<Self>, state: &mut State, name: &str) {
        let Some(group) = state.groups.get_mut(name) else { return };
        if group.members.is_empty() && group.holdings.is_empty() {
            state.groups.remove(name);
            return;
        }
        let active = group.members.iter().filter(|(_, member)| member.active);
        let members = active.map(|(id, member)| (*id, &member.subscription)).collect();
        let owned = group.holdings.iter().filter(|(_, held)| held.phase == Phase::Owned);
        let current = owned.map(|(at, held)| (at.clone(), held.member)).collect();
        let (mut assigned, mut revoked) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for (at, member) in assignment::balance(&members, &current) {
            let owner = group.holdings.get(&at).map(|held| (held.member, held.phase));
            match owner {
                Some((owner, Phase::Owned)) if owner == member => continue,
                // The owner has not received the assignment yet, so no revocation is needed.
                Some((owner, Phase::Owned)) if group.withdraw(owner, &at) => {}
                Some((owner, Phase::Owned)) => {
                    revoked.entry(owner).or_default().push(at);
                    continue;
                }
                Some((_, Phase::Revoking | Phase::Draining)) => continue,
                None => {}
            }
            group.holdings.insert(at.clone(), Holding { member, phase: Phase::Owned, is_known: false, writing: 0 });
            assigned.entry(member).or_default().push(at);
        }
        for (id, partitions) in revoked {
            let release = group.revoke(id, &partitions);
            self.await_release(name, id, partitions, release);
        }
        for (id, partitions) in assigned {
            if let Some(member) = group.members.get_mut(&id) {
                member.tell(Pending::Assigned(partitions));
            }
        }
    }

    fn await_release(
        self: &Arc<Self>,
        group: &str,
        id: MemberId,
        partitions: Vec<TopicPartition>,
        release: oneshot::Receiver<()>,
    ) {
        let (groups, group) = (Arc::clone(self), group.to_owned());
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = groups.closing.cancelled() => {}
                // A release that is sent or dropped both mean that the member is done.
                released = timeout(RELEASE_WAIT, release) => {
                    groups.released(&group, id, &partitions, released.is_ok());
                }
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn member(&mut self, group: &str, id: MemberId) -> Option<&mut Member> {
        self.groups.get_mut(group)?.members.get_mut(&id)
    }
}

impl Group {
    /// Takes all partitions of the member; returns them.
    fn take_all(&mut self, id: MemberId) -> Vec<TopicPartition> {
        let mut taken = Vec::new();
        for (at, held) in &mut self.holdings {
            if held.member == id && held.phase != Phase::Draining {
                held.phase = Phase::Draining;
                taken.push(at.clone());
            }
        }
        self.drop_drained();
        taken
    }

    /// Frees the draining partitions without a commit in progress; returns whether there were any.
    fn drop_drained(&mut self) -> bool {
        let before = self.holdings.len();
        self.holdings.retain(|_, held| held.phase != Phase::Draining || held.writing > 0);
        self.holdings.len() < before
    }

    /// Takes back an assignment that the member has not received yet; returns whether that was possible.
    fn withdraw(&mut self, id: MemberId, at: &TopicPartition) -> bool {
        let busy = self.holdings.get(at).is_some_and(|held| held.writing > 0);
        let Some(member) = self.members.get_mut(&id).filter(|_| !busy) else { return false };
        for event in &mut member.pending {
            if let Pending::Assigned(partitions) = event
                && let Some(index) = partitions.iter().position(|found| found == at)
            {
                partitions.remove(index);
                member.pending.retain(|event| !matches!(event, Pending::Assigned(rest) if rest.is_empty()));
                return true;
            }
        }
        false
    }

    fn revoke(&mut self, id: MemberId, partitions: &[TopicPartition]) -> oneshot::Receiver<()> {
        let (release, released) = oneshot::channel();
        for at in partitions {
            if let Some(held) = self.holdings.get_mut(at) {
                held.phase = Phase::Revoking;
            }
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.tell(Pending::Revoked(partitions.to_vec(), release));
        }
        released
    }
}

impl Member {
    fn tell(&mut self, event: Pending) {
        match (self.pending.back_mut(), event) {
            (_, Pending::Lost(partitions)) if partitions.is_empty() => return,
            (Some(Pending::Assigned(before)), Pending::Assigned(more)) => before.extend(more),
            (Some(Pending::Lost(before)), Pending::Lost(more)) => before.extend(more),
            (_, event) => self.pending.push_back(event),
        }
        self.wake.notify_one();
    }

    /// The partitions that were assigned to the member and not received by it yet.
    fn untold(&self) -> BTreeSet<TopicPartition> {
        let assigned = self.pending.iter().filter_map(|event| match event {
            Pending::Assigned(partitions) => Some(partitions),
            Pending::Revoked(..) | Pending::Lost(_) => None,
        });
        assigned.flatten().cloned().collect()
    }
}

impl Drop for WriteTicket {
    fn drop(&mut self) {
        self.groups.end_commit(&self.group, &self.partitions);
    }
}
