//! Who owns what: at starts, in files, among ids.

use std::collections::BTreeSet;

use cluster::plan::Plan;

use super::Invariant;
use crate::data::{Excuse, Writes};
use crate::disk::{Claimed, DiskId};
use crate::engine::{Owner, Peer};
use crate::ids::{Nid, ProcId};
use crate::kube::Pod;
use crate::schedule::Claims;
use crate::units::Unit;
use crate::world::World;

impl World {
    /// A server was started: not as an empty owner, nor under another set's id.
    pub fn check_start(&mut self, id: ProcId) {
        let Owner::Pod { set, ordinal } = self.proc(id).with.owner else { return };
        let mine = self.proc(id).id();
        if self.watch.ids.insert(mine, set).is_some_and(|before| before != set) {
            let text = format!("{} starts under an id of another set", self.who(id));
            return self.violated(Invariant::Merged, text);
        }
        let Some(claimed) = self.proc(id).claimed() else { return };
        for unit in claimed.units.each() {
            let all = self.ledger.of(self.units.count(), set, unit);
            if self.proc(id).data.meets(all) {
                continue;
            }
            let (stays, doomed) = self.elsewhere(set, id);
            let all = self.ledger.of(self.units.count(), set, unit);
            let elsewhere = stays.and(all).without(self.ledger.excused());
            let only_doomed = doomed.and(all).without(&stays);
            self.ledger.excuse(&only_doomed, Excuse::Doomed);
            // A stale master, who had no write of it when it was replaced, is judged by what it takes.
            let stale = !elsewhere.is_empty() && self.is_owned_above(set, unit, claimed.epoch, id);
            if !elsewhere.is_empty() && !stale {
                let text = format!(
                    "{} starts as the owner of {unit:?} without its data, and {} writes of it are \
                     elsewhere",
                    self.who(id),
                    elsewhere.count()
                );
                return self.violated(Invariant::EmptyOwner, text);
            }
        }
        self.note_staleness(id, set, ordinal, claimed);
    }

    /// All that living servers and disks of a set hold, without one server and its disk: what may
    /// stay, and what ends with servers that are being ended.
    fn elsewhere(&self, set: usize, but: ProcId) -> (Writes, Writes) {
        let (mut all, mut doomed) = (Writes::default(), Writes::default());
        for id in self.living(set).filter(|id| *id != but) {
            let to = if self.is_doomed(id) { &mut doomed } else { &mut all };
            to.add(&self.proc(id).data);
        }
        let own = self.proc(but).with.disk;
        for (i, disk) in self.disks.iter().enumerate() {
            if disk.set == set && !disk.lost && Some(DiskId(i)) != own {
                let to = if self.ends(DiskId(i)) { &mut doomed } else { &mut all };
                to.add(&disk.data);
            }
        }
        (all, doomed)
    }

    /// Whether a disk is about to end: one without a claim ends with its pod.
    fn ends(&self, disk: DiskId) -> bool {
        let stays = |pod: &Pod| pod.disk == disk && !pod.deleting;
        let pods = &self.sets[self.disks[disk.0].set].pods;
        self.schedule.config.claims == Claims::No && !pods.values().any(stays)
    }

    /// Whether a server is being ended, or has no pod any more, and leaves no disk behind: whatever
    /// anybody does, its data end with it.
    fn is_doomed(&self, id: ProcId) -> bool {
        let with = self.proc(id).with;
        let Owner::Pod { set, ordinal } = with.owner else { return false };
        let stays_there = |disk: DiskId| !self.disks[disk.0].lost && !self.ends(disk);
        let kept = with.persist && with.disk.is_some_and(stays_there);
        let pod = self.sets[set].pods.get(&ordinal);
        let stays = pod.is_some_and(|pod| pod.proc() == Some(id) && !pod.deleting);
        !kept && !stays
    }

    /// What a disk's file makes its member the master of.
    pub(super) fn claimed_by(&mut self, disk: usize) -> Option<Claimed> {
        self.disks[disk].conf.claimed(&self.procs, &mut self.names, &self.units)
    }

