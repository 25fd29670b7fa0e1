//! Computes the owner of each partition: evenly distributed topic by topic, moving as few partitions as possible.

use std::collections::{BTreeMap, BTreeSet};

use crate::TopicPartition;

/// A member of a group; each joining gets a higher number.
pub(super) type MemberId = u64;

/// Topic name -> its number of partitions.
pub(super) type Subscription = BTreeMap<String, u32>;

/// The owner that each partition should have. Owners in `current` keep their partitions as far as balance allows.
///
/// In each topic, the numbers of partitions of any two members differ by at most one. A pure function of its
/// arguments.
pub(super) fn balance(
    members: &BTreeMap<MemberId, &Subscription>,
    current: &BTreeMap<TopicPartition, MemberId>,
) -> BTreeMap<TopicPartition, MemberId> {
    let mut topics: BTreeMap<&str, u32> = BTreeMap::new();
    for (topic, partitions) in members.values().copied().flatten() {
        topics.insert(topic, *partitions);
    }
    let mut owners = BTreeMap::new();
    // Count the partitions of all topics per member, so that the remainders of uneven divisions do not always go
    // to the same member.
    let mut totals: BTreeMap<MemberId, usize> = members.keys().map(|member| (*member, 0)).collect();
    for (topic, partitions) in topics {
        let subscribed = members.iter().filter(|(_, topics)| topics.contains_key(topic)).map(|(member, _)| *member);
        let shares = spread(topic, partitions, subscribed, current, &totals);
        for (member, share) in shares {
            *totals.entry(member).or_default() += share.len();
            owners.extend(share.into_iter().map(|partition| (TopicPartition::new(topic, partition), member)));
        }
    }
    owners
}

/// The number of partitions of one topic for each member.
fn spread(
    topic: &str,
    partitions: u32,
    members: impl Iterator<Item = MemberId>,
    current: &BTreeMap<TopicPartition, MemberId>,
    totals: &BTreeMap<MemberId, usize>,
) -> BTreeMap<MemberId, BTreeSet<u32>> {
    let mut shares: BTreeMap<MemberId, BTreeSet<u32>> = members.map(|member| (member, BTreeSet::new())).collect();
    let mut free = Vec::new();
    for partition in 0..partitions {
        let owner = current.get(&TopicPartition::new(topic, partition));
        match owner.and_then(|owner| shares.get_mut(owner)) {
            Some(share) => drop(share.insert(partition)),
            None => free.push(partition),
        }
    }
    let load = |member: MemberId, share: &BTreeSet<u32>| (share.len(), totals.get(&member).copied(), member);
    for partition in free {
        let least = shares.iter_mut().min_by_key(|(member, share)| load(**member, share));
        if let Some((_, share)) = least {
            share.insert(partition);
        }
    }
    loop {
        let most = shares.iter().max_by_key(|(member, share)| load(**member, share)).map(|(member, _)| *member);
        let least = shares.iter().min_by_key(|(member, share)| load(**member, share)).map(|(member, _)| *member);
        let (Some(most), Some(least)) = (most, least) else { return shares };
        if shares[&most].len() <= shares[&least].len() + 1 {
            return shares;
        }
        let moved = shares.get_mut(&most).and_then(BTreeSet::pop_last);
        if let (Some(partition), Some(share)) = (moved, shares.get_mut(&least)) {
            share.insert(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(owners: &BTreeMap<TopicPartition, MemberId>, topic: &str) -> BTreeMap<MemberId, usize> {
        let mut counts = BTreeMap::new();
        for (_, member) in owners.iter().filter(|(at, _)| at.topic == topic) {
            *counts.entry(*member).or_default() += 1;
        }
        counts
    }

    #[test]
    fn joining_and_leaving_move_only_what_they_must() {
        let both = Subscription::from([("a".to_owned(), 12), ("b".to_owned(), 5)]);
        let members = |ids: &[MemberId]| ids.iter().map(|id| (*id, &both)).collect::<BTreeMap<_, _>>();
        let alone = balance(&members(&[1]), &BTreeMap::new());
        assert_eq!(alone.len(), 17);

        let two = balance(&members(&[1, 2]), &alone);
        assert_eq!(counts(&two, "a"), [(1, 6), (2, 6)].into());
        assert_eq!(counts(&two, "b").values().max(), Some(&3));
        assert_eq!(two.iter().filter(|(at, member)| alone[at] != **member).count(), 8, "six of a, two of b");

        let three = balance(&members(&[1, 2, 3]), &two);
        assert_eq!(counts(&three, "a"), [(1, 4), (2, 4), (3, 4)].into());
        assert!(three.iter().all(|(at, member)| two[at] == *member || *member == 3), "only the new one gains");

        let left = balance(&members(&[1, 3]), &three);
        assert!(three.iter().all(|(at, member)| *member == 2 || left[at] == *member), "the others keep theirs");
        assert_eq!(counts(&left, "a"), [(1, 6), (3, 6)].into());
    }

    #[test]
    fn a_member_gets_only_topics_that_it_asked_for() {
        let (a, b) = (Subscription::from([("a".to_owned(), 3)]), Subscription::from([("b".to_owned(), 1)]));
        let owners = balance(&[(1, &a), (2, &b)].into(), &BTreeMap::new());
        assert_eq!(counts(&owners, "a"), [(1, 3)].into());
        assert_eq!(counts(&owners, "b"), [(2, 1)].into());
        assert!(balance(&BTreeMap::new(), &owners).is_empty());
    }
}
