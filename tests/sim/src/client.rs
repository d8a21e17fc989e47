//! Clients that write all the time, to whoever takes it.
//!
//! Guarantees: what a client was told is kept is in the ledger, with who took it; a write that is
//! taken by a master that had been deposed is known as such at once.

use crate::data::{Acknowledged, Excuse, Stale};
use crate::engine::Owner;
use crate::ids::ProcId;
use crate::units::Unit;
use crate::world::{Event, StaleStart, World};

impl World {
    /// A client of a set writes somewhere.
    pub fn client_writes(&mut self, set: usize) {
        let unit = Unit(self.rng.u8(0..self.units.count()));
        let now = self.now();
        let takes = |id: &ProcId| self.proc(*id).accepts(unit, now);
        let takers: Vec<ProcId> = self.living(set).filter(takes).collect();
        if !takers.is_empty() {
            let taker = takers[self.rng.usize(0..takers.len())];
            self.write(set, unit, taker);
        }
        let pause = self.chance(60..=200);
        self.queue.after(pause, Event::Client(set));
    }

    /// The living servers of a set, those that linger after their pod included.
    pub fn living(&self, set: usize) -> impl Iterator<Item = ProcId> + '_ {
        self.procs.iter().filter_map(move |p| match p.with.owner {
            Owner::Pod { set: of, .. } if of == set && !p.dead => Some(p.with.id),
            _ => None,
        })
    }

    fn write(&mut self, set: usize, unit: Unit, by: ProcId) {
        let (excuse, stale) = self.judge_write(set, unit, by);
        let write = Acknowledged { unit, set, at: self.now(), by, excuse, stale };
        let id = self.ledger.note(self.units.count(), write);
        if stale.is_some() {
            self.tell(|| format!("{} takes a write as a stale master, {stale:?}", self.who(by)));
        }
        self.keep(by, id);
    }

    /// Whether somebody else owns the slots at a higher epoch: then the write will be thrown away.
    fn judge_write(
        &mut self,
        set: usize,
        unit: Unit,
        by: ProcId,
    ) -> (Option<Excuse>, Option<Stale>) {
        if self.proc(by).ghost || self.is_replaced(by) {
            return (Some(Excuse::Ghost), None);
        }
        let epoch = self.proc(by).me().epoch;
        if !self.is_owned_above(set, unit, epoch, by) {
            return (None, None);
        }
        match self.about[by.0 as usize] {
            None => (Some(Excuse::Deposed), None),
            Some(StaleStart::Known) => (None, Some(Stale::Preventable)),
            Some(StaleStart::Alone) if !self.has_met(by) => (None, Some(Stale::Preventable)),
            Some(_) => (Some(Excuse::Unknowable), Some(Stale::Unknowable)),
        }
    }

    /// Whether a server has lost its pod and its disk, and another one runs as the same node already.
    fn is_replaced(&self, id: ProcId) -> bool {
        let Owner::Pod { set, .. } = self.proc(id).with.owner else { return false };
        let lost = self.proc(id).with.disk.is_some_and(|disk| self.disks[disk.0].lost);
        let mine = self.proc(id).id();
        lost && self.living(set).any(|other| other != id && self.proc(other).id() == mine)
    }

    /// Whether a server is connected to another slot owner of its cluster.
    fn has_met(&self, id: ProcId) -> bool {
        let me = self.proc(id);
        me.peers.iter().any(|p| p.id != me.id() && !p.slots.is_empty() && p.link.is_some())
    }
}
