//! nodes.conf, the file in which a node remembers its cluster: read, edit, write.
//!
//! Guarantees: a line that is not edited is written back byte for byte; a file that was read is
//! never written with a line that an engine would refuse or crash on; what engines load without
//! a word although it is damage (zero bytes, a missing `vars` line) is named. Time and memory are
//! in proportion to the file, which is bounded.
//!
//! The grammar is that of `clusterLoadConfig` (`cluster.c` up to 7.2, `cluster_legacy.c` after).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::id::{NodeId, ShardId};
use crate::net::{Address, Ports};
use crate::protocol::{Identity, Role};
use crate::slot::SlotRange;

mod agree;
mod assemble;
mod chain;
mod damage;
pub mod edit;
mod node;
mod parse;
mod remains;
mod rename;
mod succession;
mod target;

pub use agree::agree;
pub use assemble::{AssembleError, Duty, Sketch};
pub use damage::{Damage, NodesError, Trust};
pub use parse::MAX_BYTES;
pub use remains::Remains;
pub use rename::{renamed, renamed_shard};
pub use target::Target;

use chain::{End, ends};

/// A nodes.conf.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodesConf {
    lines: Vec<Line>,
    damage: Vec<Damage>,
}

/// What one member's line says of a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Where it was last seen.
    pub endpoint: Endpoint,
    /// Its flags, `myself` included.
    pub flags: BTreeSet<Flag>,
    /// Its master, if it is a replica.
    pub master: Option<NodeId>,
    /// `ping_sent`; only zero or not matters to the loader.
    pub ping_sent: u64,
    /// `pong_received`; likewise.
    pub pong_received: u64,
    /// `configEpoch`.
    pub config_epoch: u64,
    /// `connected` or `disconnected`; the loader skips it.
    pub link: String,
    /// Its slots.
    pub slots: Vec<SlotRange>,
    /// Slots under way, `[slot->-id]` and `[slot-<-id]`, as written.
    pub open_slots: Vec<String>,
}

/// The address field of a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// An IP literal as a rule; empty where unknown. Other text is damage, but engines take it.
    pub host: String,
    /// The port for clients.
    pub port: u16,
    /// The bus port; absent in files of 3.x.
    pub bus: Option<u16>,
    /// `cluster-announce-hostname` (7.0 and later); `None` where the field ends before it.
    pub hostname: Option<String>,
    /// Auxiliary fields in their order (7.2 and later): `shard-id`, `tls-port`, ...
    pub aux: Vec<(String, String)>,
}

/// A flag of a node.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Flag {
    /// The node whose file it is.
    Myself,
    /// A master.
    Master,
    /// A replica.
    Replica,
    /// Possibly failing, in this node's own opinion.
    PossiblyFailing,
    /// Failing, by a majority.
    Failing,
    /// An address that was met, and whose id is not known yet.
    Handshake,
    /// No address is known.
    NoAddress,
    /// Must not be promoted.
    NoFailover,
}

/// The epochs of the `vars` line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vars {
    /// `currentEpoch`.
    pub current_epoch: u64,
    /// `lastVoteEpoch`.
    pub last_vote_epoch: u64,
}

/// How the engine that will read a file writes addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// `ip:port@bus`: all versions load it; 7.2 and later learn shard ids from their peers.
    Plain,
    /// `ip:port@bus,,tls-port=N,shard-id=ID`: Redis 7.2 and later, Valkey.
    Aux,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Line {
    Blank(String),
    /// Names the loader does not know are kept: newer versions may write more.
    Vars {
        raw: String,
        was: Vars,
        now: Vars,
    },
    Node {
        raw: String,
        was: Box<Node>,
        now: Box<Node>,
    },
}

// === impl NodesConf ===

impl NodesConf {
    /// All nodes, the own one included, in the file's order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.lines.iter().filter_map(|line| match line {
            Line::Node { now, .. } => Some(&**now),
            _ => None,
        })
    }

    /// The node whose file it is. Every file that was read or made has one.
    pub fn myself(&self) -> Option<&Node> {
        self.nodes().find(|n| n.flags.contains(&Flag::Myself))
    }

    /// The node with this id.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes().find(|n| n.id == id)
    }

    /// The epochs; those of a file without a `vars` line are what the loader makes of it. Of two
    /// lines the higher numbers count.
    pub fn vars(&self) -> Vars {
        let lines = self.lines.iter().filter_map(|line| match line {
            Line::Vars { now, .. } => Some(*now),
            _ => None,
        });
        let higher = |a: Vars, b: Vars| Vars {
            current_epoch: a.current_epoch.max(b.current_epoch),
            last_vote_epoch: a.last_vote_epoch.max(b.last_vote_epoch),
        };
        lines.reduce(higher).unwrap_or_else(|| Vars {
            current_epoch: self.nodes().map(|n| n.config_epoch).max().unwrap_or(0),
            last_vote_epoch: 0,
        })
    }

    /// Damage that was found and can be lived with.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// What the file says of the node it belongs to.
    pub fn identity(&self) -> Option<Identity> {
        let me = self.myself()?;
        let (role, epoch) = match me.master {
            Some(of) => (Role::Replica { of }, self.node(of).map_or(0, |m| m.config_epoch)),
            None => (Role::Master, me.config_epoch),
        };
        Some(Identity {
            node_id: me.id,
            role,
            slots: me.slots.clone(),
            config_epoch: epoch,
            current_epoch: self.vars().current_epoch,
        })
    }

    /// Which of the two ways this file writes addresses.
    pub fn format(&self) -> Format {
        if self.nodes().any(|n| !n.endpoint.aux.is_empty()) { Format::Aux } else { Format::Plain }
    }

    /// Takes the file as it is now for what was read, so that it equals its own text, read.
    fn settle(&mut self) {
        for line in &mut self.lines {
            match line {
                Line::Blank(_) => {}
                Line::Vars { was, now, .. } if was == now => {}
                Line::Node { was, now, .. } if was == now => {}
                Line::Vars { now, .. } => *line = Line::from(*now),
                Line::Node { now, .. } => *line = Line::from((**now).clone()),
            }
        }
    }

    fn ends(&self) -> BTreeMap<NodeId, End> {
        ends(&self.nodes().map(|n| (n.id, n.master)).collect())
    }

    fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.lines.iter_mut().filter_map(|line| match line {
            Line::Node { now, .. } => Some(&mut **now),
            _ => None,
        })
    }
}

