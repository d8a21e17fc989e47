//! A guest joins its cluster, by the real hook's rules.

use std::collections::BTreeMap;

use cluster::planner::Answer as Probed;
use cluster::protocol::{Mark, Report, View};

use super::{Hook, HookId, State};
use crate::engine::{Owner, Peer, Proc, Role};
use crate::ids::{Addr, Nid};
use crate::registry::Request;
use crate::units::UnitSet;
use crate::world::{Event, World};

impl World {
    pub(super) fn join(&mut self, id: HookId, hook: &Hook, view: &View) {
        self.leave_mark(hook, view);
        let own = self.sets[hook.set].pod_name(hook.ordinal);
        let Some(at) = self.host(&own, view) else { return self.report_joined(id, None) };
        self.counts.joins += 1;
        self.tell(|| format!("{} meets {}", self.who(hook.proc), at.0));
        self.act(hook.proc, |server, cx| server.meet(cx, at));
        self.set_state(id, State::Joining);
        self.queue.after(100, Event::Hook(id));
    }

    fn leave_mark(&mut self, hook: &Hook, view: &View) {
        let node_id = self.names.id(self.proc(hook.proc).id());
        let (namespace, name) = (view.namespace.clone(), view.name.clone());
        let mark = Mark { namespace, name, salt: view.plan.salt.clone(), node_id };
        if let Some(disk) = self.proc(hook.proc).with.disk {
            self.disk(disk).mark = Some(mark);
        }
    }

    pub(super) fn join_goes_on(&mut self, id: HookId, hook: &Hook) {
        if let Some(master) = missed_most(self.proc(hook.proc), self.units.all())
            && self.act(hook.proc, |server, cx| server.replicate(cx, master))
        {
            let me = self.proc(hook.proc).id();
            return self.report_joined(id, Some(me));
        }
        if self.now() >= hook.deadline {
            return self.report_joined(id, None);
        }
        self.queue.after(100, Event::Hook(id));
    }

    /// A member of the set that has named its id, and knows others and an owner of slots.
    fn host(&mut self, own: &str, view: &View) -> Option<Addr> {
        let others = view.pods.iter().filter(|(name, p)| **name != own && p.running);
        let ips: Vec<_> = others.flat_map(|(_, p)| p.ips.clone()).collect();
        ips.into_iter().filter_map(Addr::of).find(|addr| {
            let (_, answer) = self.probe_at(addr.client());
            let Some(id) = self.net.who(*addr) else { return false };
            let server = self.proc(id);
            matches!(answer, Probed::Node(_))
                && server.peers.len() > 1
                && server.peers.iter().any(|p| !p.slots.is_empty())
                && matches!(server.with.owner, Owner::Pod { .. })
        })
    }

    fn report_joined(&mut self, id: HookId, me: Option<Nid>) {
        let report = match me {
            Some(me) => Report {
                node_id: Some(self.names.id(me)),
                ..Report::normal("Joined", "joined as a replica")
            },
            None => Report::warning("NotJoined", "nobody to meet"),
        };
        self.set_state(id, State::Joined);
        self.hook_asks(id, Request::Report(report));
    }
}

/// The living slot owner with the fewest living replicas, while all slots have a living owner.
fn missed_most(server: &Proc, all: UnitSet) -> Option<Nid> {
    let alive = |p: &&Peer| {
        let failing = p.fail || p.pfail || p.noaddr || p.handshake.is_some();
        !failing && p.link.is_some()
    };
    let mut covered = UnitSet::default();
    let mut replicas: BTreeMap<Nid, u32> = BTreeMap::new();
    for owner in server.peers.iter().filter(alive).filter(|p| p.role == Role::Master) {
        if !owner.slots.is_empty() {
            covered.add(owner.slots);
            replicas.insert(owner.id, 0);
        }
    }
    if covered != all {
        return None;
    }
    for peer in server.peers.iter().filter(alive) {
        if let Role::Replica(of) = peer.role
            && let Some(count) = replicas.get_mut(&of)
        {
            *count += 1;
        }
    }
    replicas.into_iter().min_by_key(|(_, count)| *count).map(|(id, _)| id)
}
