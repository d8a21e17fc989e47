//! Where the masters of replicas lead: engines follow a replica of a replica to the master.
//!
//! Guarantees: every node gets an answer, whatever the masters are; time in proportion to nodes.

use std::collections::BTreeMap;

use crate::id::NodeId;

/// Where a node's masters lead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// To this node, which copies nobody; for a master itself.
    At(NodeId),
    /// To this node, whose master is not listed.
    Lost(NodeId),
    /// Round in a circle, of which this is the node with the lowest id.
    Circle(NodeId),
}

/// The ends for all nodes, each given with its master.
pub(super) fn ends(masters: &BTreeMap<NodeId, Option<NodeId>>) -> BTreeMap<NodeId, End> {
    let mut ends: BTreeMap<NodeId, End> = BTreeMap::new();
    for start in masters.keys() {
        let mut path: Vec<NodeId> = Vec::new();
        let mut places: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut at = *start;
        let end = loop {
            if let Some(end) = ends.get(&at) {
                break *end;
            }
            if let Some(place) = places.insert(at, path.len()) {
                break End::Circle(path[place..].iter().min().copied().unwrap_or(at));
            }
            path.push(at);
            match masters.get(&at).copied().flatten() {
                None => break End::At(at),
                Some(next) if !masters.contains_key(&next) => break End::Lost(at),
                Some(next) => at = next,
            }
        };
        ends.extend(path.into_iter().map(|id| (id, end)));
    }
    ends
}

// === impl End ===

impl End {
    /// The node that stands for the whole chain.
    pub(super) fn id(self) -> NodeId {
        match self {
            Self::At(id) | Self::Lost(id) | Self::Circle(id) => id,
        }
    }
}
