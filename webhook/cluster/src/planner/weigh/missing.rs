//! Who a blank member was whose record is lost: the one that all others miss.
//!
//! Starting under another id would not only leave its slots without an owner. Where it has the
//! address of the one that it was, as with `hostNetwork`, the replicas of that one copy it, and
//! throw away the only data that are left.
//!
//! Or the one that the plan makes it, where the record was rolled back to when it had not begun, or may
//! have been, and those that run know that one.
//!
//! Guarantees: the missing one is known only where every other pod of the set has said which node it
//! is, where one node is missing and no more, and where nobody reaches that one. Where pods that run do
//! not answer, and more nodes are missing than those, nobody takes another id.

use std::collections::{BTreeMap, BTreeSet};

use super::{Step, Weak, is_new};
use crate::id::NodeId;
use crate::nodes::{Flag, Node, NodesConf};
use crate::protocol::{Member, Pod};

/// A node that is not in any other pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Gone {
    /// All have given it up.
    Certainly(NodeId),
    /// Not all have noticed.
    NotYet(NodeId),
    /// One of several, the others of which are in pods that run and do not answer.
    OneOfSeveral,
}

// === impl Weak ===

impl Weak<'_> {
    /// Its id, once that is certain.
    pub(super) fn the_one_missing(&self) -> Option<NodeId> {
        match self.gone()? {
            Gone::Certainly(id) => Some(id),
            Gone::NotYet(_) | Gone::OneOfSeveral => None,
        }
    }

    /// What is done instead of starting under another id, while it is not certain yet.
    pub(super) fn not_a_guest_yet(&self) -> Option<Step> {
        let (what, may_be) = match self.gone()? {
            Gone::Certainly(_) => return None,
            Gone::NotYet(id) => (
                format!("all others to notice that {id} is gone"),
                format!("it may be {id}, which not all others have given up"),
            ),
            Gone::OneOfSeveral => (
                "the members that do not answer".to_owned(),
                "members that run do not answer, so that it can not be told from them: see that they \
                 can be reached"
                    .to_owned(),
            ),
        };
        if self.patient() {
            return Some(Step::Wait(what));
        }
        Some(self.refuse(format!(
            "this member's disk is empty, the record does not know who it was, and {may_be}; trying again"
        )))
    }

    /// The plan's id for this pod, if a member knows it, or has had an answer from it once (in CLUSTER
    /// NODES: `pong-recv`), and no other one is it.
    pub(super) fn who_it_was_by_plan(&self) -> Option<NodeId> {
        let view = self.view.filter(|_| matches!(self.conf, Ok(None)) && !self.data)?;
        view.plan.seat(view.ordinal)?;
        let id = view.plan.node_id(view.ordinal);
        // Where the record says that it is new, being listed says nothing: all who began list it.
        let new = is_new(view);
        let counts =
            |nodes: &NodesConf| nodes.node(id).is_some_and(|n| !new || n.pong_received > 0);
        let known = self.weighing.living().any(|(_, i)| counts(&i.nodes));
        let named = |(name, m): (&String, &Member)| *name != view.pod && m.node_id == Some(id);
        let at = self.weighing.by_id(id).map(|(at, _)| at.ip());
        let there = |(name, pod): (&String, &Pod)| {
            *name != view.pod && at.is_some_and(|ip| pod.ips.contains(&ip))
        };
        let taken = view.members.iter().any(named) || view.pods.iter().any(there);
        (known && !taken && !view.forgotten.contains(&id)).then_some(id)
    }

    fn gone(&self) -> Option<Gone> {
        let blank = matches!(self.conf, Ok(None)) && !self.data;
        let view = self.view.filter(|view| blank && !is_new(view))?;
        let tables: BTreeMap<NodeId, &NodesConf> = self
            .weighing
            .living()
            .filter_map(|(_, i)| Some((i.nodes.myself()?.id, &i.nodes)))
            .collect();
        let others = usize::try_from(view.replicas).ok()?.checked_sub(1)?;
        let silent = others.checked_sub(tables.len())?;
        let missing: BTreeSet<NodeId> = tables
            .values()
            .flat_map(|nodes| nodes.nodes().filter(|n| counts(n, nodes)))
            .map(|n| n.id)
            .filter(|id| !tables.contains_key(id) && !view.forgotten.contains(id))
            .collect();
        if silent > 0 {
            let runs =
                |(name, pod): &(&String, &Pod)| **name != view.pod && pod.running && !pod.deleting;
            let run = view.pods.iter().filter(runs).count();
            let several = run >= others && missing.len() > silent;
            return several.then_some(Gone::OneOfSeveral);
        }
        let id = *missing.first().filter(|_| missing.len() == 1)?;
        let given_up = |nodes: &&NodesConf| nodes.node(id).is_none_or(is_out);
        let owned = |nodes: &&NodesConf| {
            let followed = nodes.nodes().any(|n| n.master == Some(id));
            followed || nodes.node(id).is_some_and(|n| !n.slots.is_empty())
        };
        match (tables.values().all(given_up), tables.values().any(owned)) {
            (true, _) => Some(Gone::Certainly(id)),
            (false, true) => Some(Gone::NotYet(id)),
            // Nobody misses a replica.
            (false, false) => None,
        }
    }
}

/// Whether something depends on a node: it owns slots, is followed, or follows somebody.
fn counts(node: &Node, nodes: &NodesConf) -> bool {
    let followed = nodes.nodes().any(|n| n.master == Some(node.id));
    let greeted = !node.flags.contains(&Flag::Handshake);
    greeted && (!node.slots.is_empty() || followed || node.master.is_some())
}

/// Engines do not look for a node whose address they do not know, and never call it failed.
fn is_out(node: &Node) -> bool {
    let flagged = node.flags.contains(&Flag::Failing) || node.flags.contains(&Flag::NoAddress);
    flagged || node.endpoint.address().is_none()
}