    /// Whether somebody of a set owns a unit at a higher epoch: a living server, or a disk.
    pub fn is_owned_above(&mut self, set: usize, unit: Unit, epoch: u64, but: ProcId) -> bool {
        let above = |claimed: Option<Claimed>| {
            claimed.is_some_and(|c| c.epoch > epoch && c.units.has(unit))
        };
        if self.living(set).any(|id| id != but && above(self.proc(id).claimed())) {
            return true;
        }
        let own = self.proc(but).with.disk;
        (0..self.disks.len()).any(|i| {
            let disk = &self.disks[i];
            let other = disk.set == set && !disk.lost && Some(DiskId(i)) != own;
            other && above(self.claimed_by(i))
        })
    }

    /// A file was written: no other one claims the same slot at the same epoch.
    pub fn check_files(&mut self, disk: DiskId) {
        let set = self.disks[disk.0].set;
        // A server whose pod was deleted by force goes on on a disk that is gone.
        if self.disks[disk.0].lost {
            return;
        }
        let Some(mine) = self.claimed_by(disk.0) else { return };
        for other in 0..self.disks.len() {
            if other == disk.0 || self.disks[other].set != set || self.disks[other].lost {
                continue;
            }
            let Some(theirs) = self.claimed_by(other) else { continue };
            let shared = mine.units.and(theirs.units);
            if mine.id != theirs.id && mine.epoch == theirs.epoch && !shared.is_empty() {
                let text = format!(
                    "two files of {} claim {shared:?} at epoch {}: those of {} and {}",
                    self.sets[set].namespace,
                    mine.epoch,
                    self.names.short(mine.id),
                    self.names.short(theirs.id)
                );
                return self.violated(Invariant::TwoOwners, text);
            }
        }
    }

    /// How long the engine alone lets a deposed or isolated master take writes: until it notices.
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

    /// A step founds a cluster: there is no other one, neither alive nor on a disk.
    pub fn check_founding(&mut self, set: usize, ordinal: u32, plan: &Plan) {
        let Some(own) = self.sets[set].pods.get(&ordinal).map(|p| p.disk) else { return };
        let ours: BTreeSet<Nid> =
            plan.ordinals().map(|o| self.names.number(plan.node_id(o))).collect();
        let foreign = |c: &Claimed| !ours.contains(&c.id);
        let stays = self.living(set).filter(|id| !self.is_doomed(*id));
        let living = stays.filter_map(|id| self.proc(id).claimed()).find(foreign);
        let disk = (0..self.disks.len()).find_map(|i| {
            let disk = &self.disks[i];
            let there = disk.set == set && !disk.lost && !self.ends(DiskId(i));
            let other = there && i != own.0 && !disk.data.is_empty();
            if other { self.claimed_by(i).filter(foreign) } else { None }
        });
        if let Some(other) = living.or(disk) {
            let text = format!(
                "{} founds a cluster, generation {}, beside that of {}",
                self.sets[set].full_name(ordinal),
                plan.generation,
                self.names.short(other.id)
            );
            self.violated(Invariant::SecondCluster, text);
        }
    }

    /// A replica has copied a server: one of its own.
    pub fn check_copy(&mut self, id: ProcId, from: ProcId) {
        let Owner::Pod { set, .. } = self.proc(id).with.owner else { return };
        let own = self.ledger.of_set(self.units.count(), set);
        let mut foreign = self.proc(id).data.without(&own);
        if set == 1 {
            foreign.remove(&self.watch.copied);
        }
        let stranger = self.proc(from).with.owner == Owner::Stranger;
        if stranger || !foreign.is_empty() {
            let (who, whom) = (self.who(id), self.who(from));
            let text = format!("{who} has copied {whom}: {} foreign writes", foreign.count());
            self.violated(Invariant::Merged, text);
        }
    }

    /// Whether anybody knows a node of another set.
    pub fn check_merged(&mut self, set: usize) {
        let foreign = |p: &&Peer| self.watch.ids.get(&p.id).is_some_and(|of| *of != set);
        let found = self
            .living(set)
            .find_map(|id| self.proc(id).peers.iter().find(foreign).map(|p| (id, p.id)));
        if let Some((id, of)) = found {
            let text = format!("{} knows {} of another set", self.who(id), self.names.short(of));
            self.violated(Invariant::Merged, text);
        }
    }
}
