//! The network: who listens at which address, and who can be reached.
//!
//! Guarantees: an address leads to whoever has it now, and nobody is asked who he is.

use crate::ids::{Addr, ProcId};

/// Who is where.
#[derive(Debug)]
pub struct Net {
    listeners: [Option<ProcId>; 256],
    procs: Vec<Host>,
    now: u64,
}

#[derive(Clone, Copy, Debug)]
struct Host {
    end: End,
    accepts_from: u64,
    cut_until: u64,
}

/// How a process ended, as others see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It has not.
    Lives,
    /// Its machine is there and closes its connections.
    Reset,
    /// Its machine is gone: nobody hears anything.
    Silent,
}

// === impl Net ===

impl Net {
    /// An empty network.
    pub fn new() -> Self {
        Self { listeners: [None; 256], procs: Vec::new(), now: 0 }
    }

    /// The clock goes on.
    pub fn at(&mut self, now: u64) {
        self.now = now;
    }

    /// A process, the next by number, takes an address.
    pub fn listen(&mut self, id: ProcId, addr: Addr, from: u64) {
        debug_assert_eq!(id.0 as usize, self.procs.len());
        self.procs.push(Host { end: End::Lives, accepts_from: from, cut_until: 0 });
        self.listeners[usize::from(addr.0)] = Some(id);
    }

    /// A process ends.
    pub fn end(&mut self, id: ProcId, addr: Addr, end: End) {
        self.procs[id.0 as usize].end = end;
        let listener = &mut self.listeners[usize::from(addr.0)];
        if *listener == Some(id) {
            *listener = None;
        }
    }

    /// Nothing reaches a process until then, and nothing gets out.
    pub fn cut(&mut self, id: ProcId, until: u64) {
        self.procs[id.0 as usize].cut_until = until;
    }

    /// Whether nothing reaches it now.
    pub fn is_cut(&self, id: ProcId) -> bool {
        self.now < self.procs[id.0 as usize].cut_until
    }

    /// Whether nothing reached it at some moment since then.
    pub fn was_cut(&self, id: ProcId, since: u64) -> bool {
        since < self.procs[id.0 as usize].cut_until
    }

    /// Whether one can reach the other over a connection that they have.
    pub fn is_open(&self, from: ProcId, to: ProcId) -> bool {
        let host = self.procs[to.0 as usize];
        host.end == End::Lives && !self.is_cut(from) && !self.is_cut(to)
    }

    /// Whether a connection to it was closed.
    pub fn is_reset(&self, to: ProcId) -> bool {
        self.procs[to.0 as usize].end == End::Reset
    }

    /// Who takes a connection to an address.
    pub fn connect(&self, from: ProcId, addr: Addr) -> Option<ProcId> {
        let to = self.who(addr)?;
        let host = self.procs[to.0 as usize];
        (self.is_open(from, to) && self.now >= host.accepts_from).then_some(to)
    }

    /// Who has an address, whether or not it takes connections yet.
    pub fn who(&self, addr: Addr) -> Option<ProcId> {
        self.listeners[usize::from(addr.0)]
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}
