//! What has to hold, whatever happens.
//!
//! Guarantees: each invariant has a name and a sentence; the first one that does not hold ends
//! the run. The world's own knowledge is used, never the planner's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cluster::protocol::View;

use crate::data::{Excuse, Stale, Writes};
use crate::disk::{Claim, DiskId};
use crate::engine::Owner;
use crate::ids::{Nid, ProcId};
use crate::schedule::Management;
use crate::units::{Unit, UnitSet};
use crate::world::{StaleStart, World};

mod end;

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
    /// 8: every step ends, in time and in so many actions.
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
    /// Runs that end where a person has to decide, by what the step says.
    pub human: BTreeMap<String, u64>,
    /// How long it took after the faults until all was well.
    pub recovery: u64,
}

/// What the invariants remember.
#[derive(Debug, Default)]
pub struct Watch {
    /// Since when two servers take writes of a unit of a set.
    pub two: BTreeMap<(usize, Unit), u64>,
    /// Since when all is well.
    pub well_since: Option<u64>,
    /// When the faults ended.
    pub calm_at: u64,
    /// Whether the run is over.
    pub over: bool,
    /// Writes that came with a copy of the disks, and are the copy's own as well.
    pub copied: Writes,
    /// Whose ids they are: those of each set.
    pub ids: BTreeMap<Nid, usize>,
    /// Whether the step of an ordinal knew of an owner at a higher epoch when it let its server
    /// start, and whether that server may be held back.
    pub known_at_start: BTreeMap<(usize, u32), Knowledge>,
    /// The longest step.
    pub longest_step: u64,
    /// Ordinals whose disk a person has to look at.
    pub spoiled: BTreeSet<(usize, u32)>,
}

/// What a step knew when it ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Knowledge {
    /// The registry was there.
    pub view: bool,
    /// The record names somebody at a higher epoch.
    pub told: bool,
    /// Nobody else had come, and it may be held back.
    pub alone: bool,
}

// === impl World ===

impl World {
    /// An invariant does not hold.
    pub fn violated(&mut self, invariant: Invariant, message: String) {
        let at = self.now();
        self.tell(|| format!("VIOLATED {invariant:?}: {message}"));
        self.violation.get_or_insert(Violation { invariant, message, at });
    }

    // --- 1, and whether it is stale ---

    /// A server was started.
    pub fn check_start(&mut self, id: ProcId) {
        let proc = self.proc(id);
        let Owner::Pod { set, ordinal } = proc.with.owner else { return };
        let mine = proc.id();
        if let Some(other) = self.watch.ids.insert(mine, set)
            && other != set
        {
            let who = self.who(id);
            self.violated(Invariant::Merged, format!("{who} starts under an id of another set"));
        }
        let knowledge = self.watch.known_at_start.get(&(set, ordinal)).copied();
        let Some(claim) = self.proc(id).claim() else { return };
        let data = &self.proc(id).data;
        for unit in claim.units.each() {
            let all = self.ledger.of(self.units.count(), set, unit);
            if data.meets(all) || self.proc(id).with.persist && self.disk_is_kept_empty(id) {
                continue;
            }
            let elsewhere = self.elsewhere(set, id).and(all).without(self.ledger.excused());
            if !elsewhere.is_empty() {
                let (who, count) = (self.who(id), elsewhere.count());
                let text = format!("{who} starts empty as owner of {unit:?}, and {count} writes of it are elsewhere");
                return self.violated(Invariant::EmptyOwner, text);
            }
        }
        let above = claim.units.each().any(|u| self.owned_above(set, u, claim.epoch, id));
        self.about[id.0 as usize].stale = above.then(|| match knowledge {
            Some(k) if k.view && k.told => StaleStart::Known,
            Some(k) if k.view && k.alone => StaleStart::Alone,
            _ => StaleStart::Unknowable,
        });
    }

    fn disk_is_kept_empty(&self, _: ProcId) -> bool {
        false
    }

    /// All that living servers and disks of a set hold, without one server and its disk.
    fn elsewhere(&self, set: usize, but: ProcId) -> Writes {
        let mut all = Writes::default();
        for id in self.living(set).filter(|id| *id != but) {
            all.add(&self.proc(id).data);
        }
        let own = self.proc(but).with.disk;
        for (i, disk) in self.disks.iter().enumerate() {
            if disk.set == set && !disk.lost && Some(DiskId(i)) != own {
                all.add(&disk.data);
            }
        }
        all
    }

