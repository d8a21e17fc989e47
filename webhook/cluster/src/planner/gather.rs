//! What the planner asks the outside for: the registry, a server that may still run as this
//! member, and peers that have not registered.
//!
//! Guarantees: every question has a deadline; nobody is asked twice for the same thing unless
//! something has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::{
    Action, Answer, DiskState, Inspected, Millis, PROBE_PATIENCE, Planner, Poll, Probe,
    REGISTRY_PATIENCE, REGISTRY_PATIENCE_BLANK, Registry, TWIN_PATIENCE, Twin, decide,
};
use crate::id::NodeId;
use crate::net::{Address, Ports};
use crate::nodes::{Flag, Node, NodesConf};
use crate::protocol::{Disk, Pod, Register, Stopped};
use crate::server::{Persistence, ServerConfig};

// === impl Planner ===

impl Planner {
    // --- the registry ---

    pub(super) fn ask_registry(
        &mut self,
        now: Millis,
        config: &ServerConfig,
        conf: Option<&NodesConf>,
        data: bool,
        poll: &mut Poll,
    ) {
        let Registry::Idle { next, attempts } = self.registry else { return };
        if now < next {
            poll.wake_at(next);
            return;
        }
        self.registry = Registry::Asked { attempts: attempts + 1 };
        let read = match &self.disk {
            DiskState::Read(disk) => Some(&**disk),
            _ => None,
        };
        // What was so long ago when the disk was read is longer ago in a later try.
        let since = read.map_or(0, |disk| now.0.saturating_sub(disk.at.0));
        let older = |stopped: &Stopped| Stopped {
            ago: stopped.ago.saturating_add(since),
            linked_ago: stopped.linked_ago.map(|ago| ago.saturating_add(since)),
            offset: stopped.offset,
        };
        let failed = conf.into_iter().flat_map(NodesConf::nodes);
        let failed = failed.filter(|node| node.flags.contains(&Flag::Failing));
        poll.actions.push(Action::Register(Box::new(Register {
            step: self.setup.step.clone(),
            ips: self.setup.ips.clone(),
            ports: config.ports(),
            disk: Disk {
                identity: conf.and_then(NodesConf::identity),
                data,
                keeps: config.persistence() != Persistence::Nothing,
                mark: read.and_then(|disk| disk.mark.clone()),
                written_ago: read.and_then(|disk| disk.written_ago?.checked_add(since)),
                stopped: read.and_then(|disk| disk.stopped.as_ref().map(older)),
                failed: failed.map(|node| node.id).collect(),
            },
            node_id: self.declared,
        })));
    }

    pub(super) fn registry_failed(&mut self, now: Millis, why: String, retry: bool) {
        let Registry::Asked { attempts } = self.registry else { return };
        let blank = matches!(&self.disk, DiskState::Read(d) if matches!(d.conf, Ok(None)));
        let patience = if blank { REGISTRY_PATIENCE_BLANK } else { REGISTRY_PATIENCE };
        self.registry = if retry && now < patience {
            let pause = 100u64 << attempts.min(4);
            Registry::Idle { next: Millis(now.0 + pause), attempts }
        } else {
            Registry::Away(why)
        };
    }

    // --- a process that still runs under this identity ---

