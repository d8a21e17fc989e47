//! Files made from what others know, for a member whose own file is lost or can not be read.
//!
//! Guarantees: a file is made only from sketches that agree: every slot has one owner, every
//! replica a listed master, the own id a place. No vote is given twice: what this member voted in
//! is not known any more, so it votes only in epochs that have not been.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::chain::{End, ends};
use super::{Endpoint, Flag, Format, Line, Node, NodesConf, Target, Vars};
use crate::id::{NodeId, ShardId};
use crate::net::Address;
use crate::slot::SlotRange;

/// What is known of one node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sketch {
    /// Its id.
    pub id: NodeId,
    /// Where it is, if that is certain.
    pub address: Option<Address>,
    /// What it does.
    pub duty: Duty,
    /// The shard it belongs to, if that is known.
    pub shard_id: Option<ShardId>,
}

/// What a node does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Duty {
    /// It owns these slots since this epoch.
    Master {
        /// None for a master without any.
        slots: Vec<SlotRange>,
        /// Its `configEpoch`.
        config_epoch: u64,
    },
    /// It copies this master.
    Replica {
        /// The master.
        of: NodeId,
    },
}

/// Sketches that do not make a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AssembleError {
    /// The member that the file is for is not among them.
    NoOwnSketch(NodeId),
    /// Two sketches are of one node.
    Twice(NodeId),
    /// Two masters claim a slot.
    TwoOwners {
        /// A range of the one.
        range: SlotRange,
        /// A range of the other.
        other: SlotRange,
    },
    /// The master of a replica is not among them, or is no master.
    NoMaster {
        /// The replica.
        replica: NodeId,
        /// Whom it is said to copy.
        of: NodeId,
    },
}

// === impl NodesConf ===

impl NodesConf {
    /// A file for `me` from sketches of all nodes, `me` included.
    ///
    /// `current_epoch` is the highest one that anybody is known to have been in; where an owner's
    /// epoch is above it, that one counts. `lastVoteEpoch` is the same.
    ///
    /// # Errors
    /// If the sketches contradict each other or leave something out.
    pub fn assemble(
        me: NodeId,
        sketches: impl IntoIterator<Item = Sketch>,
        current_epoch: u64,
        target: Target,
    ) -> Result<Self, AssembleError> {
        let mut nodes = BTreeMap::new();
        for sketch in sketches {
            if let Some(twice) = nodes.insert(sketch.id, sketch) {
                return Err(AssembleError::Twice(twice.id));
            }
        }
        check(me, &nodes)?;
        let owners = nodes.values().filter_map(|sketch| match sketch.duty {
            Duty::Master { config_epoch, .. } => Some((sketch.id, config_epoch)),
            Duty::Replica { .. } => None,
        });
        let epochs: BTreeMap<NodeId, u64> = owners.collect();
        let highest = epochs.values().copied().max().unwrap_or(0);
        let mut vars = Vars { current_epoch: current_epoch.max(highest), last_vote_epoch: 0 };
        let mut lines = Vec::new();
        for sketch in nodes.into_values() {
            lines.push(Line::from(sketch.node(me, target.format(), &epochs)));
        }
        vars.last_vote_epoch = vars.current_epoch;
        lines.push(Line::from(vars));
        let mut conf = Self { lines, damage: Vec::new() };
        conf.agree_on_shards();
        conf.settle();
        Ok(conf)
    }

