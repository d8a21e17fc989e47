//! Messages of the cluster bus, and what a server does to the world.

use super::{Peer, Proc, Role};
use crate::ids::{Addr, Names, Nid, ProcId};
use crate::net::Net;
use crate::units::{UnitSet, Units};

/// One message on the cluster bus.
#[derive(Clone, Debug)]
pub struct Packet {
    pub(super) from: ProcId,
    pub(super) from_addr: Addr,
    pub(super) sender: Nid,
    /// For an answer: the node for which the receiver made the connection.
    pub(super) on: Option<Nid>,
    /// The node for which the connection was made on which it is sent.
    pub(super) made_for: Option<Nid>,
    pub(super) current_epoch: u64,
    pub(super) epoch: u64,
    pub(super) slots: UnitSet,
    pub(super) role: Role,
    pub(super) offset: u64,
    pub(super) paused: bool,
    pub(super) body: Body,
    pub(super) gossip: Vec<Gossip>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Body {
    Ack,
    Fail(Nid),
    ManualStart,
    Meet,
    Ping,
    Pong,
    Request { force: bool },
    Update { node: Nid, epoch: u64, slots: UnitSet },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Gossip {
    pub(super) id: Nid,
    pub(super) addr: Option<Addr>,
    pub(super) role: Role,
    pub(super) failing: bool,
    pub(super) noaddr: bool,
}

/// What a server does to the world.
#[derive(Clone, Debug)]
pub enum Out {
    /// Deletes the keys of these slots.
    Drop(UnitSet),
    /// Writes nodes.conf.
    Save,
    /// Sends a message.
    Send(ProcId, Box<Packet>),
    /// Has been made a master of these slots, by votes or by force.
    Won {
        /// Which slots.
        units: UnitSet,
        /// Whether somebody asked for it.
        forced: bool,
    },
}

/// The world around a server while it acts.
#[derive(Debug)]
pub struct Cx<'a> {
    /// The time.
    pub now: u64,
    /// Chance.
    pub rng: &'a mut fastrand::Rng,
    /// Who can be reached where.
    pub net: &'a Net,
    /// The units of slots.
    pub units: &'a Units,
    /// New names.
    pub names: &'a mut Names,
    /// What it does.
    pub out: Vec<Out>,
}

// === impl Packet ===

impl Packet {
    /// Who sent it.
    pub fn from(&self) -> ProcId {
        self.from
    }
}

// === impl Gossip ===

impl Gossip {
    fn of(peer: &Peer) -> Self {
        Self {
            id: peer.id,
            addr: peer.addr,
            role: peer.role,
            failing: peer.pfail || peer.fail,
            noaddr: peer.noaddr,
        }
    }
}

// === impl Proc ===

impl Proc {
    pub(super) fn send(&mut self, cx: &mut Cx<'_>, to: usize, body: Body) {
        let Some(link) = self.peers[to].link else { return };
        if matches!(body, Body::Ping | Body::Meet) {
            self.peers[to].ping_sent = cx.now;
        }
        let mut packet = self.packet(cx, body, None);
        packet.made_for = Some(self.peers[to].id);
        cx.out.push(Out::Send(link.to, Box::new(packet)));
    }

    pub(super) fn broadcast(&mut self, cx: &mut Cx<'_>, body: Body) {
        for i in 0..self.peers.len() {
            if self.peers[i].id != self.my_id && self.peers[i].handshake.is_none() {
                self.send(cx, i, body);
            }
        }
    }

    /// The answer goes back on the connection that the sender made for a node.
    pub(super) fn answer(&self, cx: &mut Cx<'_>, to: &Packet) {
        let packet = self.packet(cx, Body::Pong, to.made_for);
        cx.out.push(Out::Send(to.from, Box::new(packet)));
    }

    fn packet(&self, cx: &Cx<'_>, body: Body, on: Option<Nid>) -> Packet {
        let me = self.me();
        let master = match me.role {
            Role::Replica(of) => self.peer(of),
            _ => None,
        };
        let claims = master.unwrap_or(me);
        let gossips = matches!(body, Body::Ping | Body::Pong | Body::Meet);
        let worth = |p: &&Peer| p.id != self.my_id && p.handshake.is_none() && !p.noaddr;
        let others = self.peers.iter().filter(worth);
        Packet {
            from: self.with.id,
            from_addr: self.with.addr,
            sender: self.my_id,
            on,
            made_for: None,
            current_epoch: self.current_epoch,
            epoch: claims.epoch,
            slots: claims.slots,
            role: me.role,
            offset: self.offset,
            paused: cx.now < self.paused_until && self.is_master(),
            body,
            gossip: if gossips { others.map(Gossip::of).collect() } else { Vec::new() },
        }
    }

    pub(super) fn save(&self, cx: &mut Cx<'_>) {
        if !matches!(cx.out.last(), Some(Out::Save)) {
            cx.out.push(Out::Save);
        }
    }
}
