//! Runs of schedules.

use std::fmt;

use crate::invariants::{Counts, Violation};
use crate::mutation::Mutation;
use crate::schedule::Schedule;
use crate::trace::Trace;
use crate::world::World;

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The invariant that does not hold.
    pub violation: Option<Violation>,
    /// What happened how often.
    pub counts: Counts,
}

/// A schedule that fails.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What happens.
    pub schedule: Schedule,
    /// And what does not hold.
    pub violation: Violation,
}

/// Runs a schedule.
pub fn run(schedule: &Schedule, mutation: Option<Mutation>, trace: Trace) -> Outcome {
    let mut world = World::new(schedule.clone(), mutation, trace);
    world.run();
    Outcome { violation: world.violation, counts: world.counts }
}

// === impl Failure ===

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}", self.schedule, self.violation)
    }
}
