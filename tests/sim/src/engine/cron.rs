//! `clusterCron` and the state of the cluster as one server sees it; MEET and REPLICATE.

use super::packet::{Body, Out};
use super::{Connection, Cx, Handshake, Peer, Proc, Role, WRITABLE_DELAY};
use crate::ids::{Addr, Nid};
use crate::units::{Unit, UnitSet};

impl Proc {
    /// What it does every 100 ms; `keys` are the units of which it holds some, at the first time.
    pub fn cron(&mut self, cx: &mut Cx<'_>, keys: UnitSet) {
        if !self.with.cluster {
            return;
        }
        if self.first_cron.is_none() {
            self.first_cron = Some(cx.now);
            self.verify(cx, keys);
            self.update_state(cx);
            self.save(cx);
        }
        self.expire_handshakes(cx);
        for i in 0..self.peers.len() {
            self.tend(cx, i);
        }
        if self.manual.end != 0 && cx.now > self.manual.end {
            self.manual = Default::default();
        }
        self.follow_chain(cx);
        self.failover(cx);
        self.update_state(cx);
    }

    /// Whether it has looked at its keys.
    pub fn has_begun(&self) -> bool {
        self.first_cron.is_some()
    }

    fn expire_handshakes(&mut self, cx: &Cx<'_>) {
        let patience = self.with.timeout.max(1000);
        self.peers.retain(|p| p.handshake.is_none_or(|h| cx.now < h.since + patience));
    }

    /// The connection to a node: made, used, given up; and whether the node seems to fail.
    fn tend(&mut self, cx: &mut Cx<'_>, i: usize) {
        let timeout = self.with.timeout;
        let peer = &mut self.peers[i];
        if peer.id == self.my_id || peer.noaddr {
            return;
        }
        if let Some(link) = peer.link {
            let silent = peer.ping_sent != 0 && cx.now - peer.ping_sent > timeout / 2;
            if cx.net.is_reset(link.to) || (silent && cx.now - link.since > timeout / 2) {
                peer.link = None;
            }
        }
        if peer.link.is_none() {
            match peer.addr.and_then(|addr| cx.net.connect(self.with.id, addr)) {
                Some(to) => {
                    peer.link = Some(Connection { to, since: cx.now });
                    let since = peer.ping_sent;
                    let meet = peer.handshake.is_some_and(|h| h.meet);
                    self.send(cx, i, if meet { Body::Meet } else { Body::Ping });
                    if since != 0 {
                        self.peers[i].ping_sent = since;
                    }
                }
                None if peer.ping_sent == 0 => peer.ping_sent = cx.now,
                None => {}
            }
        } else if peer.ping_sent == 0 && cx.now >= peer.pong + 1000 {
            self.send(cx, i, Body::Ping);
        }
        let peer = &mut self.peers[i];
        let late = peer.ping_sent != 0 && cx.now - peer.ping_sent > timeout;
        if late && peer.handshake.is_none() && !peer.pfail && !peer.fail {
            peer.pfail = true;
        }
        if self.peers[i].pfail {
            self.mark_failing_if_needed(cx, i);
        }
    }

    /// A replica of a replica goes to the master.
    fn follow_chain(&mut self, cx: &mut Cx<'_>) {
        let Some(of) = self.master() else { return };
        if let Some(Role::Replica(up)) = self.peer(of).map(|p| p.role)
            && up != self.my_id
            && self.peer(up).is_some()
        {
            self.set_master(cx, up);
        }
    }

    /// `clusterUpdateState`.
    pub(super) fn update_state(&mut self, cx: &Cx<'_>) {
        let Some(first) = self.first_cron else { return };
        if self.is_master() && !self.ok && cx.now < first + WRITABLE_DELAY {
            return;
        }
        let mut covered = UnitSet::default();
        let (mut size, mut reachable) = (0, 0);
        for peer in &self.peers {
            if !peer.fail {
                covered.add(peer.slots);
            }
            if peer.owns() {
                size += 1;
                reachable += usize::from(!peer.fail && !peer.pfail);
            }
        }
        let mut ok = covered == cx.units.all();
        if reachable < size / 2 + 1 {
            ok = false;
            self.minority_at = Some(cx.now);
        }
        if ok == self.ok {
            return;
        }
        let delay = self.with.timeout.clamp(500, 5000);
        if ok && self.is_master() && self.minority_at.is_some_and(|at| cx.now < at + delay) {
            return;
        }
        self.ok = ok;
    }

    /// `CLUSTER MEET`.
    pub fn meet(&mut self, cx: &mut Cx<'_>, addr: Addr) {
        let under_way = self.peers.iter().any(|p| p.handshake.is_some() && p.addr == Some(addr));
        if !under_way {
            self.greet(cx, addr, true);
        }
    }

    /// Adds a node by address, to be greeted.
    pub(super) fn greet(&mut self, cx: &mut Cx<'_>, addr: Addr, meet: bool) {
        let mut peer = Peer::new(cx.names.fresh(), Some(addr), Role::Unknown);
        peer.handshake = Some(Handshake { since: cx.now, meet });
        self.peers.push(peer);
    }

    /// `CLUSTER REPLICATE`: whether it was taken.
    pub fn replicate(&mut self, cx: &mut Cx<'_>, of: Nid) -> bool {
        let known = self.peer(of).is_some_and(|p| p.role == Role::Master && p.handshake.is_none());
        let free = !self.is_master() || (self.me().slots.is_empty() && self.data.is_empty());
        let taken = known && free && of != self.my_id;
        // In Valkey 8.0 and later naming the same master again does nothing.
        let same = self.master() == Some(of) && self.with.family.follows_gossip();
        if taken && !same {
            self.set_master(cx, of);
        }
        taken
    }

    /// `CLUSTER SETSLOT n NODE` at the new owner: the slot is its own at an epoch above all.
    pub fn import(&mut self, cx: &mut Cx<'_>, unit: Unit) {
        let unit = UnitSet(1 << unit.0);
        for peer in &mut self.peers {
            peer.slots.remove(unit);
        }
        let highest = self.peers.iter().map(|p| p.epoch).max().unwrap_or(0);
        let highest = highest.max(self.current_epoch);
        if self.me().epoch != highest {
            self.current_epoch = highest + 1;
            self.my().epoch = highest + 1;
        }
        self.my().slots.add(unit);
        self.save(cx);
        self.broadcast(cx, Body::Pong);
    }

    /// The same at the former owner, whose keys have gone.
    pub fn export(&mut self, cx: &mut Cx<'_>, unit: Unit, to: Nid) {
        let unit = UnitSet(1 << unit.0);
        self.my().slots.remove(unit);
        if let Some(to) = self.at(to) {
            self.peers[to].slots.add(unit);
        }
        cx.out.push(Out::Drop(unit));
        self.save(cx);
    }
}
