//! Changes to nodes.conf, and files made from nothing.
//!
//! Guarantees: ids, roles, slots and epochs are left as they are by a repair; a slot never gets
//! a second owner; the epochs of `vars` only grow.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Endpoint, Flag, Format, Line, Node, NodesConf, Vars};
use crate::id::{NodeId, Ordinal};
use crate::net::{Address, Ports};
use crate::plan::Plan;

/// What a repair changed, for people.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Ids whose address is another one now.
    pub moved: BTreeSet<NodeId>,
    /// Ids whose address is not known.
    pub unknown: BTreeSet<NodeId>,
    /// Ids whose line was dropped.
    pub dropped: BTreeSet<NodeId>,
    /// Ids that lost a stale flag.
    pub unflagged: BTreeSet<NodeId>,
}

/// The heir of this node's slots is not in its own file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownHeir(pub NodeId);

/// A succession that can not be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SuccessionError {
    /// The own line is not a replica's.
    NoReplica,
    /// The own line's master has no line, or that line is not a master's.
    NoMaster(NodeId),
    /// Somebody in the file has an epoch as high, so others need not believe it.
    OldEpoch {
        /// The epoch that was to be written.
        epoch: u64,
        /// The highest one in the file.
        highest: u64,
    },
}

impl NodesConf {
    /// The file with which an ordinal of a plan begins: all members, slots and epochs.
    /// `None` for an ordinal that the plan does not seat.
    pub fn bootstrap(
        plan: &Plan,
        own: Ordinal,
        own_address: Address,
        peers: &BTreeMap<NodeId, Address>,
        format: Format,
    ) -> Option<Self> {
        plan.seat(own)?;
        let peers = certain(plan.node_id(own), own_address, peers);
        let mut lines = Vec::new();
        for ordinal in plan.ordinals() {
            let seat = plan.seat(ordinal)?;
            let id = plan.node_id(ordinal);
            let mine = ordinal == own;
            let address = if mine { Some(&own_address) } else { peers.get(&id) };
            let mut endpoint = Endpoint::unknown();
            if format == Format::Aux {
                endpoint.set_aux("tls-port", "0".to_owned());
                endpoint.set_aux("shard-id", plan.shard_id(seat.shard).to_string());
            }
            endpoint.point_at(address);
            let mut flags =
                BTreeSet::from([if seat.master { Flag::Master } else { Flag::Replica }]);
            if mine {
                flags.insert(Flag::Myself);
            }
            lines.push(Line::from(Node {
                id,
                endpoint,
                flags,
                master: (!seat.master).then(|| plan.node_id(Ordinal(seat.shard))),
                ping_sent: 0,
                pong_received: 0,
                config_epoch: if seat.master { plan.epoch(seat.shard) } else { 0 },
                link: if mine { "connected" } else { "disconnected" }.to_owned(),
                slots: if seat.master { vec![plan.slots(seat.shard)?] } else { Vec::new() },
                open_slots: Vec::new(),
            }));
        }
        let vars = Vars { current_epoch: plan.current_epoch(), last_vote_epoch: 0 };
        lines.push(Line::from(vars));
        Some(Self { lines, damage: Vec::new() })
    }

    /// Sets every address by node id, in one pass, and drops what a restart makes untrue.
    ///
    /// - Peers that are not known get an empty address and no flag: they are recognised by id
    ///   when they appear, and fail in the ordinary way if they do not.
    /// - `fail` and `fail?` go: kept, they cost twice the node timeout, or elect at once.
    /// - Handshakes go: nobody is met by an address that a file remembers.
    /// - Who has neither address nor slots and is flagged `noaddr` is left as it is: a ghost that
    ///   blocks nothing, or a replica that says by itself where it is.
    /// - An address that two ids are said to have is nobody's.
    /// - Shard ids agree within a shard, or all go: a mixture aborts 7.2 to 8.1.
    /// - Where `vars` was cut off, it is the highest epoch that is left: no vote is given twice.
    pub fn repair(&mut self, own: Address, peers: &BTreeMap<NodeId, Address>) -> Changes {
        let mut changes = Changes::default();
        let peers = match self.myself() {
            Some(me) => certain(me.id, own, peers),
            None => BTreeMap::new(),
        };
        self.lines.retain(|line| match line {
            Line::Node { now, .. } if now.flags.contains(&Flag::Handshake) => {
                changes.dropped.insert(now.id);
                false
            }
            _ => true,
        });
        for node in self.nodes_mut() {
            let mine = node.flags.contains(&Flag::Myself);
            let address = if mine { Some(&own) } else { peers.get(&node.id) };
            if address.is_none() {
                changes.unknown.insert(node.id);
            }
            let before = node.endpoint.clone();
            node.endpoint.point_at(address);
            if node.endpoint != before && address.is_some() {
                changes.moved.insert(node.id);
            }
            let flags = node.flags.len();
            node.flags.remove(&Flag::Failing);
            node.flags.remove(&Flag::PossiblyFailing);
            if address.is_some() || !node.slots.is_empty() {
                node.flags.remove(&Flag::NoAddress);
            }
            if node.flags.len() != flags {
                changes.unflagged.insert(node.id);
            }
            // Not zero would mean "just now" to the loader, and delay the discovery of a failure.
            node.ping_sent = 0;
            node.pong_received = 0;
        }
        self.agree_on_shards();
        if !self.lines.iter().any(|line| matches!(line, Line::Vars { .. })) {
            let epoch = self.vars().current_epoch;
            self.lines.push(Line::from(Vars { current_epoch: epoch, last_vote_epoch: epoch }));
        }
        changes
    }

