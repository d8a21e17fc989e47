//! The cluster bus: `clusterProcessPacket` and what it calls.
//!
//! Guarantees: who sent a packet is told by its id and by nothing else, as in the engines.

use super::packet::{Body, Out, Packet};
use super::{Cx, Peer, Proc, Role};
use crate::ids::{Addr, Nid};
use crate::units::UnitSet;

impl Proc {
    /// Takes a packet in.
    pub fn receive(&mut self, cx: &mut Cx<'_>, packet: &Packet) {
        if !self.with.cluster || cx.now < self.loading_until {
            return;
        }
        // From 7.0 on the answer on a connection is taken for that node's, by its place.
        let on = packet.on.and_then(|on| self.at(on));
        let on = on.filter(|on| self.peers[*on].link.is_some_and(|l| l.to == packet.from));
        if packet.on.is_some() && on.is_none() {
            return;
        }
        let by_id = self.at(packet.sender);
        let sender = on.or(by_id).filter(|s| self.peers[*s].handshake.is_none());
        let sender = sender.filter(|s| self.peers[*s].id != self.my_id);
        if let Some(s) = sender {
            self.learn_epochs(cx, s, packet);
        }
        match (packet.body, sender) {
            (Body::Ping | Body::Meet | Body::Pong, _) => self.greeted(cx, on, sender, packet),
            (_, None) => {}
            (Body::Fail(id), Some(_)) => self.heard_fail(cx, id),
            (Body::Update { node, epoch, slots }, Some(_)) => {
                self.heard_update(cx, node, epoch, slots);
            }
            (Body::Request { force }, Some(s)) => self.vote(cx, s, packet, force),
            (Body::Ack, Some(s)) => self.heard_vote(cx, s, packet),
            (Body::ManualStart, Some(s)) => self.manual_start(cx, s),
        }
        self.update_state(cx);
    }

    fn learn_epochs(&mut self, cx: &mut Cx<'_>, s: usize, packet: &Packet) {
        let newer = packet.epoch > self.peers[s].epoch && packet.role == Role::Master;
        if packet.current_epoch > self.current_epoch || newer {
            self.current_epoch = self.current_epoch.max(packet.current_epoch);
            self.save(cx);
        }
        let peer = &mut self.peers[s];
        if newer {
            peer.epoch = packet.epoch;
        }
        peer.offset = packet.offset;
        if packet.paused && self.master() == Some(packet.sender) {
            self.heard_paused(packet.offset);
        }
    }

    fn greeted(
        &mut self,
        cx: &mut Cx<'_>,
        on: Option<usize>,
        sender: Option<usize>,
        packet: &Packet,
    ) {
        if packet.body != Body::Pong {
            let unknown = self.at(packet.sender).is_none();
            if packet.body == Body::Meet && unknown {
                self.greet(cx, packet.from_addr, false);
            }
            self.answer(cx, packet);
        }
        if let Some(on) = on {
            if self.peers[on].handshake.is_some() {
                return self.shake_hands(cx, on, packet);
            }
            if self.peers[on].id != packet.sender {
                return self.mismatch(cx, on);
            }
            self.alive(cx, on);
        }
        let Some(s) = sender else { return };
        if packet.body == Body::Ping {
            self.moved(cx, s, packet.from_addr);
        }
        self.learn_role(cx, s, packet);
        self.learn_slots(cx, s, packet);
        self.collide(cx, s, packet);
        self.gossip(cx, s, packet);
    }

    fn alive(&mut self, cx: &mut Cx<'_>, on: usize) {
        let patience = 2 * self.with.timeout;
        let peer = &mut self.peers[on];
        peer.pong = cx.now;
        peer.ping_sent = 0;
        if peer.pfail {
            peer.pfail = false;
        } else if peer.fail && (!peer.owns() || cx.now - peer.fail_time > patience) {
            // `clearNodeFailureIfNeeded`
            peer.fail = false;
            self.save(cx);
        }
    }