    pub(super) fn check_twin(&mut self, now: Millis, conf: Option<&NodesConf>, poll: &mut Poll) {
        match self.twin {
            Twin::Unchecked => {
                // The file of a copied disk tells where the original's member is, who is no twin.
                let old = conf
                    .filter(|_| self.foreign_mark().is_none())
                    .and_then(NodesConf::myself)
                    .and_then(|me| me.endpoint.address())
                    .filter(|a| !self.setup.ips.contains(&a.ip) && !self.certainly_ended());
                self.twin = match old.and_then(|a| a.client()) {
                    Some(at) => {
                        poll.actions.push(Action::Probe(at));
                        poll.wake_at(Millis(now.0 + PROBE_PATIENCE.0));
                        Twin::Asked { at, since: now, seen: false }
                    }
                    None => Twin::Gone,
                };
            }
            Twin::Asked { since, .. } if now.0 >= since.0 + PROBE_PATIENCE.0 => {
                self.twin = Twin::Gone;
            }
            Twin::Asked { since, .. } => poll.wake_at(Millis(since.0 + PROBE_PATIENCE.0)),
            Twin::Pause { at, until } if now >= until => {
                if now >= TWIN_PATIENCE {
                    return self.refuse(decide::runs_on(at));
                }
                poll.actions.push(Action::Probe(at));
                self.twin = Twin::Asked { at, since: now, seen: true };
                poll.wake_at(Millis(now.0 + PROBE_PATIENCE.0));
            }
            Twin::Pause { until, .. } => poll.wake_at(until),
            Twin::Gone => {}
        }
    }

    pub(super) fn certainly_ended(&self) -> bool {
        self.doubts.predecessor_ended || self.view().is_some_and(|v| v.predecessor_ended)
    }

    // --- peers ---

    pub(super) fn probed(&mut self, now: Millis, at: SocketAddr, answer: Answer) {
        if let Twin::Asked { at: twin, seen, .. } = self.twin
            && twin == at
        {
            let mine = match &self.disk {
                DiskState::Read(disk) => {
                    disk.conf.as_ref().ok().and_then(Option::as_ref).and_then(NodesConf::myself)
                }
                _ => None,
            }
            .map(|me| me.id);
            // One that loads may be this member, and would take writes on the same disk once it has.
            if mine.is_some_and(|id| answer == Answer::Node(id) || answer == Answer::Loading) {
                self.twin = Twin::Pause { at, until: Millis(now.0 + 100) };
            } else {
                self.twin = Twin::Gone;
                if seen {
                    // It may have written its file, and others may have registered, until now.
                    self.disk = DiskState::Unread;
                    self.registry = Registry::Idle { next: now, attempts: 0 };
                }
            }
            return;
        }
        if let Some(probe) = self.probes.get_mut(&at) {
            probe.answer.get_or_insert(answer);
        }
    }

    /// Asks whoever may be an unknown peer; true once nothing is left to wait for.
    pub(super) fn ask_peers(
        &mut self,
        now: Millis,
        config: &ServerConfig,
        conf: Option<&NodesConf>,
        poll: &mut Poll,
    ) -> bool {
        let Some(conf) = conf else { return true };
        if matches!(self.registry, Registry::Away(_)) {
            let asked = *self.resolve_asked.get_or_insert_with(|| {
                poll.actions.push(Action::Resolve);
                now
            });
            let until = Millis(asked.0 + 2 * PROBE_PATIENCE.0);
            if self.resolved.is_none() && now < until {
                poll.wake_at(until);
                return false;
            }
        }
        let candidates = self.candidates(config, conf);
        self.probe(now, &candidates, poll);
        self.probed_all(now, &candidates, poll)
    }

    /// Asks whoever is at these addresses, once.
    pub(super) fn probe(&mut self, now: Millis, places: &BTreeSet<SocketAddr>, poll: &mut Poll) {
        for at in places {
            self.probes.entry(*at).or_insert_with(|| {
                poll.actions.push(Action::Probe(*at));
                Probe { asked: now, answer: None }
            });
        }
    }

    /// Whether everybody asked there has answered or had the time to.
    pub(super) fn probed_all(
        &self,
        now: Millis,
        places: &BTreeSet<SocketAddr>,
        poll: &mut Poll,
    ) -> bool {
        let asked = places.iter().filter_map(|at| self.probes.get(at));
        let open = asked.filter(|probe| probe.answer.is_none());
        match open.map(|probe| Millis(probe.asked.0 + PROBE_PATIENCE.0)).max() {
            Some(until) if now < until => {
                poll.wake_at(until);
                false
            }
            _ => true,
        }
    }

