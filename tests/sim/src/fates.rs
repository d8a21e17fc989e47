//! What operators and fate do to the world.

use std::collections::BTreeMap;

use cluster::nodes::NodesConf;

use crate::data::Writes;
use crate::disk::File;
use crate::engine::{Family, Options, Owner, Proc};
use crate::ids::ProcId;
use crate::kube::{Claim, Phase, Pod, PodEvent};
use crate::net::End;
use crate::schedule::{Claims, Damage, Fate, Keeps, Record, Restart, Stranger, Strangers};
use crate::units::UnitSet;
use crate::world::{Event, World};

impl World {
    /// Fate strikes.
    pub fn strike(&mut self, fate: Fate) {
        self.tell(|| format!("*** {fate:?}"));
        let now = self.now();
        match fate {
            Fate::Block { set, pod, ms } => drop(self.sets[set].blocked.insert(pod, now + ms)),
            Fate::Clone => self.clone_disks(),
            Fate::CrashStep { set, pod, action } => drop(self.crashes.insert((set, pod), action)),
            Fate::Cut { set, pod, ms } => {
                if let Some(proc) = self.server_of(set, pod) {
                    self.net.cut(proc, now + ms);
                }
            }
            Fate::Damage { set, pod, how } => self.damage(set, pod, how),
            Fate::Delete { set, pod } => self.delete_pod(set, pod),
            Fate::DeleteAll { set } => {
                // Every third time the machine is busy, and it takes a while from one pod to the next.
                let each = if now.is_multiple_of(3) { now % 250 } else { 0 };
                let all: Vec<_> =
                    self.sets[set].pods.iter().map(|(o, pod)| (*o, pod.uid)).collect();
                for (after, (pod, uid)) in (0..).zip(all) {
                    match after * each {
                        0 => self.delete_pod(set, pod),
                        ms => {
                            let what = PodEvent::Delete;
                            self.queue.after(ms, Event::Pod { set, pod, uid, what });
                        }
                    }
                }
            }
            Fate::DeleteRecord { set } => self.lose_record(set),
            Fate::EmptyData { set, pod } => self.empty_data(set, pod),
            Fate::ForceDelete { set, pod, ms } => self.force_delete(set, pod, ms),
            Fate::Forget { set } => self.forget(set),
            Fate::Kill { set, pod } => self.kill(set, pod),
            Fate::LoadSlowly { set, pod, ms } => drop(self.slow.insert((set, pod), ms)),
            Fate::LoseAllDisks { set } => {
                let all: Vec<_> = self.sets[set].claims.keys().copied().collect();
                all.into_iter().for_each(|pod| self.lose_disk(set, pod));
            }
            Fate::LoseAnswers { ms } => self.api.deaf_until = now + ms,
            Fate::LoseDisk { set, pod } => self.lose_disk(set, pod),
            Fate::LoseNode { set, pod, ms } => self.power_off(set, pod, ms),
            Fate::PowerOff { set, ms } => {
                let all: Vec<_> = self.sets[set].pods.keys().copied().collect();
                all.into_iter().for_each(|pod| self.power_off(set, pod, ms));
            }
            Fate::Recreate { set, ms, record } => self.recreate(set, ms, record),
            Fate::RegistryDown { ms, how } => self.api.outages.push((now, now + ms, how)),
            Fate::Reshard { from, to } => self.reshard(from, to),
            Fate::RollBack { set, ms } => self.roll_back(set, ms),
            Fate::Rollout { set } => {
                self.sets[set].rollout = (0..self.sets[set].replicas).collect();
            }
            Fate::Stranger { kind, ms } => self.stranger(kind, ms),
        }
    }

    fn server_of(&self, set: usize, pod: u32) -> Option<ProcId> {
        self.sets[set].pods.get(&pod).and_then(Pod::proc)
    }

    fn kill(&mut self, set: usize, pod: u32) {
        let config = self.schedule.config;
        let unguarded = config.restart == Restart::InPlace && config.keeps == Keeps::Nothing;
        if let Some(proc) = self.server_of(set, pod).filter(|_| unguarded) {
            // Nobody but the engine is there, and it empties the replicas.
            let units = self.proc(proc).me().slots;
            let mut all = Writes::default();
            for unit in units.each() {
                all.add(self.ledger.of(self.units.count(), set, unit));
            }
            self.ledger.excuse(&all, crate::data::Excuse::InPlace);
        }
        self.restart_in_place(set, pod);
    }