    /// Turns the own line into a replica of `heir`, which owns its slots at `epoch`.
    ///
    /// # Errors
    /// If the heir has no line: then nothing is changed.
    pub fn step_down(&mut self, heir: NodeId, epoch: u64) -> Result<(), UnknownHeir> {
        if self.node(heir).is_none() || self.myself().is_none_or(|me| me.id == heir) {
            return Err(UnknownHeir(heir));
        }
        let mut slots = Vec::new();
        let mut own = None;
        for node in self.nodes_mut().filter(|n| n.flags.contains(&Flag::Myself)) {
            slots = std::mem::take(&mut node.slots);
            node.follow(heir);
            own = Some(node.id);
        }
        for node in self.nodes_mut() {
            if node.id == heir {
                node.flags.remove(&Flag::Replica);
                node.flags.insert(Flag::Master);
                node.master = None;
                node.config_epoch = node.config_epoch.max(epoch);
                node.slots.extend(&slots);
            } else if node.master == own {
                node.master = Some(heir);
            }
        }
        self.raise_epoch(epoch);
        self.agree_on_shards();
        Ok(())
    }

    /// Turns the own line, a replica's, into the master of its shard from `epoch` on: it takes the
    /// former master's slots, and the former master and its other replicas follow it. Nobody has to
    /// vote or to be told: the higher epoch wins.
    ///
    /// # Errors
    /// If the own line is no replica of a listed master, or the epoch is not above every owner's:
    /// then nothing is changed.
    pub fn succeed(&mut self, epoch: u64) -> Result<(), SuccessionError> {
        let me = self.myself().map(|me| (me.id, me.master));
        let Some((me, Some(former))) = me else { return Err(SuccessionError::NoReplica) };
        let Some(master) = self.node(former).filter(|node| node.is_master()) else {
            return Err(SuccessionError::NoMaster(former));
        };
        let slots = master.slots.clone();
        let highest = self.nodes().filter(|n| n.is_master()).map(|n| n.config_epoch).max();
        if let Some(highest) = highest.filter(|highest| *highest >= epoch) {
            return Err(SuccessionError::OldEpoch { epoch, highest });
        }
        for node in self.nodes_mut() {
            if node.id == me {
                node.flags.remove(&Flag::Replica);
                node.flags.insert(Flag::Master);
                node.master = None;
                node.config_epoch = epoch;
                node.slots.clone_from(&slots);
            } else if node.id == former {
                node.follow(me);
            } else if node.master == Some(former) {
                node.master = Some(me);
            }
        }
        self.raise_epoch(epoch);
        self.agree_on_shards();
        Ok(())
    }

    /// Keeps the own server, if it is a master, from taking writes until a majority has answered:
    /// all other owners of slots are flagged `fail?` in its own view. To be called after a repair,
    /// and only for the first member that starts alone: two files with these flags add up to a
    /// verdict. Says whether there is any other owner.
    pub fn hold_back(&mut self) -> bool {
        let mut any = false;
        for node in self.nodes_mut() {
            let mine = node.flags.contains(&Flag::Myself);
            if !mine && node.is_master() && !node.slots.is_empty() {
                node.flags.insert(Flag::PossiblyFailing);
                any = true;
            }
        }
        any
    }

