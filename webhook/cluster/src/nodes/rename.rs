//! New names for a whole cluster, for a copy of it that lives beside the original.
//!
//! Guarantees: every member maps the same name and salt to the same new name, and no two names to
//! one (SHA-256); epochs and votes stay, so that the copy's members agree as the original's did.
//! Two clusters that share ids merge as soon as an address passes from one to the other.

use sha2::{Digest, Sha256};

use super::{Damage, Line, NodesConf};
use crate::id::{NodeId, ShardId};

/// The new id of a node.
pub fn renamed(id: NodeId, salt: &str) -> NodeId {
    NodeId::from_digest(&digest("node", salt, id.as_str()))
}

/// The new id of a shard.
pub fn renamed_shard(id: ShardId, salt: &str) -> ShardId {
    ShardId::from_digest(&digest("shard", salt, id.as_str()))
}

fn digest(what: &str, salt: &str, old: &str) -> [u8; 32] {
    Sha256::digest(format!("mooring renamed {what}\0{salt}\0{old}")).into()
}

// === impl NodesConf ===

impl NodesConf {
    /// Gives every node and every shard its new name, wherever the file mentions it.
    pub fn rename(&mut self, salt: &str) {
        for line in &mut self.lines {
            let Line::Node { now: node, .. } = line else { continue };
            node.id = renamed(node.id, salt);
            node.master = node.master.map(|master| renamed(master, salt));
            for open in &mut node.open_slots {
                *open = renamed_open_slot(open, salt);
            }
            for (_, value) in node.endpoint.aux.iter_mut().filter(|(name, _)| name == "shard-id") {
                if let Ok(shard) = value.parse() {
                    *value = renamed_shard(shard, salt).to_string();
                }
            }
        }
        for damage in &mut self.damage {
            if let Damage::NoRole(id) = damage {
                *id = renamed(*id, salt);
            }
        }
    }
}

/// `[slot->-id]` or `[slot-<-id]`: the id is what stands between the last dash and the bracket.
fn renamed_open_slot(open: &str, salt: &str) -> String {
    let parts = open.strip_suffix(']').and_then(|inner| inner.rsplit_once('-'));
    match parts.map(|(before, id)| (before, id.parse())) {
        Some((before, Ok(id))) => format!("{before}-{}]", renamed(id, salt)),
        _ => open.to_owned(),
    }
}
