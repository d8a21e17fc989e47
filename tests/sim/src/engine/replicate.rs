//! Replication as a replica sees it: an address that it dials, whoever is there.

use super::{Cx, Proc, Role};
use crate::ids::{Addr, Nid, ProcId};

/// A replica's replication.
#[derive(Clone, Copy, Debug)]
pub struct Repl {
    /// Whom it dials; `None` is the empty address, which leads nowhere.
    pub host: Option<Addr>,
    /// Where its data come from now.
    pub up: Option<Link>,
    /// Where they are being copied from.
    pub copying: Option<Link>,
    /// When it dials again; 0 until it has been found out how long that takes.
    pub retry: u64,
    /// Since when the link is down; 0 if it was never up.
    pub down_since: u64,
    /// When something came over the link.
    pub last_io: u64,
}

/// A replication link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Link {
    /// To whom.
    pub to: ProcId,
    /// [`Proc::stream`] of that one, when it began.
    pub stream: u32,
}

// === impl Repl ===

impl Repl {
    /// One that is to begin.
    pub fn new(host: Option<Addr>) -> Self {
        Self { host, up: None, copying: None, retry: 0, down_since: 0, last_io: 0 }
    }

    /// The link is gone.
    pub fn broke(&mut self, now: u64) {
        if self.up.take().is_some() {
            self.down_since = now;
        }
        self.copying = None;
        self.retry = 0;
    }
}

// === impl Proc ===

impl Proc {
    /// `clusterSetMaster`.
    pub(super) fn set_master(&mut self, cx: &mut Cx<'_>, of: Nid) {
        let addr = self.peer(of).and_then(|p| p.addr);
        let my = self.my();
        my.role = Role::Replica(of);
        my.slots = Default::default();
        self.manual = Default::default();
        self.auth = Default::default();
        self.paused_until = 0;
        self.redial(cx.now, addr);
        // Its own replicas have to ask for everything anew.
        self.stream += 1;
        self.update_state(cx);
        self.save(cx);
    }

    /// `replicationSetMaster`.
    pub(super) fn redial(&mut self, now: u64, addr: Option<Addr>) {
        let down_since = self.repl.map_or(0, |r| if r.up.is_some() { now } else { r.down_since });
        self.repl = Some(Repl { down_since, ..Repl::new(addr) });
    }
}