    fn shake_hands(&mut self, cx: &mut Cx<'_>, on: usize, packet: &Packet) {
        if let Some(known) = self.at(packet.sender) {
            // "We already know node": its address is taken over.
            let addr = self.peers[on].addr;
            if let (Some(addr), true) = (addr, packet.sender != self.my_id) {
                self.moved(cx, known, addr);
            }
            self.peers.remove(on);
            return;
        }
        let peer = &mut self.peers[on];
        peer.id = packet.sender;
        peer.role = packet.role;
        peer.handshake = None;
        peer.pong = cx.now;
        peer.ping_sent = 0;
        self.save(cx);
    }

    /// Somebody else answers where a node should be.
    fn mismatch(&mut self, cx: &mut Cx<'_>, on: usize) {
        let fails = self.with.family.noaddr_fails();
        let peer = &mut self.peers[on];
        peer.noaddr = true;
        peer.addr = None;
        peer.link = None;
        if fails && !peer.fail {
            peer.fail = true;
            peer.pfail = false;
            peer.fail_time = cx.now;
            let id = peer.id;
            self.broadcast(cx, Body::Fail(id));
        }
        self.save(cx);
    }

    /// `nodeUpdateAddressIfNeeded`.
    fn moved(&mut self, cx: &mut Cx<'_>, s: usize, addr: Addr) {
        let peer = &mut self.peers[s];
        if peer.addr == Some(addr) && !peer.noaddr {
            return;
        }
        peer.addr = Some(addr);
        peer.noaddr = false;
        peer.link = None;
        let id = peer.id;
        if self.master() == Some(id) {
            self.redial(cx.now, Some(addr));
        }
        self.save(cx);
    }

    fn learn_role(&mut self, cx: &mut Cx<'_>, s: usize, packet: &Packet) {
        if self.peers[s].role == packet.role {
            return;
        }
        if let (Role::Replica(of), true) = (packet.role, self.peers[s].owns()) {
            // Later versions know the two for one shard, and give its slots to the new master.
            if self.with.family.drops_slots_of_replicas() {
                self.peers[s].slots = UnitSet::default();
            } else if let Some(heir) = self.at(of)
                && self.peers[heir].role == Role::Master
            {
                let slots = std::mem::take(&mut self.peers[s].slots);
                self.peers[heir].slots.add(slots);
            }
        }
        self.peers[s].role = packet.role;
        self.save(cx);
    }

    fn learn_slots(&mut self, cx: &mut Cx<'_>, s: usize, packet: &Packet) {
        let master = match self.peers[s].role {
            Role::Replica(of) => self.at(of),
            _ => Some(s),
        };
        let Some(master) = master else { return };
        if self.peers[master].slots == packet.slots {
            return;
        }
        if self.peers[s].role == Role::Master {
            self.take_slots(cx, s, packet.epoch, packet.slots);
        }
        let newer = self.peers.iter().find(|p| {
            p.id != packet.sender && p.epoch > packet.epoch && !p.slots.and(packet.slots).is_empty()
        });
        if let Some(newer) = newer {
            let Peer { id, epoch, slots, .. } = *newer;
            self.send(cx, s, Body::Update { node: id, epoch, slots });
        }
    }

    /// `clusterUpdateSlotsConfigWith`.
    fn take_slots(&mut self, cx: &mut Cx<'_>, s: usize, epoch: u64, slots: UnitSet) {
        let id = self.peers[s].id;
        if id == self.my_id {
            return;
        }
        let current = self.master().unwrap_or(self.my_id);
        let (mut taken, mut ours) = (UnitSet::default(), UnitSet::default());
        for unit in slots.each() {
            let owner = self.owner(unit);
            if owner.is_none_or(|o| o != s && self.peers[o].epoch < epoch) {
                taken.insert(unit);
                if owner.is_some_and(|o| self.peers[o].id == current) {
                    ours.insert(unit);
                }
            }
        }
        if taken.is_empty() {
            return;
        }
        for peer in &mut self.peers {
            peer.slots.remove(taken);
        }
        self.peers[s].slots.add(taken);
        let left = self.peer(current).is_some_and(|p| !p.slots.is_empty());
        if !ours.is_empty() && !left {
            self.set_master(cx, id);
        } else if !ours.is_empty() && current == self.my_id {
            cx.out.push(Out::Drop(ours));
        }
        self.save(cx);
    }