    /// Addresses behind which a peer may be that has not registered.
    pub(super) fn candidates(
        &self,
        config: &ServerConfig,
        conf: &NodesConf,
    ) -> BTreeSet<SocketAddr> {
        let unknown: Vec<_> = {
            let registered = self.registered();
            conf.nodes().filter(|n| !registered.contains_key(&n.id)).collect()
        };
        let mut out = BTreeSet::new();
        if unknown.iter().all(|n| n.flags.contains(&Flag::Myself)) {
            return out;
        }
        let port = config.ports().client().unwrap_or(6379);
        match &self.registry {
            Registry::Known(view) => {
                let silent = view.pods.iter().filter(|(name, pod)| {
                    pod.running && **name != view.pod && !view.members.contains_key(*name)
                });
                out.extend(
                    silent.flat_map(|(_, pod)| &pod.ips).map(|ip| SocketAddr::new(*ip, port)),
                );
                let living: BTreeSet<_> = out.iter().map(SocketAddr::ip).collect();
                let by_file = unknown.iter().filter_map(|n| n.endpoint.address()?.client());
                out.extend(by_file.filter(|at| living.contains(&at.ip())).collect::<Vec<_>>());
            }
            _ => {
                let by_name = self.resolved.iter().flatten().map(|ip| SocketAddr::new(*ip, port));
                out.extend(by_name);
                out.extend(unknown.iter().filter_map(|n| n.endpoint.address()?.client()));
            }
        }
        out.retain(|at| !self.setup.ips.contains(&at.ip()));
        out
    }

    /// Where servers of this set may be that can say what they know of the cluster.
    pub(super) fn around(
        &self,
        config: &ServerConfig,
        conf: Option<&NodesConf>,
    ) -> BTreeSet<SocketAddr> {
        let mut out: BTreeSet<_> = self.registered().values().filter_map(Address::client).collect();
        let port = config.ports().client().unwrap_or(6379);
        match &self.registry {
            Registry::Known(view) => {
                let others = view.members.iter().filter(|(name, _)| **name != view.pod);
                out.extend(others.flat_map(|(_, m)| {
                    m.ips.iter().filter_map(|ip| Some(SocketAddr::new(*ip, m.ports.client()?)))
                }));
                // One that could not register may run although the API server does not say so: a
                // container counts as running once its post-start has ended.
                let silent = view.pods.iter().filter(|(name, pod)| {
                    (pod.running || pod.injected)
                        && **name != view.pod
                        && !view.members.contains_key(*name)
                });
                let ips = silent.flat_map(|(_, pod)| &pod.ips);
                out.extend(ips.map(|ip| SocketAddr::new(*ip, port)));
                out.extend(self.former_places());
            }
            _ => {
                out.extend(self.resolved.iter().flatten().map(|ip| SocketAddr::new(*ip, port)));
                let by_file = conf.into_iter().flat_map(NodesConf::nodes);
                out.extend(by_file.filter_map(|n| n.endpoint.address()?.client()));
            }
        }
        out.retain(|at| !self.setup.ips.contains(&at.ip()));
        out
    }

    /// Where servers of pods with this one's name may run on.
    fn former_places(&self) -> Vec<SocketAddr> {
        let own = self.view().and_then(|view| view.members.get(&view.pod));
        let lingering = own.into_iter().flat_map(|own| &own.lingering);
        let places = lingering.map(|l| (&l.ips, l.ports));
        let places = places.chain(self.predecessor.iter().map(|m| (&m.ips, m.ports)));
        let client = |(ips, ports): (&Vec<IpAddr>, Ports)| -> Vec<_> {
            ips.iter().filter_map(|ip| Some(SocketAddr::new(*ip, ports.client()?))).collect()
        };
        places.flat_map(client).collect()
    }

