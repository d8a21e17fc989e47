//! A server: one process of Redis or Valkey, as far as clusters depend on it.
//!
//! Guarantees: the rules are those that were read in the engines' sources and measured on real
//! servers (README.md has the list); where families differ, [`Family`] says so. A server knows
//! nothing of the world but what arrives over the network and what its disk says.

use crate::data::Writes;
use crate::disk::DiskId;
use crate::ids::{Addr, Nid, ProcId};
use crate::units::{Unit, UnitSet};

mod bus;
mod cron;
mod failover;
mod load;
mod packet;
mod replicate;
mod show;

pub use failover::Takeover;
pub use packet::{Cx, Out, Packet};
pub use replicate::{Link, Repl};

/// `CLUSTER_WRITABLE_DELAY`.
pub const WRITABLE_DELAY: u64 = 2000;
/// `CLUSTER_MF_TIMEOUT`.
pub const MF_TIMEOUT: u64 = 5000;
/// The period of `clusterCron`.
pub const CRON: u64 = 100;

/// Versions that behave alike.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// Redis up to 7.2.
    Redis72,
    /// Redis 7.4 and later, Valkey 8.0.
    Redis8,
    /// Valkey 8.1.
    Valkey81,
    /// Valkey 9.
    Valkey9,
}

/// Whose process it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// A member's.
    Pod {
        /// Index of its StatefulSet.
        set: usize,
        /// Its ordinal.
        ordinal: u32,
    },
    /// Somebody else's.
    Stranger,
}

/// What one process was started with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Its number.
    pub id: ProcId,
    /// Whose it is.
    pub owner: Owner,
    /// Which engine.
    pub family: Family,
    /// Where it listens.
    pub addr: Addr,
    /// Replication is served only to whoever has the same.
    pub secret: u8,
    /// `cluster-enabled`.
    pub cluster: bool,
    /// Whether data are on the disk as soon as they are acknowledged.
    pub persist: bool,
    /// Its disk; none for a stranger's.
    pub disk: Option<DiskId>,
    /// `cluster-node-timeout`.
    pub timeout: u64,
    /// `cluster-replica-validity-factor`.
    pub validity: u64,
}

/// A server process.
#[derive(Clone, Debug)]
pub struct Proc {
    /// What it was started with.
    pub with: Options,
    /// When it was started.
    pub started: u64,
    /// Whether it has ended.
    pub dead: bool,
    /// Until when it loads its data and talks to nobody.
    pub loading_until: u64,
    /// Everybody it knows, itself included.
    pub peers: Vec<Peer>,
    /// `currentEpoch`.
    pub current_epoch: u64,
    /// `lastVoteEpoch`.
    pub last_vote: u64,
    /// `cluster_state:ok`.
    pub ok: bool,
    first_cron: Option<u64>,
    minority_at: Option<u64>,
    auth: Election,
    manual: Manual,
    /// Until when it takes no writes since a replica is catching up.
    pub paused_until: u64,
    /// Its replication, if it is a replica.
    pub repl: Option<Repl>,
    /// Whether another server was started on its disk while it was cut off: its pod was deleted by
    /// force, and nobody could ask it.
    pub ghost: bool,
    /// Whom it has copied last, while it is a replica.
    pub copy_of: Option<ProcId>,
    /// Where it has dialled its own master.
    pub followed_at: Option<Addr>,
    /// Goes up whenever its own replicas have to start over.
    pub stream: u32,
    /// What it holds.
    pub data: Writes,
    /// Its replication offset.
    pub offset: u64,
    my_id: Nid,
}

/// A line of its node table.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its id.
    pub id: Nid,
    /// Where it is; `None` is the empty address, `:0@0`.
    pub addr: Option<Addr>,
    /// What it is.
    pub role: Role,
    /// `fail?`.
    pub pfail: bool,
    /// `fail`.
    pub fail: bool,
    fail_time: u64,
    /// `noaddr`.
    pub noaddr: bool,
    /// Met by address, name not known yet.
    pub handshake: Option<Handshake>,
    /// `configEpoch`.
    pub epoch: u64,
    /// Its slots.
    pub slots: UnitSet,
    ping_sent: u64,
    pong: u64,
    /// The connection that was made to it, and to whom it really leads.
    pub link: Option<Connection>,
    reports: Vec<(Nid, u64)>,
    offset: u64,
    voted: u64,
}