    fn heard_update(&mut self, cx: &mut Cx<'_>, node: Nid, epoch: u64, slots: UnitSet) {
        let Some(n) = self.at(node) else { return };
        if self.peers[n].epoch >= epoch || node == self.my_id {
            return;
        }
        self.peers[n].role = Role::Master;
        self.peers[n].epoch = epoch;
        self.take_slots(cx, n, epoch, slots);
        self.save(cx);
    }

    /// `clusterHandleConfigEpochCollision`.
    fn collide(&mut self, cx: &mut Cx<'_>, s: usize, packet: &Packet) {
        let both = self.is_master() && packet.role == Role::Master;
        if !both || packet.epoch != self.me().epoch {
            return;
        }
        if cx.names.id(self.peers[s].id) <= cx.names.id(self.my_id) {
            return;
        }
        self.current_epoch += 1;
        let epoch = self.current_epoch;
        self.my().epoch = epoch;
        self.save(cx);
    }

    // --- failures ---

    fn gossip(&mut self, cx: &mut Cx<'_>, s: usize, packet: &Packet) {
        let judge = self.peers[s].owns();
        let by = self.peers[s].id;
        for gossip in &packet.gossip {
            if gossip.id == self.my_id {
                continue;
            }
            let Some(i) = self.at(gossip.id) else {
                if !gossip.noaddr {
                    self.peers.push(Peer::new(gossip.id, gossip.addr, gossip.role));
                    self.save(cx);
                }
                continue;
            };
            if judge {
                let reports = &mut self.peers[i].reports;
                reports.retain(|(who, _)| *who != by);
                if gossip.failing {
                    reports.push((by, cx.now));
                    self.mark_failing_if_needed(cx, i);
                }
            }
            let peer = &mut self.peers[i];
            let differs = gossip.addr.is_some() && gossip.addr != peer.addr;
            if (peer.fail || peer.pfail) && !gossip.failing && !gossip.noaddr && differs {
                peer.addr = gossip.addr;
                peer.noaddr = false;
                peer.link = None;
                let id = peer.id;
                if self.master() == Some(id) && self.with.family.follows_gossip() {
                    self.redial(cx.now, gossip.addr);
                }
                self.save(cx);
            }
        }
    }

    /// `markNodeAsFailingIfNeeded`.
    pub(super) fn mark_failing_if_needed(&mut self, cx: &mut Cx<'_>, i: usize) {
        let valid = 2 * self.with.timeout;
        let (mine, quorum) = (usize::from(self.is_master()), self.quorum());
        let peer = &mut self.peers[i];
        if !peer.pfail || peer.fail {
            return;
        }
        peer.reports.retain(|(_, at)| cx.now - at <= valid);
        if peer.reports.len() + mine < quorum {
            return;
        }
        peer.pfail = false;
        peer.fail = true;
        peer.fail_time = cx.now;
        let id = peer.id;
        self.broadcast(cx, Body::Fail(id));
        self.save(cx);
    }

    fn heard_fail(&mut self, cx: &mut Cx<'_>, id: Nid) {
        let Some(i) = self.at(id).filter(|_| id != self.my_id) else { return };
        let peer = &mut self.peers[i];
        if !peer.fail {
            peer.fail = true;
            peer.pfail = false;
            peer.fail_time = cx.now;
            self.save(cx);
        }
    }
}
