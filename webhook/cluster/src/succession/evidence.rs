//! How new a replica's data are, by what was registered and what the living say.
//!
//! Two moments are compared, both by the registry's clock: when this member last took something
//! over from its master, and the last sign of life of anybody else of the set, its master above
//! all. A replica that was down, or cut off, while its master took writes is behind in the first.
//!
//! Guarantees: data are called fresh only with a sign of life of somebody else, and within
//! [`BOUND`] of the last one. That is less than an engine itself would promote
//! (`cluster-replica-validity-factor`: ten node timeouts).

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::absence::known_pods;
use super::words::Own;
use crate::id::{NodeId, Ordinal};
use crate::planner::{Inspected, Inspection, Millis, all_members, standing};
use crate::protocol::{Member, Pod, Role, View};

/// How much older than the last sign of life of somebody else an heir's newest data may be.
pub(crate) const BOUND: i64 = 60_000;

/// Replicas notice the end of their master within so long of each other; INFO says it in seconds.
pub(crate) const TOGETHER: Millis = Millis(3_000);

/// How new the data on a replica's disk are.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Newness {
    /// Its offset when it was asked to stop, if it has met its master before that.
    offset: Option<u64>,
    /// When it took something over last, in milliseconds of the registry's clock.
    pub(crate) synced: Option<i64>,
}

/// What is known of the data of a replica.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Evidence {
    /// They are as new as the outage.
    Fresh,
    /// Somebody who is there has not said yet what he knows.
    NotYet,
    /// They are older, or that can not be known; the text says what is known.
    Unknown(String),
}

/// Where the other members are that may know when the master was last alive: those that have registered,
/// and those that run and have not since the record was lost.
pub(super) fn around(view: &View) -> BTreeSet<SocketAddr> {
    let own = view.members.get(&view.pod).and_then(|m| m.ports.client());
    let pods = view.pods.iter().filter(|(name, pod)| **name != view.pod && pod.running);
    let places = pods.filter_map(|(name, pod)| match view.members.get(name) {
        Some(member) => Some(SocketAddr::new(*member.ips.first()?, member.ports.client()?)),
        None => Some(SocketAddr::new(*pod.ips.first()?, own?)),
    });
    places.collect()
}

/// Weighs it.
pub(super) fn weigh(view: &View, me: NodeId, master: NodeId, around: &[Inspected]) -> Evidence {
    let unknown = |why: String| Evidence::Unknown(why);
    let Some(own) = view.members.get(&view.pod) else {
        return unknown("its step could not register, so nothing is known of its data".to_owned());
    };
    if !own.disk.data {
        return unknown("its disk was empty when it started".to_owned());
    }
    let Some(synced) = synced(own) else {
        return unknown("nobody knows when its data were written".to_owned());
    };
    // Who is there and has not registered yet may know more.
    let said: BTreeSet<IpAddr> =
        living(around).filter_map(|i| Some(i.nodes.myself()?.endpoint.address()?.ip)).collect();
    let comes = |pod: &Pod| pod.scheduled && !pod.deleting;
    let silent = |(name, pod): (&String, &Pod)| {
        let said = pod.ips.iter().any(|ip| said.contains(ip));
        *name != view.pod && comes(pod) && !view.members.contains_key(name) && !said
    };
    if view.pods.iter().any(silent) {
        return Evidence::NotYet;
    }
    if let Some((name, _)) = others(view).find(|(_, m)| m.disk.failed.contains(&me)) {
        return unknown(format!("by the disk of {name} it had failed before the others stopped"));
    }
    let master_pods: BTreeSet<&str> = known_pods(view, master).collect();
    let starts = view.members.iter().chain(&view.earlier);
    let starts = starts.filter(|(name, _)| master_pods.contains(name.as_str()));
    let signs = starts
        .filter_map(|(_, m)| moment(&m.registered_at))
        .chain(others(view).filter_map(|(_, m)| alive(m)))
        .chain(living(around).filter_map(|i| answered(i, master)));
    let by_others = others(view).filter_map(|(_, m)| alive(m));
    let by_living = living(around).filter_map(|i| answered(i, master));
    if by_others.chain(by_living).next().is_none() {
        return unknown(
            "no other member has registered that could say when all stopped".to_owned(),
        );
    }
    let last = signs.max().unwrap_or(i64::MAX);
    let behind = last.saturating_sub(synced);
    if behind > BOUND {
        return unknown(format!(
            "its newest data are {} s older than the last sign of life of another member",
            behind / 1000
        ));
    }
    Evidence::Fresh
}

