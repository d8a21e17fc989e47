//! What a server makes of its disk when it starts.
//!
//! Guarantees: without a file it starts with a name of its own, as a master of nothing.

use cluster::nodes::{Flag, NodesConf};

use super::{Cx, Election, Handshake, Manual, Options, Out, Peer, Proc, Repl, Role};
use crate::data::Writes;
use crate::ids::{Addr, Names, Nid};
use crate::units::{UnitSet, Units};

impl Proc {
    /// A server as it starts.
    pub fn start(
        with: Options,
        conf: Option<&NodesConf>,
        data: Writes,
        times: (u64, u64),
        names: &mut Names,
        units: &Units,
    ) -> Self {
        let (now, loading) = times;
        let mut proc = Self {
            with,
            started: now,
            dead: false,
            loading_until: now + loading,
            peers: Vec::new(),
            current_epoch: 0,
            last_vote: 0,
            ok: false,
            first_cron: None,
            minority_at: None,
            auth: Election::default(),
            manual: Manual::default(),
            paused_until: 0,
            repl: None,
            ghost: false,
            copy_of: None,
            followed_at: None,
            stream: 0,
            data,
            offset: 0,
            my_id: Nid(0),
        };
        match conf {
            Some(conf) => proc.read(conf, now, names, units),
            None => {
                proc.my_id = names.fresh();
                proc.peers.push(Peer::new(proc.my_id, Some(with.addr), Role::Master));
            }
        }
        if let Some(of) = proc.master() {
            // Without an address it dials nobody, and waits to be told.
            let host = proc.peer(of).and_then(|p| p.addr);
            proc.repl = Some(Repl::new(host));
            // The step writes no address where its master was not.
            proc.followed_at = host;
        }
        proc
    }

    fn read(&mut self, conf: &NodesConf, now: u64, names: &mut Names, units: &Units) {
        let mut taken = UnitSet::default();
        for node in conf.nodes() {
            let id = names.number(node.id);
            let role = match (node.is_master(), node.master) {
                (true, _) => Role::Master,
                (false, Some(of)) => Role::Replica(names.number(of)),
                (false, None) => Role::Unknown,
            };
            let addr = node.endpoint.address().and_then(|a| Addr::of(a.ip));
            let has = |flag| node.flags.contains(&flag);
            let mut peer = Peer::new(id, addr, role);
            peer.noaddr = has(Flag::NoAddress);
            peer.pfail = has(Flag::PossiblyFailing);
            peer.fail = has(Flag::Failing) || (peer.noaddr && self.with.family.noaddr_fails());
            peer.fail_time = now;
            if has(Flag::Handshake) {
                peer.handshake = Some(Handshake { since: now, meet: false });
            }
            // 7.0 and later force 0 for a replica with a known master.
            peer.epoch = if role == Role::Master { node.config_epoch } else { 0 };
            // Of two lines that claim a slot the first one counts.
            peer.slots = units.of(&node.slots);
            peer.slots.remove(taken);
            taken.add(peer.slots);
            peer.ping_sent = if node.ping_sent == 0 { 0 } else { now };
            peer.pong = if node.pong_received == 0 { 0 } else { now };
            if has(Flag::Myself) {
                self.my_id = id;
            }
            self.peers.push(peer);
        }
        let vars = conf.vars();
        let highest = self.peers.iter().map(|p| p.epoch).max().unwrap_or(0);
        self.current_epoch = vars.current_epoch.max(highest);
        self.last_vote = vars.last_vote_epoch;
    }

    /// `verifyClusterConfigWithData`: keys in slots that are not its own.
    pub(super) fn verify(&mut self, cx: &mut Cx<'_>, keys: UnitSet) {
        if !self.is_master() {
            return;
        }
        let mut foreign = UnitSet::default();
        for unit in keys.each() {
            match self.owner(unit) {
                None => self.my().slots.insert(unit),
                Some(owner) if self.peers[owner].id != self.my_id => foreign.insert(unit),
                Some(_) => {}
            }
        }
        // Redis marks them as importing and keeps them.
        if !foreign.is_empty() && self.with.family.deletes_foreign_keys() {
            cx.out.push(Out::Drop(foreign));
        }
    }
}
