//! Servers among each other: messages, starts and ends.
//!
//! Guarantees: a message that is under way when its receiver ends, or is cut off, is lost.

use cluster::nodes::NodesConf;

use crate::data::{Excuse, Writes};
use crate::disk::File;
use crate::engine::{CRON, Cx, Options, Out, Owner, Packet, Proc};
use crate::ids::{Addr, ProcId};
use crate::net::End;
use crate::units::UnitSet;
use crate::world::{Event, World};

mod replication;

impl World {
    /// Lets a server act.
    pub fn act<R>(&mut self, id: ProcId, act: impl FnOnce(&mut Proc, &mut Cx<'_>) -> R) -> R {
        let mut cx = Cx {
            now: self.queue.now(),
            rng: &mut self.rng,
            net: &self.net,
            units: &self.units,
            names: &mut self.names,
            out: Vec::new(),
        };
        let result = act(&mut self.procs[id.0 as usize], &mut cx);
        for out in cx.out {
            self.effect(id, out);
        }
        result
    }

    fn effect(&mut self, id: ProcId, out: Out) {
        match out {
            Out::Send(to, packet) => {
                let delay = self.chance(1..=3);
                self.queue.after(delay, Event::Deliver(to, packet));
            }
            Out::Save => {
                if let Some(disk) = self.proc(id).with.disk {
                    self.disk(disk).conf = File::Of(id);
                    self.check_files(disk);
                }
            }
            Out::Won { units, forced } => {
                self.tell(|| {
                    let how = if forced { "by force" } else { "by votes" };
                    format!("{} becomes master of {units:?} {how}: {}", self.who(id), self.told(id))
                });
                self.won(id, units, forced);
            }
            Out::Drop(units) => {
                self.tell(|| format!("{} deletes the keys of {units:?}", self.who(id)));
                let keys = self.ledger.of_units(self.units.count(), units);
                self.lose(id, &keys);
            }
        }
    }

    /// Keys are deleted.
    pub fn lose(&mut self, id: ProcId, keys: &Writes) {
        self.procs[id.0 as usize].data.remove(keys);
        self.persist(id);
    }

    /// Starts a server.
    pub fn start_proc(&mut self, mut with: Options, loading: u64) -> ProcId {
        let id = ProcId(self.procs.len() as u32);
        with.id = id;
        self.find_ghosts(&with);
        let now = self.now();
        let (conf, data) = match with.disk.map(|disk| &self.disks[disk.0]) {
            Some(disk) => {
                let text = disk.conf.text(&self.procs, &self.names, &self.units);
                let conf = text.and_then(|t| NodesConf::parse(&t).ok());
                (conf, if with.persist { disk.data.clone() } else { Writes::default() })
            }
            None => (None, Writes::default()),
        };
        let times = (now, loading);
        let proc = Proc::start(with, conf.as_ref(), data, times, &mut self.names, &self.units);
        self.procs.push(proc);
        self.about.push(None);
        self.net.listen(id, with.addr, now + loading);
        self.tell(|| format!("{} starts: {}", self.who(id), self.told(id)));
        self.check_start(id);
        if let Some(disk) = with.disk {
            let disk = self.disk(disk);
            disk.conf = File::Of(id);
            disk.files |= with.persist;
            // Post-start puts it aside.
            disk.stopped_before = disk.stopped.take().or(disk.stopped_before);
        }
        self.queue.after(loading + 1, Event::Cron(id));
        id
    }

    fn find_ghosts(&mut self, with: &Options) {
        let Some(disk) = with.disk else { return };
        let now = self.now();
        for i in 0..self.procs.len() {
            let old = ProcId(i as u32);
            let shares = !self.proc(old).dead && self.proc(old).with.disk == Some(disk);
            // The step asks half a second before.
            if shares && self.net.was_cut(old, now.saturating_sub(1000)) {
                self.procs[i].ghost = true;
            }
        }
    }

    /// A server's name, for people.
    pub fn who(&self, id: ProcId) -> String {
        let proc = self.proc(id);
        let name = match proc.with.owner {
            Owner::Pod { set, ordinal } => self.sets[set].full_name(ordinal),
            Owner::Stranger => "stranger".to_owned(),
        };
        format!("{name}#{} at {} ({})", id.0, proc.with.addr.0, self.names.short(proc.id()))
    }

    /// What a server is, for people.
    pub fn told(&self, id: ProcId) -> String {
        let proc = self.proc(id);
        let me = proc.me();
        format!(
            "{:?} of {:?} at epoch {} of {}, {} keys",
            me.role,
            me.slots,
            me.epoch,
            proc.current_epoch,
            proc.data.count()
        )
    }

    /// A server ends.
    pub fn end_proc(&mut self, id: ProcId, end: End) {
        let proc = &mut self.procs[id.0 as usize];
        if std::mem::replace(&mut proc.dead, true) {
            return;
        }
        let Options { addr, owner, persist, disk, .. } = proc.with;
        self.tell(|| format!("{} ends, {end:?}", self.who(id)));
        self.net.end(id, addr, end);
        let kept = persist && disk.is_some_and(|disk| !self.disks[disk.0].lost);
        if let (false, Owner::Pod { set, .. }) = (kept, owner) {
            let gone = self.proc(id).data.clone();
            self.excuse_if_last(set, &gone, Excuse::Fate);
        }
        self.give_back(addr);
    }

    /// The address given back last, as often as not.
    pub fn take_address(&mut self) -> Option<Addr> {
        let last = self.free.len().checked_sub(1)?;
        let at = if self.rng.bool() { last } else { self.rng.usize(0..=last) };
        Some(self.free.remove(at))
    }

    /// An address is free again, unless a pod or a server still has it.
    pub fn give_back(&mut self, addr: Addr) {
        let held = self.sets.iter().flat_map(|s| s.pods.values()).any(|p| p.addr == Some(addr));
        if !held && self.net.who(addr).is_none() && !self.free.contains(&addr) {
            self.free.push(addr);
        }
    }

    /// Every 100 ms.
    pub fn cron(&mut self, id: ProcId) {
        if self.proc(id).dead {
            return;
        }
        let keys = if self.proc(id).has_begun() { UnitSet::default() } else { self.keys(id) };
        self.act(id, |proc, cx| proc.cron(cx, keys));
        self.replicate(id);
        let age = self.now() - self.proc(id).started;
        // A master greets its replicas every ten seconds, and that counts.
        if age % 10_000 < CRON && self.proc(id).is_master() && self.has_replicas(id) {
            self.procs[id.0 as usize].offset += 14;
        }
        self.queue.after(CRON, Event::Cron(id));
    }

    /// The units of which it holds keys.
    fn keys(&self, id: ProcId) -> UnitSet {
        let mut keys = UnitSet::default();
        for unit in self.units.each() {
            let of = |set| self.ledger.of(self.units.count(), set, unit);
            if (0..self.sets.len()).any(|set| of(set).meets(&self.proc(id).data)) {
                keys.insert(unit);
            }
        }
        keys
    }

    /// A message arrives.
    pub fn deliver(&mut self, to: ProcId, packet: &Packet) {
        if self.proc(to).dead || self.net.is_cut(to) || self.net.is_cut(packet.from()) {
            return;
        }
        self.act(to, |proc, cx| proc.receive(cx, packet));
    }
}