/// Master, replica, or not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// With slots or without.
    Master,
    /// Of whom.
    Replica(Nid),
    /// A node that was only named.
    Unknown,
}

/// A greeting under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Handshake {
    since: u64,
    meet: bool,
}

/// A connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Connection {
    /// Who accepted it.
    pub to: ProcId,
    since: u64,
}

/// The state of an election.
#[derive(Clone, Copy, Debug, Default)]
struct Election {
    time: u64,
    sent: bool,
    count: usize,
    epoch: u64,
}

/// Whether, until when and by whom an election is asked for by hand.
#[derive(Clone, Copy, Debug, Default)]
struct Manual {
    end: u64,
    can_start: bool,
    forced: bool,
    target: Option<u64>,
}

// === impl Family ===

impl Family {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Redis72, Self::Redis8, Self::Valkey81, Self::Valkey9];

    /// Whether it is one of the two later Valkeys, which differ in much.
    fn is_late_valkey(self) -> bool {
        matches!(self, Self::Valkey81 | Self::Valkey9)
    }

    /// Whether a node without an address counts as failed, and everybody is told.
    pub fn noaddr_fails(self) -> bool {
        self.is_late_valkey()
    }

    /// Whether every FORCE is an election of its own, and voters do not hold a recent vote for
    /// the same master against it.
    pub fn elects_at_once(self) -> bool {
        self.is_late_valkey()
    }

    /// Whether a replica follows its master's address that it learned by gossip.
    pub fn follows_gossip(self) -> bool {
        self.is_late_valkey()
    }

    /// Whether a master that turns into a replica unseen takes its slots out of others' tables.
    pub fn drops_slots_of_replicas(self) -> bool {
        self == Self::Redis72
    }

    /// Whether keys of slots that the file gives to somebody else are deleted at the start.
    pub fn deletes_foreign_keys(self) -> bool {
        self.is_late_valkey()
    }
}

// === impl Proc ===

impl Proc {
    /// Its own line.
    pub fn me(&self) -> &Peer {
        // The own line is made with the process and never deleted.
        self.peer(self.my_id).unwrap_or(&self.peers[0])
    }

    fn my(&mut self) -> &mut Peer {
        let at = self.at(self.my_id).unwrap_or(0);
        &mut self.peers[at]
    }

    /// Its id.
    pub fn id(&self) -> Nid {
        self.my_id
    }

    fn at(&self, id: Nid) -> Option<usize> {
        self.peers.iter().position(|p| p.id == id)
    }

    /// The line of a node.
    pub fn peer(&self, id: Nid) -> Option<&Peer> {
        self.peers.iter().find(|p| p.id == id)
    }

    /// Whether it is a master, with slots or without.
    pub fn is_master(&self) -> bool {
        self.me().role == Role::Master
    }

    /// Its master.
    pub fn master(&self) -> Option<Nid> {
        match self.me().role {
            Role::Replica(of) => Some(of),
            _ => None,
        }
    }

    fn owner(&self, unit: Unit) -> Option<usize> {
        self.peers.iter().position(|p| p.slots.has(unit))
    }

    /// Whether it takes a write.
    pub fn accepts(&self, unit: Unit, now: u64) -> bool {
        self.ok
            && self.answers(now)
            && now >= self.paused_until
            && self.is_master()
            && self.me().slots.has(unit)
    }

    /// Whether it answers commands.
    pub fn answers(&self, now: u64) -> bool {
        !self.dead && now >= self.loading_until
    }

    fn quorum(&self) -> usize {
        self.peers.iter().filter(|p| p.owns()).count() / 2 + 1
    }
}

// === impl Peer ===

impl Peer {
    fn new(id: Nid, addr: Option<Addr>, role: Role) -> Self {
        Self {
            id,
            addr,
            role,
            pfail: false,
            fail: false,
            fail_time: 0,
            noaddr: false,
            handshake: None,
            epoch: 0,
            slots: UnitSet::default(),
            ping_sent: 0,
            pong: 0,
            link: None,
            reports: Vec::new(),
            offset: 0,
            voted: 0,
        }
    }

    fn owns(&self) -> bool {
        self.role == Role::Master && !self.slots.is_empty()
    }
}
