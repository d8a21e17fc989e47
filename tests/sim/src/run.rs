//! Runs of schedules.

use crate::generate;
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

/// Runs the schedules of these seeds until one fails; adds up what happened.
pub fn run_seeds(
    seeds: impl IntoIterator<Item = u64>,
    mutation: Option<Mutation>,
    counts: &mut Counts,
) -> Option<Failure> {
    seeds.into_iter().find_map(|seed| {
        let schedule = generate::schedule(seed);
        let outcome = run(&schedule, mutation, Trace::Silent);
        counts.add(&outcome.counts);
        outcome.violation.map(|violation| Failure { schedule, violation })
    })
}
