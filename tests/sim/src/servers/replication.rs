//! Replication: a replica copies whoever answers where it dials, then gets every write.
//!
//! Guarantees: what a replica had before a copy is gone after it.

use crate::data::{Excuse, WriteId, Writes};
use crate::disk::Note;
use crate::engine::{CRON, Family, Link, Owner, Proc};
use crate::ids::ProcId;
use crate::world::{Event, World};

/// `repl-timeout`.
const TIMEOUT: u64 = 60_000;

impl World {
    pub(super) fn replicate(&mut self, id: ProcId) {
        let now = self.now();
        let Some(mut repl) = self.proc(id).repl else { return };
        let there = repl.host.and_then(|addr| self.net.who(addr)).map(|who| self.proc(who).id());
        if there.is_some() && there == self.proc(id).master() {
            self.procs[id.0 as usize].followed_at = repl.host;
        }
        if let Some(link) = repl.up.or(repl.copying) {
            let source = self.proc(link.to);
            let behind = source.offset.saturating_sub(20);
            if source.stream != link.stream || self.net.is_reset(link.to) {
                repl.broke(now);
            } else if repl.up.is_some() && self.net.is_open(id, link.to) {
                // What could not be sent for a while comes now: the connection has kept it.
                let waited = now > repl.last_io + 2 * CRON;
                repl.last_io = now;
                if waited {
                    let missed = source.data.without(&self.proc(id).data);
                    missed.each().for_each(|write| self.keep(id, write));
                }
                let own = &mut self.procs[id.0 as usize];
                own.offset = own.offset.max(behind);
            } else if now > repl.last_io + TIMEOUT {
                repl.broke(now);
            }
        }
        if repl.retry == 0 {
            repl.retry = now + self.first_dial(id);
        }
        if repl.up.is_none() && repl.copying.is_none() && now >= repl.retry {
            repl.retry = now + 1000;
            if let Some(to) = repl.host.and_then(|addr| self.net.connect(id, addr))
                && to != id
                && self.serves(to, id)
            {
                let source = self.proc(to);
                repl.copying = Some(Link { to, stream: source.stream });
                repl.last_io = now;
                let partly = self.proc(id).data.is_within(&source.data);
                let nothing = source.data.is_empty();
                // Copying an empty server is done in half a second from the moment at which it is
                // there, so that Valkey 8.1, which elects half a second later at the earliest,
                // promotes an emptied replica, and Valkey 9, after a quarter, does not.
                let delay = match (partly, nothing) {
                    (true, _) => self.chance(20..=120),
                    (false, true) => self.chance(300..=450),
                    (false, false) => self.chance(100..=1500),
                };
                self.queue.after(delay, Event::Copied(id));
            }
        }
        self.procs[id.0 as usize].repl = Some(repl);
    }

    /// How long after its start, the loss of its link or a new address a replica dials its master:
    /// up to 6.0 that is left to a timer of one second, and Valkey 9 dials a second later.
    fn first_dial(&mut self, id: ProcId) -> u64 {
        match self.proc(id).with.family {
            Family::Redis72 => self.chance(0..=1000),
            Family::Redis8 | Family::Valkey81 => 0,
            Family::Valkey9 => 900,
        }
    }

    /// Whether a server lets another one copy it.
    fn serves(&self, to: ProcId, replica: ProcId) -> bool {
        let source = self.proc(to);
        let linked = source.repl.is_none_or(|r| r.up.is_some());
        linked && source.with.secret == self.proc(replica).with.secret
    }

    /// Whether a living server is linked to that one as its replica.
    pub fn is_linked(proc: &Proc, to: ProcId) -> bool {
        !proc.dead && proc.repl.is_some_and(|r| r.up.is_some_and(|up| up.to == to))
    }

    pub(super) fn has_replicas(&self, id: ProcId) -> bool {
        self.procs.iter().any(|p| Self::is_linked(p, id))
    }

