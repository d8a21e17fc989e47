//! A shard's slots pass from its master to an heir, by file and without a vote.
//!
//! Guarantees: slots go as a whole and to one node; their owner's epoch never falls; a file is
//! changed as a whole or not at all.

use std::fmt;

use super::{Flag, Node, NodesConf};
use crate::id::NodeId;
use crate::slot::{SlotRange, overlap};

/// The heir of this node's slots is not in its own file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownHeir(pub NodeId);

/// A succession that can not be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SuccessionError {
    /// The own line is not a replica's.
    NoReplica,
    /// The own line's master has no line, or that line is not a master's.
    NoMaster(NodeId),
    /// Somebody in the file has an epoch as high, so others need not believe it.
    OldEpoch {
        /// The epoch that was to be written.
        epoch: u64,
        /// The highest one in the file.
        highest: u64,
    },
}

// === impl NodesConf ===

impl NodesConf {
    /// Turns the own line into a replica of `heir`, which owns its slots at `epoch`.
    ///
    /// # Errors
    /// If the heir has no line: then nothing is changed.
    pub fn step_down(&mut self, heir: NodeId, epoch: u64) -> Result<(), UnknownHeir> {
        // The id of a handshake is not the node's own yet.
        let known = |node: &&Node| node.id == heir && !node.flags.contains(&Flag::Handshake);
        let me = self.myself().filter(|me| me.id != heir).map(|me| me.config_epoch);
        let Some(own_epoch) = me.filter(|_| self.nodes().any(|node| known(&node))) else {
            return Err(UnknownHeir(heir));
        };
        let epoch = epoch.max(own_epoch);
        self.one_vars_line();
        let mut slots = Vec::new();
        let mut own = None;
        for node in self.nodes_mut().filter(|n| n.flags.contains(&Flag::Myself)) {
            slots = std::mem::take(&mut node.slots);
            node.follow(heir);
            own = Some(node.id);
        }
        for node in self.nodes_mut() {
            if node.id == heir {
                node.flags.remove(&Flag::Replica);
                node.flags.insert(Flag::Master);
                node.master = None;
                node.config_epoch = node.config_epoch.max(epoch);
                node.slots.extend(&slots);
            } else if node.master == own {
                node.master = Some(heir);
            }
        }
        self.raise_epoch(epoch);
        self.agree_on_shards();
        Ok(())
    }

    /// Raises the epoch at which the own line, a master's, owns its slots.
    pub fn own_from(&mut self, epoch: u64) {
        self.one_vars_line();
        let mine = |n: &&mut Node| n.flags.contains(&Flag::Myself) && n.master.is_none();
        for node in self.nodes_mut().filter(mine) {
            node.config_epoch = node.config_epoch.max(epoch);
        }
        self.raise_epoch(epoch);
    }

    /// Turns the own line, a replica's, into the master of its shard from `epoch` on: it takes the
    /// former master's slots, and the former master and its other replicas follow it. Nobody has to
    /// vote or to be told: the higher epoch wins.
    ///
    /// # Errors
    /// If the own line is no replica of a listed master, or the epoch is not above every owner's:
    /// then nothing is changed.
    pub fn succeed(&mut self, epoch: u64) -> Result<(), SuccessionError> {
        let me = self.myself().map(|me| (me.id, me.master));
        let Some((me, Some(former))) = me else { return Err(SuccessionError::NoReplica) };
        let Some(master) = self.node(former).filter(|node| node.is_master()) else {
            return Err(SuccessionError::NoMaster(former));
        };
        let slots = master.slots.clone();
        let highest = self.nodes().filter(|n| n.is_master()).map(|n| n.config_epoch).max();
        if let Some(highest) = highest.filter(|highest| *highest >= epoch) {
            return Err(SuccessionError::OldEpoch { epoch, highest });
        }
        self.one_vars_line();
        for node in self.nodes_mut() {
            if node.id == me {
                node.flags.remove(&Flag::Replica);
                node.flags.insert(Flag::Master);
                node.master = None;
                node.config_epoch = epoch;
                node.slots.clone_from(&slots);
                node.open_slots.retain(|open| fits(open, &slots));
            } else if node.id == former {
                node.follow(me);
            } else if node.master == Some(former) {
                node.master = Some(me);
            }
        }
        self.raise_epoch(epoch);
        self.agree_on_shards();
        Ok(())
    }
}

// === impl Node ===

impl Node {
    /// Makes it a replica of `master`.
    fn follow(&mut self, master: NodeId) {
        self.flags.remove(&Flag::Master);
        self.flags.insert(Flag::Replica);
        self.master = Some(master);
        self.config_epoch = 0;
        self.slots.clear();
        self.open_slots.clear();
    }
}

/// Whether an open slot makes sense for the owner of these slots: it gives what it has, or takes
/// what it has not.
fn fits(open: &str, slots: &[SlotRange]) -> bool {
    let inner = open.trim_start_matches('[');
    let Some((slot, rest)) = inner.split_once('-') else { return false };
    SlotRange::parse(slot).is_ok_and(|slot| overlap(slots, &[slot]) == rest.starts_with('>'))
}

// === impl SuccessionError ===

impl fmt::Display for SuccessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReplica => {
                f.write_str("the own line is not a replica's, so it succeeds nobody")
            }
            Self::NoMaster(id) => write!(f, "the own line's master {id} is not listed as a master"),
            Self::OldEpoch { epoch, highest } => write!(
                f,
                "the succession's epoch {epoch} is not above {highest}, which the file already has"
            ),
        }
    }
}

impl std::error::Error for SuccessionError {}