    /// Drops the lines of these nodes, which would otherwise bring themselves back to everybody.
    /// Gives those that have to stay: the own line, whoever owns slots, and whoever is named by a
    /// line that stays (as a master, or by an open slot): engines would make it up again.
    pub fn forget(&mut self, ids: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let mut kept = BTreeSet::new();
        let mut named: Vec<&Node> = Vec::new();
        for node in self.nodes() {
            let mine = node.flags.contains(&Flag::Myself);
            if !ids.contains(&node.id) || mine || !node.slots.is_empty() {
                kept.insert(node.id);
                named.push(node);
            }
        }
        while let Some(node) = named.pop() {
            let others = node
                .master
                .into_iter()
                .chain(node.open_slots.iter().filter_map(|open| partner(open)));
            for other in others.filter_map(|id| self.node(id)) {
                if kept.insert(other.id) {
                    named.push(other);
                }
            }
        }
        self.lines.retain(|line| match line {
            Line::Node { now, .. } => kept.contains(&now.id),
            _ => true,
        });
        kept.retain(|id| ids.contains(id));
        kept
    }

    fn raise_epoch(&mut self, epoch: u64) {
        for line in &mut self.lines {
            if let Line::Vars { now, .. } = line {
                now.current_epoch = now.current_epoch.max(epoch);
            }
        }
    }

    pub(super) fn agree_on_shards(&mut self) {
        let shards: BTreeMap<NodeId, String> = self
            .nodes()
            .filter(|n| n.master.is_none())
            .filter_map(|n| Some((n.id, n.endpoint.shard_id()?.to_string())))
            .collect();
        let complete = self.nodes().all(|n| shards.contains_key(&n.master.unwrap_or(n.id)));
        for node in self.nodes_mut() {
            match shards.get(&node.master.unwrap_or(node.id)) {
                Some(shard) if complete => node.endpoint.set_aux("shard-id", shard.clone()),
                _ => node.endpoint.aux.retain(|(name, _)| name != "shard-id"),
            }
        }
    }
}

impl Node {
    /// Makes it a replica of `master`.
    fn follow(&mut self, master: NodeId) {
        self.flags.remove(&Flag::Master);
        self.flags.insert(Flag::Replica);
        self.master = Some(master);
        self.config_epoch = 0;
        self.slots.clear();
        self.open_slots.clear();
    }
}

/// The node at the other end of an open slot.
fn partner(open: &str) -> Option<NodeId> {
    open.strip_suffix(']')?.rsplit_once('-')?.1.parse().ok()
}

/// The addresses that only one id has. The own one is known; another id there is an old entry.
fn certain(
    me: NodeId,
    own: Address,
    peers: &BTreeMap<NodeId, Address>,
) -> BTreeMap<NodeId, Address> {
    let place = |a: &Address| (a.ip, a.ports.bus);
    let others = || peers.iter().filter(|(id, _)| **id != me);
    let mut ids = BTreeMap::from([(place(&own), 1)]);
    for (_, address) in others() {
        *ids.entry(place(address)).or_insert(0) += 1;
    }
    others().filter(|(_, a)| ids.get(&place(a)) == Some(&1)).map(|(id, a)| (*id, *a)).collect()
}

/// The port that a cluster without auxiliary fields uses: the one that lies 10,000 below the bus
/// if that is the one for TLS, else whichever is on.
pub(super) fn cluster_port(ports: &Ports) -> Option<u16> {
    let over_tls = ports.tls.filter(|p| p.checked_add(10_000) == Some(ports.bus));
    over_tls.or(ports.client())
}

impl Endpoint {
    /// Sets address and ports, or takes them away, and leaves the rest as it is.
    pub(super) fn point_at(&mut self, address: Option<&Address>) {
        match address {
            Some(Address { ip, ports }) => {
                self.host = ip.to_string();
                let (tcp, tls) = (ports.tcp.unwrap_or(0), ports.tls.unwrap_or(0));
                // The port in front is the one of the two that has no field of its own; without
                // any field it is the one port that the cluster uses.
                self.port = match (self.aux("tcp-port"), self.aux("tls-port")) {
                    (None, None) => cluster_port(ports).unwrap_or(0),
                    (Some(_), None) => tls,
                    (_, Some(_)) => tcp,
                };
                if self.bus.is_some() || ports.bus != self.port.saturating_add(10_000) {
                    self.bus = Some(ports.bus);
                }
                for (name, port) in [("tcp-port", tcp), ("tls-port", tls)] {
                    if self.aux(name).is_some() {
                        self.set_aux(name, port.to_string());
                    }
                }
            }
            None => {
                self.host.clear();
                self.port = 0;
                self.bus = self.bus.map(|_| 0);
            }
        }
    }
}

// === impl SuccessionError ===

impl fmt::Display for SuccessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReplica => {
                f.write_str("the own line is not a replica's, so it succeeds nobody")
            }
            Self::NoMaster(id) => write!(f, "the own line's master {id} is not listed as a master"),
            Self::OldEpoch { epoch, highest } => write!(
                f,
                "the succession's epoch {epoch} is not above {highest}, which the file already has"
            ),
        }
    }
}

impl std::error::Error for SuccessionError {}