impl fmt::Display for NodesConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Blank(raw) => f.write_str(raw)?,
                Line::Vars { raw, was, now } if was == now => f.write_str(raw)?,
                Line::Vars { now, .. } => writeln!(f, "{now}")?,
                Line::Node { raw, was, now } if was == now => f.write_str(raw)?,
                Line::Node { now, .. } => writeln!(f, "{now}")?,
            }
        }
        Ok(())
    }
}

// === impl Line ===

impl From<Vars> for Line {
    fn from(vars: Vars) -> Self {
        Self::Vars { raw: format!("{vars}\n"), was: vars, now: vars }
    }
}

impl From<Node> for Line {
    fn from(node: Node) -> Self {
        let raw = format!("{node}\n");
        Self::Node { raw, was: Box::new(node.clone()), now: Box::new(node) }
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// The endpoint of a node whose address is not known. Without the flag `noaddr`: with it the
    /// engines never look for the node again (Redis), or take it for failed (Valkey 8.1).
    pub fn unknown() -> Self {
        Self { host: String::new(), port: 0, bus: Some(0), hostname: None, aux: Vec::new() }
    }

    /// The address, where it is one.
    pub fn address(&self) -> Option<Address> {
        let ip = self.host.parse().ok()?;
        let on = |port: u16| (port != 0).then_some(port);
        let aux = |name: &str| self.aux(name).map(|p| p.parse().unwrap_or(0));
        // The port in front is the one of the two that has no field of its own.
        let (tcp, tls) = match (aux("tcp-port"), aux("tls-port")) {
            (None, tls) => (self.port, tls.unwrap_or(0)),
            (Some(tcp), None) => (tcp, self.port),
            (Some(tcp), Some(tls)) => (tcp, tls),
        };
        let bus = self.bus.or_else(|| self.port.checked_add(10_000))?;
        Some(Address { ip, ports: Ports { tcp: on(tcp), tls: on(tls), bus } })
    }

    /// The value of an auxiliary field.
    pub fn aux(&self, name: &str) -> Option<&str> {
        self.aux.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The shard it belongs to, where the field is there and valid.
    pub fn shard_id(&self) -> Option<ShardId> {
        self.aux("shard-id")?.parse().ok()
    }

    fn set_aux(&mut self, name: &str, value: String) {
        self.hostname.get_or_insert_default();
        match self.aux.iter_mut().find(|(n, _)| n == name) {
            Some((_, v)) => *v = value,
            None => self.aux.push((name.to_owned(), value)),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        if let Some(bus) = self.bus {
            write!(f, "@{bus}")?;
        }
        if let Some(hostname) = &self.hostname {
            write!(f, ",{hostname}")?;
        }
        self.aux.iter().try_for_each(|(name, value)| write!(f, ",{name}={value}"))
    }
}

// === impl Flag ===

impl Flag {
    /// As the engines write it. (`slave` is what every version reads.)
    pub fn name(self) -> &'static str {
        match self {
            Self::Myself => "myself",
            Self::Master => "master",
            Self::Replica => "slave",
            Self::PossiblyFailing => "fail?",
            Self::Failing => "fail",
            Self::Handshake => "handshake",
            Self::NoAddress => "noaddr",
            Self::NoFailover => "nofailover",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "myself" => Self::Myself,
            "master" | "primary" => Self::Master,
            "slave" | "replica" => Self::Replica,
            "fail?" => Self::PossiblyFailing,
            "fail" => Self::Failing,
            "handshake" => Self::Handshake,
            "noaddr" => Self::NoAddress,
            "nofailover" => Self::NoFailover,
            _ => return None,
        })
    }
}

// === impl Vars ===

impl fmt::Display for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { current_epoch, last_vote_epoch } = self;
        write!(f, "vars currentEpoch {current_epoch} lastVoteEpoch {last_vote_epoch}")
    }
}

#[cfg(test)]
mod tests;