    /// Lets writes be lost that are nowhere any more. To be called when they are gone.
    pub fn excuse_if_last(&mut self, set: usize, gone: &Writes, excuse: Excuse) {
        let mut left = gone.and(&self.ledger.of_set(self.units.count(), set));
        for id in self.living(set) {
            left.remove(&self.proc(id).data);
        }
        for disk in self.disks.iter().filter(|d| d.set == set && !d.lost) {
            left.remove(&disk.data);
        }
        self.ledger.excuse(&left, excuse);
    }

    /// Whether somebody of a set owns a unit at a higher epoch: a living server, or a disk.
    pub fn owned_above(&mut self, set: usize, unit: Unit, epoch: u64, but: ProcId) -> bool {
        let above = |claim: Option<Claim>| {
            claim.is_some_and(|c| c.epoch > epoch && c.units.has(unit))
        };
        let living: Vec<_> = self.living(set).filter(|id| *id != but).collect();
        if living.iter().any(|id| above(self.proc(*id).claim())) {
            return true;
        }
        let own = self.proc(but).with.disk;
        self.disks.iter().enumerate().any(|(i, disk)| {
            let other = disk.set == set && !disk.lost && Some(DiskId(i)) != own;
            other && above(disk.conf.claim(&self.procs, &mut self.names, &self.units))
        })
    }

    /// What a step knows of whoever owns its member's slots.
    pub fn knows_owner_above(&mut self, set: usize, ordinal: u32, view: Option<&View>) -> Knowledge {
        let Some(view) = view else { return Knowledge::default() };
        let disk = self.sets[set].pods.get(&ordinal).map(|p| p.disk);
        let conf = disk.map(|d| self.disks[d.0].conf.clone());
        let claim = conf.and_then(|c| c.claim(&self.procs, &mut self.names, &self.units));
        let others = |name: &String| *name != view.pod;
        let came = view.members.keys().any(others);
        let runs = view.pods.iter().any(|(name, p)| others(name) && p.running);
        let config = self.schedule.config;
        let may = config.pods == Management::Parallel || config.probe == crate::schedule::Probe::Ping;
        let mut knowledge = Knowledge { view: true, told: false, alone: !came && !runs && may };
        let Some(claim) = claim else { return knowledge };
        let id = self.names.id(claim.id);
        let disks = view.members.values().chain(view.earlier.values());
        knowledge.told = disks.filter_map(|m| m.disk.identity.as_ref()).any(|identity| {
            let units = self.units.of(&identity.slots);
            identity.node_id != id
                && identity.config_epoch > claim.epoch
                && claim.units.and(units) == claim.units
        }) || view.successions.get(&id).is_some_and(|s| s.epoch > claim.epoch);
        knowledge
    }

    // --- 2 ---

    /// A file was written.
    pub fn check_files(&mut self, disk: DiskId) {
        let set = self.disks[disk.0].set;
        let claim = |w: &mut Self, d: usize| {
            w.disks[d].conf.claim(&w.procs, &mut w.names, &w.units)
        };
        let Some(mine) = claim(self, disk.0) else { return };
        for other in 0..self.disks.len() {
            if other == disk.0 || self.disks[other].set != set || self.disks[other].lost {
                continue;
            }
            let Some(theirs) = claim(self, other) else { continue };
            let shared = mine.units.and(theirs.units);
            if mine.id != theirs.id && mine.epoch == theirs.epoch && !shared.is_empty() {
                let text = format!(
                    "two files of {} claim {shared:?} at epoch {}: {} and {}",
                    self.sets[set].namespace,
                    mine.epoch,
                    self.names.short(mine.id),
                    self.names.short(theirs.id)
                );
                return self.violated(Invariant::TwoOwners, text);
            }
        }
    }

    /// How long the engine alone lets a deposed or isolated master take writes: until it notices
    /// that it is alone.
    fn engine_bound(&self) -> u64 {
        let timeout = self.schedule.config.timeout;
        timeout + timeout / 2 + 2000
    }

