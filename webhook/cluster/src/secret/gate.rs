//! Whether a server that has just started may be copied.
//!
//! A master that is restarted in place (its container was killed, its init containers did not run)
//! and comes back empty inside the node timeout is still the master, and its replicas empty
//! themselves. Where they show a secret it is not copied until its hook has set the user; this is
//! what the hook looks at first.
//!
//! Guarantees: nobody is promoted who is linked to this server, who has no data, or who has no
//! links to a majority of the other masters, since then nobody is elected and the next attempt
//! waits for four node timeouts.

use std::net::SocketAddr;

use crate::id::NodeId;
use crate::planner::{Inspected, Inspection, Link, has_majority};
use crate::slot::covers;

/// What comes next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Gate {
    /// Nothing is lost if this server is copied.
    Open,
    /// This replica has the data and can be elected.
    Promote {
        /// Where it is.
        at: SocketAddr,
        /// Who it is.
        id: NodeId,
    },
    /// Look again in a moment; the text says for what.
    Wait(String),
}

/// How long to look: as long as the engine itself tries to elect, and the votes before it.
pub const PATIENCE_MS: u64 = 8_000;

/// The replicas of a server, by its own word, where their addresses are known.
pub fn replicas(me: &Inspection) -> Vec<SocketAddr> {
    let Some(own) = me.nodes.myself() else { return Vec::new() };
    let mine = me.nodes.nodes().filter(|n| n.master == Some(own.id));
    mine.filter_map(|n| n.endpoint.address()?.client()).collect()
}

/// Judges a server by what it says and what its replicas say.
pub fn look(me: &Inspection, mates: &[(SocketAddr, Inspected)]) -> Gate {
    let Some(own) = me.nodes.myself() else { return Gate::Wait("its own line".to_owned()) };
    if !own.is_master() || own.slots.is_empty() || me.keys > 0 {
        return Gate::Open;
    }
    let known = mates.iter().filter_map(|(at, found)| match found {
        Inspected::Node(i) => Some((*at, &**i, i.nodes.myself()?)),
        Inspected::Nobody | Inspected::Unclear => None,
    });
    let owns = known.clone().find(|(_, _, them)| {
        them.id != own.id
            && them.is_master()
            && covers(&them.slots, &own.slots)
            && them.config_epoch > own.config_epoch
    });
    if let Some((_, _, owner)) = owns {
        return Gate::Wait(format!("word that {} owns the slots now", owner.id));
    }
    // Whoever is linked copies this server already: there is nothing left to be saved.
    let heirs = known.filter(|(_, mate, them)| {
        them.master == Some(own.id) && mate.keys > 0 && mate.link == Some(Link::Down)
    });
    match heirs.max_by_key(|(_, mate, _)| mate.offset) {
        Some((at, mate, them)) if has_majority(&mate.nodes, own.id) => {
            Gate::Promote { at, id: them.id }
        }
        Some((_, _, them)) => Gate::Wait(format!("masters that can elect {}", them.id)),
        // One that is busy may have them all; one that is not there can not be saved by waiting.
        None if mates.iter().any(|(_, found)| *found == Inspected::Unclear) => {
            Gate::Wait("a replica that does not say what it has".to_owned())
        }
        None => Gate::Open,
    }
}