    /// Nobody who runs knows the node any more, so that only files can bring it back. Somebody else
    /// may have its address by now.
    fn forget(&mut self, set: usize) {
        let gone = self.names.fresh();
        let (id, Some(addr)) = (self.names.id(gone), self.free.last().copied()) else { return };
        let Some(record) = &mut self.sets[set].record else { return };
        record.forgotten.insert(id);
        self.changed(set);
        self.watch.forgotten.insert((set, gone));
        let line = format!("{id} {}@16379 master,fail - 0 1 0 disconnected\n", addr.client());
        // Nor does a step that has read its file already.
        let under_way = |pod: &&Pod| matches!(pod.phase, Phase::Init(_) | Phase::Starting);
        let starts = self.sets[set].pods.values().filter(under_way).map(|pod| pod.disk);
        let runs = self.living(set).filter_map(|id| self.proc(id).with.disk);
        let busy: Vec<_> = runs.chain(starts).collect();
        for disk in (0..self.disks.len()).map(crate::disk::DiskId) {
            let of_set = self.disks[disk.0].set == set && !self.disks[disk.0].lost;
            if of_set
                && !busy.contains(&disk)
                && let Some(text) = self.freeze(disk)
                && NodesConf::parse(&text).is_ok()
            {
                self.disk(disk).conf = File::Text([line.as_bytes(), &text].concat());
            }
        }
    }

    fn force_delete(&mut self, set: usize, pod: u32, ms: u64) {
        if let Some(proc) = self.server_of(set, pod) {
            self.queue.after(ms, Event::End(proc));
        }
        self.remove_pod(set, pod);
    }

    /// The machine goes off; nobody can say that the pod has ended.
    fn power_off(&mut self, set: usize, pod: u32, ms: u64) {
        if let Some(proc) = self.server_of(set, pod) {
            self.end_proc(proc, End::Silent);
        }
        self.abort_step(set, pod);
        let now = self.now();
        self.sets[set].blocked.insert(pod, now + ms);
        if let Some(pod) = self.sets[set].pods.get_mut(&pod) {
            pod.deleting = false;
        }
        self.remove_pod(set, pod);
    }

    fn lose_disk(&mut self, set: usize, pod: u32) {
        if let Some(proc) = self.server_of(set, pod) {
            self.end_proc(proc, End::Silent);
        }
        self.remove_pod(set, pod);
        if let Some(claim) = self.sets[set].claims.remove(&pod) {
            self.destroy(claim.disk);
        }
        self.watch.spoiled.remove(&(set, pod));
    }

    /// The pod is replaced on its disk, and something was done to the disk between.
    fn replaced(&mut self, set: usize, pod: u32) -> Option<crate::disk::DiskId> {
        let disk = self.sets[set].pods.get(&pod)?.disk;
        if let Some(proc) = self.server_of(set, pod) {
            self.end_proc(proc, End::Reset);
        }
        self.remove_pod(set, pod);
        // A server that has outlived its pod ends, too: it would go on writing.
        let linger: Vec<_> =
            self.living(set).filter(|id| self.proc(*id).with.disk == Some(disk)).collect();
        linger.into_iter().for_each(|proc| self.end_proc(proc, End::Reset));
        (!self.disks[disk.0].lost).then_some(disk)
    }

    fn empty_data(&mut self, set: usize, pod: u32) {
        if let Some(disk) = self.replaced(set, pod) {
            self.freeze(disk);
            self.empty(disk);
        }
    }

    /// From now on the file is what it says, whoever wrote it.
    fn freeze(&mut self, disk: crate::disk::DiskId) -> Option<Vec<u8>> {
        let text = self.disks[disk.0].conf.text(&self.procs, &self.names, &self.units);
        if let Some(text) = &text {
            self.disk(disk).conf = File::Text(text.clone());
        }
        text
    }

    fn damage(&mut self, set: usize, pod: u32, how: Damage) {
        let Some(disk) = self.replaced(set, pod) else { return };
        let Some(text) = self.freeze(disk) else { return };
        self.disk(disk).conf = match how {
            Damage::Missing => File::None,
            Damage::Zero => File::Text(vec![0; text.len()]),
            Damage::Cut(part) => File::Text(text[..text.len() * usize::from(part) / 100].to_vec()),
        };
        self.watch.spoiled.insert((set, pod));
    }

    fn lose_record(&mut self, set: usize) {
        self.sets[set].record = None;
        self.watch.unrecorded.insert(set);
    }