    /// What this file, or a living server's answer to CLUSTER NODES, knows of all nodes. Left out
    /// is who does not count: handshakes, nodes without an address that nothing depends on, and replicas whose
    /// master can not be told.
    pub fn sketches(&self) -> Vec<Sketch> {
        let followed: BTreeSet<NodeId> = self.nodes().filter_map(|node| node.master).collect();
        let counts = |node: &&Node| {
            let idle = node.slots.is_empty() && !followed.contains(&node.id);
            let lost = node.flags.contains(&Flag::NoAddress) && idle;
            let mine = node.flags.contains(&Flag::Myself);
            mine || !(lost || node.flags.contains(&Flag::Handshake))
        };
        let nodes: Vec<&Node> = self.nodes().filter(counts).collect();
        let ends = ends(&nodes.iter().map(|n| (n.id, n.master)).collect());
        let is_master = |node: &&&Node| node.role() == Some(Flag::Master);
        let masters: BTreeSet<NodeId> = nodes.iter().filter(is_master).map(|n| n.id).collect();
        let duty = |node: &Node| match (node.role()?, node.master, ends.get(&node.id)?) {
            (Flag::Master, None, _) => {
                Some(Duty::Master { slots: node.slots.clone(), config_epoch: node.config_epoch })
            }
            (Flag::Replica, Some(_), End::At(of)) if masters.contains(of) => {
                Some(Duty::Replica { of: *of })
            }
            _ => None,
        };
        let sketch = |node: &Node| {
            Some(Sketch {
                id: node.id,
                address: node.endpoint.address().filter(|a| a.client().is_some()),
                duty: duty(node)?,
                shard_id: node.endpoint.shard_id(),
            })
        };
        nodes.into_iter().filter_map(sketch).collect()
    }
}

fn check(me: NodeId, nodes: &BTreeMap<NodeId, Sketch>) -> Result<(), AssembleError> {
    if !nodes.contains_key(&me) {
        return Err(AssembleError::NoOwnSketch(me));
    }
    let mut ranges: Vec<SlotRange> = Vec::new();
    for sketch in nodes.values() {
        match &sketch.duty {
            Duty::Master { slots, .. } => ranges.extend(slots),
            Duty::Replica { of } => match nodes.get(of).map(|master| &master.duty) {
                Some(Duty::Master { .. }) => {}
                _ => return Err(AssembleError::NoMaster { replica: sketch.id, of: *of }),
            },
        }
    }
    ranges.sort_unstable();
    match ranges.windows(2).find(|pair| pair[0].overlaps(pair[1])) {
        Some(pair) => Err(AssembleError::TwoOwners { range: pair[0], other: pair[1] }),
        None => Ok(()),
    }
}

// === impl Sketch ===

impl Sketch {
    /// A replica's line bears its master's epoch, as in the files of engines.
    fn node(self, me: NodeId, format: Format, epochs: &BTreeMap<NodeId, u64>) -> Node {
        let mine = self.id == me;
        let mut endpoint = Endpoint::unknown();
        if format == Format::Aux {
            endpoint.set_aux("tls-port", "0".to_owned());
            if let Some(shard) = self.shard_id {
                endpoint.set_aux("shard-id", shard.to_string());
            }
        }
        endpoint.point_at(self.address.as_ref());
        let (role, master, slots, config_epoch) = match self.duty {
            Duty::Master { slots, config_epoch } => (Flag::Master, None, slots, config_epoch),
            Duty::Replica { of } => {
                let epoch = epochs.get(&of).copied().unwrap_or(0);
                (Flag::Replica, Some(of), Vec::new(), epoch)
            }
        };
        let mut flags = BTreeSet::from([role]);
        if mine {
            flags.insert(Flag::Myself);
        }
        Node {
            id: self.id,
            endpoint,
            flags,
            master,
            ping_sent: 0,
            pong_received: 0,
            config_epoch,
            link: if mine { "connected" } else { "disconnected" }.to_owned(),
            slots,
            open_slots: Vec::new(),
        }
    }
}

// === impl AssembleError ===

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOwnSketch(id) => {
                write!(f, "it is not known what the node {id} did, so no file can be made for it")
            }
            Self::Twice(id) => write!(f, "the node {id} is described twice"),
            Self::TwoOwners { range, other } => {
                write!(f, "two masters claim slots: {range} of one and {other} of another")
            }
            Self::NoMaster { replica, of } => {
                write!(f, "{replica} is said to copy {of}, which is not known as a master")
            }
        }
    }
}

impl std::error::Error for AssembleError {}
