//! Whether a set may have a life behind it, as the registry judges it.
//!
//! Guarantees: the judge is the real one ([`cluster::past`]); here is only what it is shown.

use cluster::past::{Claim, Facts, Made, SetFacts, past};

use super::Record;
use crate::kube::NAME;
use crate::schedule::Management;
use crate::world::World;

/// The name of the set's claim template.
const TEMPLATE: &str = "data";

impl World {
    /// Why it may, one sentence each.
    pub fn reasons(&self, set: usize, ordinal: u32, record: &Record) -> Vec<String> {
        let s = &self.sets[set];
        let claims = s.claims.iter().map(|(ordinal, claim)| Claim {
            name: format!("{TEMPLATE}-{}", s.pod_name(*ordinal)),
            created: made(claim.created),
            restored: claim.restored,
        });
        let facts = SetFacts {
            name: NAME.to_owned(),
            created: made(s.created),
            start: 0,
            parallel: self.schedule.config.pods == Management::Parallel,
            templates: vec![TEMPLATE.to_owned()],
        };
        past(&Facts {
            cluster: NAME,
            pod: &s.pod_name(ordinal),
            plan: &record.plan,
            recorded: made(record.created),
            restored: record.restored,
            sets: &[facts],
            claims: &claims.collect::<Vec<_>>(),
            pods: &s.seen(),
            members: &record.members,
        })
    }
}

fn made(at: u64) -> Made {
    Made(i64::try_from(at).unwrap_or(i64::MAX))
}