/// Another replica of the shard that is there and is the better heir: whose data are newer, or as
/// new in a pod before this one.
pub(super) fn better<'a>(
    view: &'a View,
    me: NodeId,
    master: NodeId,
    offset: u64,
    around: &[Inspected],
) -> Option<&'a str> {
    let own = view.members.get(&view.pod)?;
    let offset_of = |id: NodeId| match id == me {
        true => offset,
        false => living(around)
            .find(|i| i.nodes.myself().is_some_and(|n| n.id == id))
            .map_or(0, |i| i.offset),
    };
    let mates = others(view).filter(|(name, mate)| {
        let identity = mate.disk.identity.as_ref();
        let of_shard = identity.is_some_and(|i| i.role == Role::Replica { of: master });
        of_shard && mate.disk.data && view.pods.get(*name).is_some_and(|p| !p.deleting)
    });
    let mut better = mates.filter(|(name, mate)| {
        let id = mate.disk.identity.as_ref().map(|i| i.node_id);
        let by_stop = Newness::of(mate).against(Newness::of(own));
        let theirs = id.map_or(0, offset_of);
        let by_offset = (theirs > 0 && offset > 0).then(|| theirs.cmp(&offset));
        let by_age = synced(mate).cmp(&synced(own));
        let order = [by_stop, by_offset, Some(by_age)];
        match order.into_iter().flatten().find(|o| *o != Ordering::Equal) {
            Some(order) => order == Ordering::Greater,
            None => is_before(view, name),
        }
    });
    better.next().map(|(name, _)| name)
}

/// Whether a pod comes before this one: by its number in the plan, else by its name.
fn is_before(view: &View, name: &str) -> bool {
    let place = |pod: &str| view.plan.number(&view.name, pod).unwrap_or(Ordinal::BEYOND);
    (place(name), name) < (place(&view.pod), &view.pod)
}

/// The highest epoch that the record or the own server knows.
pub(super) fn highest_epoch(view: &View, own: &Own) -> u64 {
    let members = all_members(view);
    let by_nodes = own.nodes.nodes().map(|n| n.config_epoch).max().unwrap_or(0);
    standing(view, &members).highest_epoch().max(by_nodes).max(own.current_epoch)
}

fn others(view: &View) -> impl Iterator<Item = (&str, &Member)> {
    let all = view.members.iter().filter(|(name, _)| **name != view.pod);
    all.map(|(name, member)| (name.as_str(), member))
}

fn living(around: &[Inspected]) -> impl Iterator<Item = &Inspection> {
    around.iter().filter_map(|answer| match answer {
        Inspected::Node(inspection) => Some(&**inspection),
        _ => None,
    })
}

/// When a node has last heard of another one, in milliseconds since 1970.
fn answered(inspection: &Inspection, id: NodeId) -> Option<i64> {
    let pong = inspection.nodes.node(id)?.pong_received;
    i64::try_from(pong).ok().filter(|pong| *pong > 0)
}

// === impl Newness ===

impl Newness {
    /// As a member has registered.
    pub(crate) fn of(member: &Member) -> Self {
        let offset = member.disk.stopped.as_ref().map(|s| s.offset).filter(|offset| *offset > 0);
        Self { offset, synced: synced(member) }
    }

    /// Against another replica's of the shard, where it is known: by when they were the newest, and by
    /// their offsets where that was in the same moment. Between two moments the master may have begun
    /// another stream, and offsets of two streams say nothing.
    pub(crate) fn against(self, other: Self) -> Option<Ordering> {
        if self.is_much_newer_than(other) {
            return Some(Ordering::Greater);
        }
        if other.is_much_newer_than(self) {
            return Some(Ordering::Less);
        }
        let order = self.offset?.cmp(&other.offset?);
        (order != Ordering::Equal).then_some(order)
    }

    /// Whether it took something over when the other one surely did not any more.
    pub(crate) fn is_much_newer_than(self, other: Self) -> bool {
        let apart = self.synced.zip(other.synced).map(|(own, other)| own.saturating_sub(other));
        apart.is_some_and(|apart| apart > TOGETHER.0.cast_signed())
    }

    /// Whether it may be newer, as far as that is known.
    pub(crate) fn may_be_newer_than(self, other: Self) -> bool {
        let by_age = || Some(self.synced?.cmp(&other.synced?));
        let same = || self.offset.zip(other.offset).map(|_| Ordering::Equal);
        let order = self.against(other).or_else(by_age).or_else(same);
        order.is_none_or(|order| order == Ordering::Greater)
    }
}

/// When a member last took something over from its master, as far as its disk shows. What it wrote
/// down at its stop counts more than its files: a replica without a link writes files, too.
pub(crate) fn synced(member: &Member) -> Option<i64> {
    let ago = match &member.disk.stopped {
        Some(stopped) => stopped.linked_ago?,
        None => member.disk.written_ago?,
    };
    before(member, ago)
}

/// The last sign of a member's former life on its disk.
fn alive(member: &Member) -> Option<i64> {
    let stopped = member.disk.stopped.as_ref().map(|s| s.ago);
    let ago = stopped.into_iter().chain(member.disk.written_ago).min()?;
    before(member, ago)
}

fn before(member: &Member, ago: u64) -> Option<i64> {
    moment(&member.registered_at)?.checked_sub_unsigned(ago)
}

/// As the registry writes it, in milliseconds since 1970.
fn moment(text: &str) -> Option<i64> {
    i64::try_from(crate::moment::micros(text)? / 1000).ok()
}
