//! Whether a set may have a life behind it, by the registry's rules.
//!
//! The rules are the real ones, written again: the real ones are bound to the API server's types.

use cluster::id::Ordinal;

use super::Record;
use crate::kube::{Claim, NAME};
use crate::world::World;

/// A record of a new set comes that much after its first claims at most.
const MOMENT: u64 = 10_000;
/// What clocks differ by.
const CLOCK: u64 = 1000;

impl World {
    /// Why it may, one sentence each.
    pub fn reasons(&self, set: usize, record: &Record) -> Vec<String> {
        let s = &self.sets[set];
        let mut reasons = Vec::new();
        for (ordinal, claim) in &s.claims {
            let name = s.pod_name(*ordinal);
            if claim.restored {
                reasons.push(format!("the claim of {name} was restored from a copy"));
            } else if is_older(claim, record.created, s.created) {
                reasons.push(format!("the claim of {name} is older than the record"));
            }
        }
        for (name, member) in &record.members {
            let planned = Ordinal::of_pod(name, NAME)
                .filter(|ordinal| record.plan.seat(*ordinal).is_some())
                .map(|ordinal| record.plan.node_id(ordinal));
            if let Some(identity) = &member.disk.identity
                && Some(identity.node_id) != planned
            {
                reasons.push(format!("{name} has a node id that is not the plan's"));
            }
        }
        reasons
    }
}

fn is_older(claim: &Claim, recorded: u64, created: u64) -> bool {
    let new_set = created + MOMENT >= recorded;
    let of_this_set = claim.created + CLOCK >= created;
    claim.created < recorded && !(new_set && of_this_set)
}
