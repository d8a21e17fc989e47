//! Which of the living members of a shard goes on with its slots when its master comes back empty.
//!
//! | two replicas | who |
//! |---|---|
//! | one was linked to the master until it stopped, the other one was not | the first |
//! | both were, or both were started since | the one with the higher offset, then with the newer disk, then with more keys |
//! | of disks | the newer one; the one with the higher offset where both stopped in the same moment |
//! | one is on its way that was started since as well | it is waited for, unless its disk is known to be no newer; one whose data are more than a minute newer has to come, or a person decides |
//!
//! Guarantees: keys alone count as data; nobody is chosen who has copied another shard.

use std::net::SocketAddr;

use super::Weak;
use super::mates::Mate;
use crate::id::NodeId;
use crate::nodes::Node;
use crate::planner::Inspection;
use crate::protocol::{HeirPolicy, Member};
use crate::slot::overlap;
use crate::succession::{BOUND, Newness, TOGETHER};

// === impl Weak ===

impl Weak<'_> {
    /// The best replica of this member that answers and has keys.
    pub(super) fn living_heir(&self, me: &Node) -> Option<(SocketAddr, &Inspection)> {
        let follows = |i: &Inspection| i.nodes.myself().is_some_and(|n| n.master == Some(me.id));
        // A replica that has read its log and has not met its master since has all keys and an offset
        // of 0: the offset only ranks those that have one.
        let with_data: Vec<_> = self
            .weighing
            .living()
            .filter(|(_, i)| follows(i) && i.keys > 0 && !self.copies_another(i, me.id))
            .collect();
        // Whoever was linked to this member until it stopped has all that it had; offsets of streams
        // that have parted say nothing.
        let last = with_data.iter().filter_map(|(_, i)| i.linked_ago).min();
        let to_the_end = |i: &Inspection| {
            last.is_none_or(|last| i.linked_ago.is_some_and(|ago| ago <= last + TOGETHER.0))
        };
        with_data
            .into_iter()
            .filter(|(_, i)| to_the_end(i))
            .max_by_key(|(_, i)| (i.offset, self.synced(i), i.keys))
    }

    /// Whether a member that is coming may have newer data than this one, which has been started since
    /// the master stopped.
    pub(super) fn may_be_better(&self, mate: &Mate, heir: &Inspection) -> bool {
        let id = heir.nodes.myself().map(|n| n.id);
        let of = |m: &&Member| m.disk.identity.as_ref().map(|i| i.node_id) == id;
        let own = self.view.and_then(|view| view.members.values().find(of));
        let own = own.map(Newness::of).unwrap_or_default();
        mate.comes && heir.linked_ago.is_none() && mate.newness.may_be_newer_than(own)
    }

    /// Whether a living replica's data are older than what counts as fresh, beside those of a member that
    /// is not there yet.
    pub(super) fn is_outdated(&self, heir: &Inspection, mate: &Mate) -> bool {
        let fresh = self.view.is_some_and(|view| view.heirs == HeirPolicy::Fresh);
        let newest = mate.last_alive().zip(self.synced(heir));
        fresh && newest.is_some_and(|(newest, own)| newest.saturating_sub(own) > BOUND)
    }

    /// A living member with data that takes itself for the master of this one's slots, at a lower epoch:
    /// it is back, and nobody has told it yet.
    pub(super) fn deposed_before(&self, me: &Node) -> Option<NodeId> {
        let shares = |n: &Node| overlap(&n.slots, &me.slots);
        let of = |i: &Inspection| {
            let own = i.nodes.myself().filter(|n| n.id != me.id && n.is_master())?;
            (own.config_epoch < me.config_epoch && i.keys > 0 && shares(own)).then_some(own.id)
        };
        self.weighing.living().find_map(|(_, i)| of(i))
    }
}
