//! Which writes may be lost, and which masters are stale.

use cluster::planner::HoldBack;
use cluster::protocol::View;

use crate::data::{Excuse, Writes};
use crate::disk::Claimed;
use crate::engine::Owner;
use crate::ids::ProcId;
use crate::kube::{Phase, Pod};
use crate::schedule::Management;
use crate::units::UnitSet;
use crate::world::{StaleStart, World};

/// A master hears once a second how far its replicas are (REPLCONF ACK), and they of it.
pub const HEARTBEAT: u64 = 1_000;
/// What counts as fresh (`mooring.dev/succession`).
pub const SUCCESSION: u64 = 60_000;

/// What a step knew when it ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Knowledge {
    /// Nobody else had come, and it may be held back.
    pub alone: bool,
    /// A registered disk or the record names an owner at a higher epoch.
    pub told: bool,
}

impl World {
    /// What a step knows of whoever owns its member's slots.
    pub fn knowledge(&mut self, set: usize, ordinal: u32, view: Option<&View>) -> Knowledge {
        let Some(view) = view else { return Knowledge::default() };
        let disk = self.sets[set].pods.get(&ordinal).map(|p| p.disk);
        let Some(claimed) = disk.and_then(|d| self.claimed_by(d.0)) else {
            return Knowledge::default();
        };
        let others = |name: &String| *name != view.pod;
        let came = view.members.keys().any(others)
            || view.pods.iter().any(|(name, p)| others(name) && p.running);
        let may = self.schedule.config.pods == Management::Parallel
            || self.hold_back() == HoldBack::Allowed;
        let id = self.names.id(claimed.id);
        let disks = view.members.values().chain(view.earlier.values());
        let by_disk = disks.filter_map(|m| m.disk.identity.as_ref()).any(|identity| {
            let shared = self.units.of(&identity.slots).and(claimed.units);
            identity.node_id != id
                && identity.config_epoch > claimed.epoch
                && shared == claimed.units
        });
        let by_record = view.successions.get(&id).is_some_and(|s| s.epoch > claimed.epoch);
        Knowledge { alone: !came && may, told: by_disk || by_record }
    }

    /// Whether a master that starts is stale, and whether that could be known.
    pub(super) fn note_staleness(&mut self, id: ProcId, set: usize, pod: u32, claimed: Claimed) {
        let units = claimed.units.each();
        let mut above = false;
        for unit in units {
            above |= self.is_owned_above(set, unit, claimed.epoch, id);
        }
        let known = self.watch.known_at_start.get(&(set, pod)).copied().unwrap_or_default();
        self.about[id.0 as usize] = above.then_some(match known {
            Knowledge { told: true, .. } => StaleStart::Known,
            Knowledge { alone: true, .. } => StaleStart::Alone,
            _ => StaleStart::Unknowable,
        });
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

    /// Excuses what a set's servers or disks lack of the newest writes.
    pub fn excuse_what_is_lacked(&mut self, set: usize, units: UnitSet, has: &Writes, bound: u64) {
        for unit in units.each() {
            let all = self.ledger.of(self.units.count(), set, unit).clone();
            let last = all.each().map(|w| self.ledger.get(w).at).max().unwrap_or(0);
            let mut late = Writes::default();
            let lacks = all.without(has);
            let recent = lacks.each().filter(|w| self.ledger.get(*w).at + bound >= last);
            recent.for_each(|w| late.insert(w));
            self.ledger.excuse(&late, Excuse::Succession);
        }
    }

    /// Excuses what an heir with these data lacks: the last second, and what only those have who can not
    /// come: no machine takes their pods, or they are made only once this one is ready. Fresh is what is not
    /// a minute older.
    pub fn excuse_what_cannot_come(&mut self, set: usize, units: UnitSet, mut has: Writes) {
        self.excuse_what_is_lacked(set, units, &has, HEARTBEAT);
        self.living(set).for_each(|other| has.add(&self.proc(other).data));
        let comes = |pod: &&Pod| pod.phase != Phase::Pending && !pod.deleting;
        let coming = self.sets[set].pods.values().filter(comes);
        coming.for_each(|pod| has.add(&self.disks[pod.disk.0].data));
        self.excuse_what_is_lacked(set, units, &has, SUCCESSION);
    }

    /// A replica was made a master while it ran. What the engine elects by itself may lose what
    /// had not reached it; who is made master on a step's word may not, but for the last second: servers
    /// say no more exactly how long they have been without their master.
    pub fn won(&mut self, id: ProcId, units: UnitSet, forced: bool) {
        let Owner::Pod { set, .. } = self.proc(id).with.owner else { return };
        if forced {
            return self.excuse_what_cannot_come(set, units, self.proc(id).data.clone());
        }
        for unit in units.each() {
            let all = self.ledger.of(self.units.count(), set, unit);
            let lost = all.without(&self.proc(id).data);
            self.ledger.excuse(&lost, Excuse::Election);
        }
    }
}