    /// A copy is complete: whatever the replica had is gone.
    pub fn copied(&mut self, id: ProcId) {
        let now = self.now();
        let Some(mut repl) = self.proc(id).repl.filter(|_| !self.proc(id).dead) else { return };
        let Some(link) = repl.copying.take() else { return };
        let source = self.proc(link.to);
        if source.dead || source.stream != link.stream || !self.net.is_open(id, link.to) {
            repl.retry = now + 1000;
            self.procs[id.0 as usize].repl = Some(repl);
            return;
        }
        let (data, offset) = (source.data.clone(), source.offset);
        let root = Some(source.copy_of.unwrap_or(link.to));
        repl.up = Some(link);
        repl.last_io = now;
        let proc = &mut self.procs[id.0 as usize];
        proc.repl = Some(repl);
        proc.offset = offset;
        proc.copy_of = root;
        let before = std::mem::replace(&mut proc.data, data);
        self.note_source(id, link.to, &before);
        self.tell(|| {
            let (had, has) = (before.count(), self.proc(id).data.count());
            format!("{} has copied {}: had {had} keys, has {has}", self.who(id), self.who(link.to))
        });
        self.persist(id);
        self.check_copy(id, link.to);
    }

    /// Where its master was somebody else may be now: the engine copies whoever answers there.
    fn note_source(&mut self, id: ProcId, from: ProcId, before: &Writes) {
        let (replica, source) = (self.proc(id), self.proc(from));
        let host = replica.repl.and_then(|r| r.host);
        let other = replica.master() != Some(source.id());
        if other
            && replica.followed_at == host
            && let Owner::Pod { set, .. } = replica.with.owner
        {
            self.persist(id);
            self.excuse_if_last(set, before, Excuse::Swapped);
            // A step had looked at it just before, and nothing stops an engine that was told to take over.
            if self.proc(id).takes_over() {
                self.ledger.excuse(before, Excuse::Swapped);
            }
        }
    }

    /// A write comes over a replica's link.
    pub fn stream(&mut self, from: ProcId, to: ProcId, write: WriteId) {
        if Self::is_linked(self.proc(to), from) && !self.net.is_cut(to) && !self.net.is_cut(from) {
            self.keep(to, write);
        }
    }

    /// A server holds a write, on its disk too, and passes it on.
    pub fn keep(&mut self, id: ProcId, write: WriteId) {
        let proc = &mut self.procs[id.0 as usize];
        proc.data.insert(write);
        proc.offset += 100;
        let (disk, persist) = (proc.with.disk, proc.with.persist);
        if let Some(disk) = disk.filter(|_| persist) {
            let now = self.queue.now();
            let disk = self.disk(disk);
            disk.data.insert(write);
            disk.written = now;
        }
        for i in 0..self.procs.len() {
            if Self::is_linked(&self.procs[i], id) {
                let delay = self.chance(1..=8);
                let to = ProcId(i as u32);
                self.queue.after(delay, Event::Stream { from: id, to, write });
            }
        }
    }

    /// Its disk holds what it holds.
    pub fn persist(&mut self, id: ProcId) {
        let with = self.proc(id).with;
        if let (Some(disk), true) = (with.disk, with.persist) {
            let now = self.now();
            self.disks[disk.0].data = self.proc(id).data.clone();
            self.disks[disk.0].written = now;
        }
    }

    /// How far its data go, for whoever has to know after an outage who has the newest.
    pub fn write_down(&mut self, id: ProcId, owned_until: Option<u64>) {
        let (now, server) = (self.now(), self.proc(id));
        let linked_at = server.repl.and_then(|r| match (r.up, r.down_since) {
            (Some(_), _) => Some(now),
            (None, 0) => owned_until,
            (None, since) => Some(since),
        });
        let note = Note { at: now, offset: server.offset, linked_at };
        let unlinked = linked_at.is_none() && !server.is_master();
        if let Some(disk) = server.with.disk {
            let disk = self.disk(disk);
            // Without its master it holds what it held before.
            let before = disk.stopped_before.filter(|n| unlinked && n.linked_at.is_some());
            disk.stopped = Some(before.map_or(note, |before| Note { at: now, ..before }));
        }
    }
}
