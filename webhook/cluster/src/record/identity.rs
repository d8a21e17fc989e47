//! Who members were, as far as the record knows.
//!
//! Guarantees: what a disk said comes before the plan, and what was before the cluster began anew is over.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::id::{NodeId, Ordinal};
use crate::plan::Plan;
use crate::protocol::{Identity, Member, Role};

/// What a member was when it was last heard of: what its disk said, or, since a member that began
/// on an empty disk has written it after that, what the plan made it.
pub fn known_identity(plan: &Plan, set: &str, pod: &str, member: &Member) -> Option<Identity> {
    // What it was before the cluster began anew is over.
    let was = member.was.as_ref().filter(|_| is_of_this_generation(plan, member));
    if let Some(identity) = member.disk.identity.as_ref().or(was) {
        return Some(identity.clone());
    }
    if !has_begun(plan, member) {
        return None;
    }
    planned(plan, set, pod)
}

/// What the plan makes of a pod.
pub(crate) fn planned(plan: &Plan, set: &str, pod: &str) -> Option<Identity> {
    let ordinal = plan.number(set, pod)?;
    let seat = plan.seat(ordinal)?;
    let role = match seat.master {
        true => Role::Master,
        false => Role::Replica { of: plan.node_id(Ordinal(seat.shard)) },
    };
    Some(Identity {
        node_id: plan.node_id(ordinal),
        role,
        slots: plan.slots(seat.shard).filter(|_| seat.master).into_iter().collect(),
        config_epoch: plan.epoch(seat.shard),
        current_epoch: plan.current_epoch(),
    })
}

/// What all members are as far as is known, by pod.
///
/// Two that follow each other by what they registered have changed places since one of them did. The
/// one whose master's epoch is higher has registered later: the other one is the master of what the
/// plan gives their shard. Where that is not known they count as what the plan has made them: its
/// epochs are the lowest of all, so that whoever knows better is believed.
pub fn identities(
    plan: &Plan,
    set: &str,
    members: &BTreeMap<String, Member>,
) -> BTreeMap<String, Identity> {
    let known: BTreeMap<String, Identity> = members
        .iter()
        .filter_map(|(pod, member)| Some((pod.clone(), known_identity(plan, set, pod, member)?)))
        .collect();
    let follows = |id: NodeId| {
        known.values().find(|i| i.node_id == id).and_then(|i| match i.role {
            Role::Replica { of } => Some(of),
            Role::Master => None,
        })
    };
    // Each one's master, where that one follows it.
    let partner = |identity: &Identity| {
        let of = follows(identity.node_id)?;
        (follows(of)? == identity.node_id).then(|| known.iter().find(|(_, i)| i.node_id == of))?
    };
    let planned_as = |pod: &String, identity: &Identity| {
        planned(plan, set, pod).filter(|p| p.node_id == identity.node_id)
    };
    let settled = |pod: &String, identity: &Identity| {
        let Some((other_pod, other)) = partner(identity) else { return identity.clone() };
        let Some(own) = planned_as(pod, identity) else { return identity.clone() };
        let slots = planned_as(other_pod, other).into_iter().chain([own.clone()]);
        let slots: Vec<_> = slots.flat_map(|p| p.slots).collect();
        match identity.config_epoch.cmp(&other.config_epoch) {
            Ordering::Greater => identity.clone(),
            Ordering::Less if !slots.is_empty() => Identity {
                role: Role::Master,
                slots,
                config_epoch: other.config_epoch,
                ..identity.clone()
            },
            Ordering::Less | Ordering::Equal => own,
        }
    };
    known.iter().map(|(pod, identity)| (pod.clone(), settled(pod, identity))).collect()
}

/// What a member was whose disk is blank now, in the plan's present generation: what it was before
/// the cluster began anew is over, and its seat in the new one is free until it has begun there.
pub fn remembered(plan: &Plan, set: &str, pod: &str, member: &Member) -> Option<Identity> {
    known_identity(plan, set, pod, member).filter(|_| is_of_this_generation(plan, member))
}

/// Whether a member has written its bootstrap file in the plan's present generation.
pub fn has_begun(plan: &Plan, member: &Member) -> bool {
    member.bootstrapped && is_of_this_generation(plan, member)
}

fn is_of_this_generation(plan: &Plan, member: &Member) -> bool {
    member.generation.max(1) == plan.generation.max(1)
}
