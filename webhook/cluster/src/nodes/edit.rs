//! Changes to nodes.conf, and files made from nothing.
//!
//! Guarantees: ids, roles, slots and epochs are left as they are by a repair; a slot never gets
//! a second owner; the epochs of `vars` only grow.

use std::collections::{BTreeMap, BTreeSet};

use super::{Endpoint, Flag, Format, Line, Node, NodesConf, Trust, Vars};
use crate::id::{NodeId, Ordinal};
use crate::net::{Address, Ports};
use crate::plan::Plan;

pub use super::succession::{SuccessionError, UnknownHeir};

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

    /// The file with which a member begins that has no seat: itself, a master without slots.
    pub fn guest(id: NodeId, address: Address) -> Self {
        let mut endpoint = Endpoint::unknown();
        endpoint.point_at(Some(&address));
        let own = Line::from(Node {
            id,
            endpoint,
            flags: BTreeSet::from([Flag::Master, Flag::Myself]),
            master: None,
            ping_sent: 0,
            pong_received: 0,
            config_epoch: 0,
            link: "connected".to_owned(),
            slots: Vec::new(),
            open_slots: Vec::new(),
        });
        let vars = Line::from(Vars { current_epoch: 0, last_vote_epoch: 0 });
        Self { lines: vec![own, vars], damage: Vec::new() }
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
        self.one_vars_line();
        let peers = match self.myself() {
            Some(me) => certain(me.id, own, peers),
            None => BTreeMap::new(),
        };
        self.lines.retain(|line| match line {
            Line::Node { now, .. }
                if now.flags.contains(&Flag::Handshake) && now.slots.is_empty() =>
            {
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
            node.endpoint.tidy();
            let before = node.endpoint.clone();
            node.endpoint.point_at(address);
            if node.endpoint != before && address.is_some() {
                changes.moved.insert(node.id);
            }
            let flags = node.flags.len();
            node.flags.remove(&Flag::Failing);
            node.flags.remove(&Flag::PossiblyFailing);
            node.flags.remove(&Flag::Handshake);
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
        if self.trust() != Trust::Whole {
            let owned = self.nodes().map(|n| n.config_epoch).max().unwrap_or(0);
            self.raise_epoch(owned);
        }
        changes
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
        self.one_vars_line();
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

    /// Raises `currentEpoch` to what is known from elsewhere. Where the file's own epochs are not
    /// certain, this member then counts as having voted in all of them.
    pub fn raise_epoch(&mut self, epoch: u64) {
        let Vars { current_epoch, last_vote_epoch } = self.vars();
        let certain = self.trust() == Trust::Whole;
        let current_epoch = current_epoch.max(last_vote_epoch).max(epoch);
        let last_vote_epoch = if certain { last_vote_epoch } else { current_epoch };
        for line in &mut self.lines {
            if let Line::Vars { now, .. } = line {
                *now = Vars { current_epoch, last_vote_epoch };
            }
        }
    }

    /// Before anything is changed: without the line, the epochs are those of the nodes' lines.
    pub(super) fn one_vars_line(&mut self) {
        let vars = self.vars();
        let is_vars = |line: &Line| matches!(line, Line::Vars { .. });
        if self.lines.iter().filter(|line| is_vars(line)).count() != 1 {
            self.lines.retain(|line| !is_vars(line));
            self.lines.push(Line::from(vars));
        }
    }

    /// Gives every node its master's shard id, and a master without one that of its replicas; if
    /// some shard has none, all go.
    pub(super) fn agree_on_shards(&mut self) {
        let ends = self.ends();
        let masters: BTreeMap<NodeId, NodeId> =
            ends.into_iter().map(|(id, end)| (id, end.id())).collect();
        let mut shards: BTreeMap<NodeId, String> = BTreeMap::new();
        let said = |node: &Node| Some((node.id, node.endpoint.shard_id()?.to_string()));
        for (id, shard) in self.nodes().filter_map(said) {
            match masters.get(&id) {
                Some(master) if *master == id => drop(shards.insert(id, shard)),
                Some(master) => drop(shards.entry(*master).or_insert(shard)),
                None => {}
            }
        }
        let complete = masters.values().all(|master| shards.contains_key(master));
        for node in self.nodes_mut() {
            match masters.get(&node.id).and_then(|master| shards.get(master)) {
                Some(shard) if complete => node.endpoint.set_aux("shard-id", shard.clone()),
                _ => node.endpoint.aux.retain(|(name, _)| name != "shard-id"),
            }
        }
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