    /// Whether two servers take writes of one unit, and since when.
    pub fn check_two(&mut self, set: usize) {
        let now = self.now();
        for unit in self.units.each() {
            let takers = self.living(set).filter(|id| self.proc(*id).accepts(unit, now)).count();
            if takers < 2 {
                self.watch.two.remove(&(set, unit));
                continue;
            }
            let since = *self.watch.two.entry((set, unit)).or_insert(now);
            if now - since > self.engine_bound() {
                let text = format!("{takers} servers take writes of {unit:?} since {since} ms");
                return self.violated(Invariant::TwoOwners, text);
            }
        }
    }

    // --- 4 ---

    /// A step is about to found a cluster.
    pub fn check_founding(&mut self, set: usize, ordinal: u32) {
        let Some(pod) = self.sets[set].pods.get(&ordinal) else { return };
        let own = pod.disk;
        let Some(record) = &self.sets[set].record else { return };
        let plan = record.plan.clone();
        let ours: BTreeSet<Nid> = plan.ordinals().map(|o| self.names.number(plan.node_id(o))).collect();
        let living: Vec<_> = self.living(set).collect();
        let other = living.iter().filter_map(|id| self.proc(*id).claim()).find(|c| !ours.contains(&c.id));
        let disk = (0..self.disks.len()).find(|i| {
            let disk = &self.disks[*i];
            let other = disk.set == set && !disk.lost && *i != own.0 && !disk.data.is_empty();
            other && disk.conf.claim(&self.procs, &mut self.names, &self.units).is_some_and(|c| !ours.contains(&c.id))
        });
        if other.is_some() || disk.is_some() {
            let name = self.sets[set].pod_name(ordinal);
            let text = format!(
                "{name} founds a cluster (generation {}) beside another one: server {:?}, disk {disk:?}",
                plan.generation,
                other.map(|c| self.names.short(c.id)),
            );
            self.violated(Invariant::SecondCluster, text);
        }
    }

    // --- 5, what elections may lose ---

    /// A replica was made a master while it ran.
    pub fn won(&mut self, id: ProcId, units: UnitSet, forced: bool) {
        let Owner::Pod { set, .. } = self.proc(id).with.owner else { return };
        if forced {
            return;
        }
        for unit in units.each() {
            let all = self.ledger.of(self.units.count(), set, unit).clone();
            let lost = all.without(&self.proc(id).data);
            self.ledger.excuse(&lost, Excuse::Election);
        }
    }

    // --- 6 ---

    /// A replica has copied a server.
    pub fn check_copy(&mut self, id: ProcId, from: ProcId) {
        let Owner::Pod { set, .. } = self.proc(id).with.owner else { return };
        if self.proc(from).with.owner == Owner::Stranger {
            let (who, whom) = (self.who(id), self.who(from));
            return self.violated(Invariant::Merged, format!("{who} has copied {whom}"));
        }
        let own = self.ledger.of_set(self.units.count(), set);
        let mut foreign = self.proc(id).data.without(&own);
        if set == 1 {
            foreign.remove(&self.watch.copied);
        }
        if !foreign.is_empty() {
            let (who, whom) = (self.who(id), self.who(from));
            let text = format!("{who} has copied {} foreign writes of {whom}", foreign.count());
            self.violated(Invariant::Merged, text);
        }
    }

    /// Whether anybody knows a node of another set.
    pub fn check_merged(&mut self, set: usize) {
        let found = self.living(set).find_map(|id| {
            let foreign = |p: &&crate::engine::Peer| {
                self.watch.ids.get(&p.id).is_some_and(|of| *of != set)
            };
            self.proc(id).peers.iter().find(foreign).map(|p| (id, p.id))
        });
        if let Some((id, foreign)) = found {
            let text = format!("{} knows {} of another set", self.who(id), self.names.short(foreign));
            self.violated(Invariant::Merged, text);
        }
    }

    // --- 8 ---

    /// A step goes on and on.
    pub fn step_does_not_end(&mut self, set: usize, ordinal: u32, actions: u32) {
        let name = self.sets[set].pod_name(ordinal);
        self.violated(
            Invariant::EndlessStep,
            format!("the step of {name} has not ended after {actions} actions"),
        );
    }

    /// The sentence of a write that a stale master took.
    pub(crate) fn stale_is_preventable(&self, stale: Option<Stale>) -> bool {
        stale == Some(Stale::Preventable)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} does not hold at {} ms: {}", self.invariant, self.at, self.message)
    }
}
