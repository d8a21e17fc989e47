//! Changes to nodes.conf, and files made from nothing.
//!
//! Guarantees: ids, roles, slots and epochs are left as they are by a repair; a slot never gets
//! a second owner; the epochs of `vars` only grow.

use std::collections::{BTreeMap, BTreeSet};

use super::{Endpoint, Flag, Format, Line, Node, NodesConf, Vars};
use crate::id::{NodeId, Ordinal};
use crate::net::Address;
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
            let node = Box::new(Node {
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
            });
            lines.push(Line::Node { raw: format!("{node}\n"), was: node.clone(), now: node });
        }
        let vars = Vars { current_epoch: plan.current_epoch(), last_vote_epoch: 0 };
        lines.push(Line::Vars { raw: format!("{vars}\n"), was: vars, now: vars });
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
            let vars = Vars { current_epoch: epoch, last_vote_epoch: epoch };
            self.lines.push(Line::Vars { raw: format!("{vars}\n"), was: vars, now: vars });
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
            node.open_slots.clear();
            node.flags.remove(&Flag::Master);
            node.flags.insert(Flag::Replica);
            node.master = Some(heir);
            node.config_epoch = 0;
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

    fn raise_epoch(&mut self, epoch: u64) {
        for line in &mut self.lines {
            if let Line::Vars { now, .. } = line {
                now.current_epoch = now.current_epoch.max(epoch);
            }
        }
    }

    fn agree_on_shards(&mut self) {
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

impl Endpoint {
    /// Sets address and ports, or takes them away, and leaves the rest as it is.
    fn point_at(&mut self, address: Option<&Address>) {
        match address {
            Some(Address { ip, ports }) => {
                self.host = ip.to_string();
                let with_aux = self.aux("tls-port").is_some() || self.aux("tcp-port").is_some();
                // Without auxiliary fields it is the one port that the cluster uses.
                let over_tls = ports.tls.filter(|p| p.checked_add(10_000) == Some(ports.bus));
                let only = over_tls.or(ports.client());
                self.port = if with_aux { ports.tcp } else { only }.unwrap_or(0);
                if self.bus.is_some() || ports.bus != self.port.saturating_add(10_000) {
                    self.bus = Some(ports.bus);
                }
                if self.aux("tls-port").is_some() {
                    self.set_aux("tls-port", ports.tls.unwrap_or(0).to_string());
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
