//! Elections: asked for, voted on, won; by votes, by force, and without asking anybody.

use super::packet::{Body, Out, Packet};
use super::{Cx, Election, Family, MF_TIMEOUT, Manual, Peer, Proc, Role};

/// `repl-ping-replica-period`.
const REPL_PING: u64 = 10_000;

/// How a replica is told to take over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Takeover {
    /// `CLUSTER FAILOVER`: with its master's help.
    Graceful,
    /// `FORCE`: a majority votes.
    Force,
    /// `TAKEOVER`: nobody is asked.
    Takeover,
}

impl Proc {
    /// `clusterHandleSlaveFailover`.
    pub(super) fn failover(&mut self, cx: &mut Cx<'_>) {
        let Some(master) = self.master().and_then(|of| self.peer(of)) else { return };
        let manual = self.manual.end != 0 && self.manual.can_start;
        if master.slots.is_empty() || !(master.fail || manual) {
            return;
        }
        if !manual && !self.is_fresh(cx.now) {
            return;
        }
        let auth_timeout = (2 * self.with.timeout).max(2000);
        let begun = self.auth.time != 0 && cx.now < self.auth.time + 2 * auth_timeout;
        if !begun {
            let delay = self.delay(cx, manual);
            self.auth = Election { time: cx.now + delay, ..Election::default() };
            self.broadcast(cx, Body::Pong);
            return;
        }
        if cx.now < self.auth.time || cx.now > self.auth.time + auth_timeout {
            return;
        }
        if !self.auth.sent {
            self.current_epoch += 1;
            self.auth.epoch = self.current_epoch;
            self.auth.sent = true;
            self.broadcast(cx, Body::Request { force: manual });
            self.save(cx);
            return;
        }
        self.win_if_elected(cx);
    }

    fn delay(&self, cx: &mut Cx<'_>, manual: bool) -> u64 {
        if manual {
            return 0;
        }
        let rank = self.rank();
        match self.with.family {
            Family::Valkey9 => {
                let base = (self.with.timeout / 30).min(500);
                base + cx.rng.u64(0..=base) + rank * 2 * base
            }
            _ => 500 + cx.rng.u64(0..=500) + rank * 1000,
        }
    }

    fn win_if_elected(&mut self, cx: &mut Cx<'_>) {
        if self.auth.sent && self.auth.count >= self.quorum() && self.master().is_some() {
            let epoch = self.auth.epoch;
            let my = self.my();
            my.epoch = my.epoch.max(epoch);
            self.replace_master(cx);
        }
    }

    /// Whether its data are recent enough to stand; one that was never linked never is.
    fn is_fresh(&self, now: u64) -> bool {
        if self.with.validity == 0 {
            return true;
        }
        let Some(repl) = &self.repl else { return false };
        let since = match (repl.up, repl.down_since) {
            (Some(_), _) => repl.last_io,
            (None, 0) => return false,
            (None, since) => since,
        };
        let age = now.saturating_sub(since).saturating_sub(self.with.timeout);
        age <= REPL_PING + self.with.timeout * self.with.validity
    }

    fn rank(&self) -> u64 {
        let of = self.me().role;
        let better = |p: &&Peer| p.id != self.my_id && p.role == of && p.offset > self.offset;
        self.peers.iter().filter(better).count() as u64
    }

    /// `clusterFailoverReplaceYourMaster`.
    fn replace_master(&mut self, cx: &mut Cx<'_>) {
        let Some(old) = self.master().and_then(|of| self.at(of)) else { return };
        let units = std::mem::take(&mut self.peers[old].slots);
        let forced = self.manual.end != 0;
        let my = self.my();
        my.role = Role::Master;
        my.slots.add(units);
        self.repl = None;
        self.copy_of = None;
        self.manual = Manual::default();
        self.auth = Election::default();
        self.update_state(cx);
        self.save(cx);
        self.broadcast(cx, Body::Pong);
        cx.out.push(Out::Won { units, forced });
    }

    /// `CLUSTER FAILOVER`: whether the command was taken, which says nothing of its success.
    pub fn take_over(&mut self, cx: &mut Cx<'_>, how: Takeover) -> bool {
        let Some(at) = self.master().and_then(|of| self.at(of)) else { return false };
        let end = cx.now + MF_TIMEOUT;
        match how {
            Takeover::Takeover => {
                let highest = self.peers.iter().map(|p| p.epoch).max().unwrap_or(0);
                let highest = highest.max(self.current_epoch);
                if self.me().epoch == 0 || self.me().epoch != highest {
                    self.current_epoch = highest + 1;
                    self.my().epoch = highest + 1;
                }
                self.manual = Manual { end, ..Manual::default() };
                self.replace_master(cx);
            }
            Takeover::Force => {
                self.manual = Manual { end, can_start: true, forced: true, target: None };
                if self.with.family.elects_at_once() {
                    self.auth = Election::default();
                }
            }
            Takeover::Graceful => {
                let master = &self.peers[at];
                if master.fail || master.link.is_none() {
                    return false;
                }
                self.manual = Manual { end, ..Manual::default() };
                self.send(cx, at, Body::ManualStart);
            }
        }
        true
    }

    /// Whether it was told to take over and has not done so yet.
    pub fn takes_over(&self) -> bool {
        self.manual.end != 0 && self.manual.forced
    }

    /// The master pauses until its replica has all.
    pub(super) fn manual_start(&mut self, cx: &mut Cx<'_>, from: usize) {
        if self.peers[from].role == Role::Replica(self.my_id) {
            self.paused_until = cx.now + 2 * MF_TIMEOUT;
            self.send(cx, from, Body::Ping);
        }
    }

    /// A paused master's greeting says how far its replica has to come.
    pub(super) fn heard_paused(&mut self, offset: u64) {
        if self.manual.end != 0 && !self.manual.forced {
            let target = *self.manual.target.get_or_insert(offset);
            self.manual.can_start |= self.offset >= target;
        }
    }

    /// `clusterSendFailoverAuthIfNeeded`.
    pub(super) fn vote(&mut self, cx: &mut Cx<'_>, from: usize, packet: &Packet, force: bool) {
        if !self.me().owns() || packet.current_epoch < self.current_epoch {
            return;
        }
        if self.last_vote == self.current_epoch {
            return;
        }
        let Role::Replica(of) = self.peers[from].role else { return };
        let Some(master) = self.at(of) else { return };
        if !self.peers[master].fail && !force {
            return;
        }
        let voted = self.peers[master].voted;
        let recent = voted != 0 && cx.now - voted < 2 * self.with.timeout;
        if recent && !self.with.family.elects_at_once() {
            return;
        }
        let newer = |p: &Peer| !p.slots.and(packet.slots).is_empty() && p.epoch > packet.epoch;
        if self.peers.iter().any(newer) {
            return;
        }
        self.last_vote = self.current_epoch;
        self.peers[master].voted = cx.now;
        self.save(cx);
        self.send(cx, from, Body::Ack);
    }

    pub(super) fn heard_vote(&mut self, cx: &mut Cx<'_>, from: usize, packet: &Packet) {
        let counts = self.peers[from].owns() && packet.current_epoch >= self.auth.epoch;
        if self.auth.sent && counts {
            self.auth.count += 1;
            self.win_if_elected(cx);
        }
    }
}