    fn roll_back(&mut self, set: usize, ms: u64) {
        self.watch.unrecorded.insert(set);
        let then = self.now().saturating_sub(ms);
        let s = &mut self.sets[set];
        let old = s.history.iter().rev().find(|(at, _)| *at <= then).map(|(_, r)| r.clone());
        if let (Some(old), Some(now)) = (old, &s.record) {
            if old.plan.generation < now.plan.generation {
                self.watch.behind.insert(set);
            }
            let version = now.version + 1;
            s.record = Some(crate::registry::Record { version, ..old });
        }
    }

    fn recreate(&mut self, set: usize, ms: u64, record: Record) {
        if !self.sets[set].exists {
            return;
        }
        self.sets[set].exists = false;
        let all: Vec<_> = self.sets[set].pods.keys().copied().collect();
        all.into_iter().for_each(|pod| self.delete_pod(set, pod));
        if record == Record::Lost {
            self.lose_record(set);
        }
        self.queue.after(ms, Event::MakeSet(set));
    }

    fn clone_disks(&mut self) {
        if !self.sets[1].claims.is_empty() || self.schedule.config.claims == Claims::No {
            return;
        }
        let claims: BTreeMap<u32, Claim> = self.sets[0].claims.clone();
        let created = self.now();
        for (ordinal, claim) in claims {
            self.freeze_copy(claim, ordinal, created);
        }
        self.watch.unrecorded.insert(1);
        self.queue.after(100, Event::MakeSet(1));
    }

    fn freeze_copy(&mut self, claim: Claim, ordinal: u32, created: u64) {
        let mut copy = self.disks[claim.disk.0].clone();
        if let Some(text) = copy.conf.text(&self.procs, &self.names, &self.units) {
            copy.conf = File::Text(text);
        }
        copy.set = 1;
        // A copy of a spoiled disk is one, and nobody of the copy's set remembers what it held.
        if self.watch.spoiled.contains(&(0, ordinal)) || !copy.files {
            self.watch.spoiled.insert((1, ordinal));
        }
        self.watch.copied.add(&copy.data);
        let disk = self.make_disk(1, ordinal);
        self.disks[disk.0] = copy;
        self.sets[1].claims.insert(ordinal, Claim { disk, created, restored: true });
    }

    fn stranger(&mut self, kind: Stranger, ms: u64) {
        let Some(addr) = self.free.pop() else { return };
        let trusted = self.schedule.config.strangers == Strangers::Trusted;
        let with = Options {
            id: ProcId(0),
            owner: Owner::Stranger,
            family: Family::Redis8,
            addr,
            secret: if trusted { 0 } else { 99 },
            cluster: kind == Stranger::Node,
            persist: false,
            disk: None,
            timeout: self.schedule.config.timeout,
            validity: 10,
        };
        let proc = self.start_proc(with, 1);
        self.queue.after(ms, Event::End(proc));
    }

    /// Half of a shard's units change their owner, with their keys, as a finished resharding has it.
    fn reshard(&mut self, from: u32, to: u32) {
        let (Some(from), Some(to)) = (self.server_of(0, from), self.server_of(0, to)) else {
            return;
        };
        let now = self.now();
        let (source, target) = (self.proc(from), self.proc(to));
        // Keys go from one to the other.
        let reach = !self.net.is_cut(from) && !self.net.is_cut(to);
        let whole = source.ok && target.ok && source.answers(now) && target.answers(now) && reach;
        let owners = source.claimed().zip(target.claimed()).filter(|_| whole && from != to);
        let Some((gives, gets)) = owners else { return };
        let first = gives.units.each().next();
        // The last one stays: without any it would become a replica.
        let Some(unit) = first.filter(|unit| gives.units != UnitSet(1 << unit.0)) else { return };
        let keys = self.ledger.of_units(self.units.count(), UnitSet(1 << unit.0));
        let moved = self.proc(from).data.and(&keys);
        for write in moved.each() {
            self.keep(to, write);
        }
        self.watch.moved.insert((0, unit));
        self.act(to, |proc, cx| proc.import(cx, unit));
        self.act(from, |proc, cx| proc.export(cx, unit, gets.id));
        // Each key is deleted on the source's replicas, too.
        let linked = |proc: &&Proc| Self::is_linked(proc, from);
        let replicas: Vec<_> = self.procs.iter().filter(linked).map(|proc| proc.with.id).collect();
        for replica in replicas {
            self.lose(replica, &keys);
        }
    }
}
