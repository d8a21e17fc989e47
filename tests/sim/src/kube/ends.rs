//! How pods, servers and disks end.

use std::collections::BTreeSet;

use super::{Phase, PodEvent, uid};
use crate::data::{Excuse, Writes};
use crate::disk::DiskId;
use crate::net::End;
use crate::schedule::{Claims, Outage, Restart};
use crate::world::World;

impl World {
    /// `kubectl delete pod`.
    pub fn delete_pod(&mut self, set: usize, ordinal: u32) {
        let Some(pod) = self.sets[set].pods.get_mut(&ordinal) else { return };
        if std::mem::replace(&mut pod.deleting, true) {
            return;
        }
        let phase = pod.phase;
        self.tell(|| format!("{} is deleted", self.sets[set].full_name(ordinal)));
        match phase {
            Phase::Running(proc) => self.start_pre_stop(set, ordinal, proc),
            _ => {
                self.abort_step(set, ordinal);
                self.later(set, ordinal, 50..=600, PodEvent::Remove);
            }
        }
    }

    /// The pod's object goes, and what it held is given back. A server that still runs keeps its
    /// address.
    pub fn remove_pod(&mut self, set: usize, ordinal: u32) {
        self.abort_step(set, ordinal);
        let Some(pod) = self.sets[set].pods.remove(&ordinal) else { return };
        if let Some(hook) = pod.hook {
            self.hooks.remove(&hook);
        }
        let runs = pod.proc().is_some_and(|p| !self.proc(p).dead);
        let whole = self.api.outage_now(self.now()) == Some(Outage::Whole);
        if pod.deleting && !runs && !whole {
            // The API server cuts moments to the second.
            let at = pod.ended.unwrap_or(self.now()) / 1000 * 1000;
            self.ended.insert(uid(pod.uid), at);
        }
        self.tell(|| format!("{} is gone", self.sets[set].full_name(ordinal)));
        if let Some(addr) = pod.addr {
            self.give_back(addr);
        }
        if self.schedule.config.claims == Claims::No {
            self.destroy(pod.disk);
        }
    }

    /// A disk is gone for good.
    pub fn destroy(&mut self, disk: DiskId) {
        let disk = self.disk(disk);
        disk.lost = true;
        let (set, data) = (disk.set, std::mem::take(&mut disk.data));
        self.excuse_if_last(set, &data, Excuse::Fate);
    }

    /// The data files on a disk are gone.
    pub fn empty(&mut self, disk: DiskId) {
        let disk = self.disk(disk);
        disk.files = false;
        let (set, data): (usize, Writes) = (disk.set, std::mem::take(&mut disk.data));
        self.excuse_if_last(set, &data, Excuse::Fate);
    }

    /// A server ended without its pod.
    pub fn restart_in_place(&mut self, set: usize, ordinal: u32) {
        let now = self.now();
        let Some(pod) = self.sets[set].pods.get_mut(&ordinal) else { return };
        let Phase::Running(proc) = pod.phase else { return };
        pod.running = false;
        pod.ended = Some(now);
        pod.failures += 1;
        if let Some(hook) = pod.hook.take() {
            self.hooks.remove(&hook);
        }
        let pause = 300 + 700 * u64::from(pod.failures.min(5));
        let (phase, what) = match self.schedule.config.restart {
            _ if pod.deleting => (Phase::Stopped, PodEvent::Remove),
            Restart::InPlace => (Phase::Starting, PodEvent::Server),
            Restart::WithStep => (Phase::Waiting, PodEvent::Step),
        };
        pod.phase = phase;
        self.end_proc(proc, End::Reset);
        self.later(set, ordinal, 100..=pause, what);
    }

    /// All names of a set's pods that have a claim.
    pub fn claimed(&self, set: usize) -> BTreeSet<String> {
        let s = &self.sets[set];
        s.claims.keys().map(|ordinal| s.pod_name(*ordinal)).collect()
    }
}
