//! What has to hold, whatever happens.
//!
//! Guarantees: each invariant has a name and a sentence; the first one that does not hold ends
//! the run. The world's own knowledge is used, never the planner's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::data::{Excuse, Writes};
use crate::ids::{Nid, ProcId};
use crate::units::Unit;
use crate::world::World;

mod end;
mod owners;
mod writes;

pub use end::BOUND;
pub use writes::{HEARTBEAT, Knowledge, SUCCESSION};

/// An invariant.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Invariant {
    /// 1: an empty server is never started as the owner of slots whose data are elsewhere.
    EmptyOwner,
    /// 2: no two owners of a slot take writes longer than the engine alone would let them, and no
    /// two files claim one slot at one epoch.
    TwoOwners,
    /// 3: a stale master takes no write that is thrown away later, where that could be known.
    StaleWrite,
    /// 4: no second cluster is founded in a set that has a past.
    SecondCluster,
    /// 5: what an intact disk or a living member has is not lost.
    LostWrite,
    /// 6: two clusters never merge.
    Merged,
    /// 7: nothing waits for ever.
    Stuck,
    /// 8: a node that was forgotten on purpose does not come back from a file.
    Forgotten,
    /// 9: every step ends, in time and in so many actions.
    EndlessStep,
}

/// One that does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Who and what.
    pub message: String,
    /// When.
    pub at: u64,
}

/// What happened how often.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Steps that began.
    pub steps: u64,
    /// Steps that refused.
    pub refusals: u64,
    /// Replicas that a step made masters.
    pub forces: u64,
    /// Guests that met somebody.
    pub joins: u64,
    /// Acknowledged writes.
    pub writes: u64,
    /// Writes that may be lost, by reason.
    pub excused: BTreeMap<Excuse, u64>,
    /// Sets that are left to somebody else than the step, by why.
    pub left: BTreeMap<String, u64>,
    /// How long it took after the faults until all was well.
    pub recovery: u64,
    /// The longest step, in milliseconds.
    pub longest_step: u64,
}

/// What the invariants remember.
#[derive(Debug, Default)]
pub struct Watch {
    /// Since when two servers take writes of a unit of a set.
    pub two: BTreeMap<(usize, Unit), u64>,
    /// Since when all is well.
    pub well_since: Option<u64>,
    /// Whether the run is over.
    pub over: bool,
    /// Writes that came with a copy of the disks, and are the copy's own as well.
    pub copied: Writes,
    /// Whose ids they are.
    pub ids: BTreeMap<Nid, usize>,
    /// What an ordinal's step knew of owners at a higher epoch when it let its server start.
    pub known_at_start: BTreeMap<(usize, u32), Knowledge>,
    /// Ordinals whose disk was damaged, so that their step may leave it to a person.
    pub spoiled: BTreeSet<(usize, u32)>,
    /// Replicas that were not made masters by themselves, and have said so.
    pub undecided: BTreeSet<ProcId>,
    /// Nodes that were forgotten on purpose, and by which set.
    pub forgotten: BTreeSet<(usize, Nid)>,
    /// Sets of which a server was started without the registry, which alone knows that.
    pub untold: BTreeSet<usize>,
    /// Sets whose record was lost, or is older than what happened: a copy has none of its own.
    pub unrecorded: BTreeSet<usize>,
    /// Sets whose record is older than the beginning of their cluster.
    pub behind: BTreeSet<usize>,
    /// Units that were moved from one shard to another.
    pub moved: BTreeSet<(usize, Unit)>,
    /// When a person has deleted the pods that had started without the registry.
    pub helped: Option<u64>,
}

// === impl World ===

impl World {
    /// An invariant does not hold.
    pub fn violated(&mut self, invariant: Invariant, message: String) {
        let at = self.now();
        self.tell(|| format!("VIOLATED {invariant:?}: {message}"));
        self.violation.get_or_insert(Violation { invariant, message, at });
    }

    /// A step goes on and on.
    pub fn step_does_not_end(&mut self, set: usize, ordinal: u32, actions: u32) {
        let name = self.sets[set].full_name(ordinal);
        let text = format!("the step of {name} has not ended after {actions} actions");
        self.violated(Invariant::EndlessStep, text);
    }

    /// Counts at the end of a run.
    pub fn sum_up(&mut self) {
        self.counts.writes = self.ledger.all().len() as u64;
        for excuse in self.ledger.all().iter().filter_map(|w| w.excuse) {
            *self.counts.excused.entry(excuse).or_default() += 1;
        }
    }
}

// === impl Violation ===

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} does not hold at {} ms: {}", self.invariant, self.at, self.message)
    }
}

// === impl Counts ===

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.steps += other.steps;
        self.refusals += other.refusals;
        self.forces += other.forces;
        self.joins += other.joins;
        self.writes += other.writes;
        self.recovery = self.recovery.max(other.recovery);
        self.longest_step = self.longest_step.max(other.longest_step);
        for (excuse, count) in &other.excused {
            *self.excused.entry(*excuse).or_default() += count;
        }
        for (why, count) in &other.left {
            *self.left.entry(why.clone()).or_default() += count;
        }
    }
}