    /// Whether somebody else has the address of a pod before this one by now: a server of another
    /// cluster, a copy of this one perhaps, with the same password. It has nothing to say here.
    pub(super) fn is_a_stranger(&self, at: SocketAddr, answer: &Inspected) -> bool {
        let Inspected::Node(inspection) = answer else { return false };
        let Some(view) = self.view() else { return false };
        let taken = |pod: &Pod| pod.ips.contains(&at.ip());
        if !self.former_places().contains(&at) || view.pods.values().any(taken) {
            return false;
        }
        let entries = self.predecessor.iter().chain(view.members.get(&view.pod));
        let mut ids: BTreeSet<NodeId> = BTreeSet::from([view.plan.node_id(view.ordinal)]);
        for entry in entries {
            ids.extend(entry.disk.identity.iter().chain(&entry.was).map(|was| was.node_id));
            ids.extend(entry.node_id);
        }
        inspection.nodes.myself().is_none_or(|me| !ids.contains(&me.id))
    }

    pub(super) fn registered(&self) -> BTreeMap<NodeId, Address> {
        let Registry::Known(view) = &self.registry else { return BTreeMap::new() };
        let others = view.members.iter().filter(|(name, _)| **name != view.pod);
        let address = |ips: &[IpAddr], ports: Ports| {
            let v4 = self.own_ip().is_ipv4();
            let same = ips.iter().find(|ip| ip.is_ipv4() == v4).or(ips.first());
            same.map(|ip| Address { ip: *ip, ports })
        };
        others.filter_map(|(_, m)| Some((m.node_id?, address(&m.ips, m.ports)?))).collect()
    }

    /// The addresses of pods that are being deleted: somebody else may have them in a moment. A server that
    /// dials one takes from 7.0 on what the next one there says of itself for what its node says
    /// (`getNodeFromLinkAndMsg`), and a replica copies whoever it is.
    fn leaving(&self) -> BTreeSet<IpAddr> {
        let pods = self.view().into_iter().flat_map(|view| view.pods.values());
        pods.filter(|pod| pod.deleting).flat_map(|pod| pod.ips.iter().copied()).collect()
    }

    /// Addresses of peers by node id, as far as they are certain.
    pub(super) fn peers(&self, conf: Option<&NodesConf>) -> BTreeMap<NodeId, Address> {
        let mut peers = self.registered();
        for (at, probe) in &self.probes {
            let by_file = || {
                let here = |n: &&Node| n.endpoint.address().and_then(|a| a.client()) == Some(*at);
                let mut nodes = conf?.nodes().filter(here);
                let only = nodes.next()?;
                nodes.next().is_none().then_some(only)
            };
            let file_address =
                |id: NodeId| by_file().filter(|n| n.id == id).and_then(|n| n.endpoint.address());
            match probe.answer {
                Some(Answer::Node(id)) => {
                    let ports = conf
                        .and_then(|c| c.node(id))
                        .and_then(|n| n.endpoint.address())
                        .map(|a| a.ports)
                        .filter(|p| p.client() == Some(at.port()))
                        .unwrap_or_else(|| Ports::plain(at.port()));
                    peers.entry(id).or_insert(Address { ip: at.ip(), ports });
                }
                // A pod of this set that never restarted: the file's address is the one under
                // which it has been reached all the time.
                Some(Answer::Loading | Answer::Unclear | Answer::Silent)
                    if self.view().is_some() =>
                {
                    if let Some(node) = by_file()
                        && let Some(address) = file_address(node.id)
                    {
                        peers.entry(node.id).or_insert(address);
                    }
                }
                _ => {}
            }
        }
        // Who has named its id just now is where it said so.
        for (at, inspection) in self.weighing.living() {
            if let Some(me) = inspection.nodes.myself() {
                let by_itself = me.endpoint.address().filter(|a| a.client() == Some(at));
                let ports = by_itself.map_or_else(|| Ports::plain(at.port()), |a| a.ports);
                peers.entry(me.id).or_insert(Address { ip: at.ip(), ports });
            }
        }
        let leaving = self.leaving();
        peers.retain(|_, address| !leaving.contains(&address.ip));
        peers
    }
}
