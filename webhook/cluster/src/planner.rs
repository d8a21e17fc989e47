//! The planner: what a step does, as a state machine without IO.
//!
//! Facts go in by [`Planner::observe`], actions come out by [`Planner::poll`], and `now` is given
//! with both. The shell carries actions out in their order and brings back the fact that each one
//! produces; it decides nothing.
//!
//! Guarantees, whatever the facts and their order:
//! - the server is started ([`Action::Start`]) only after everything that was to be written is
//!   written and everything that had to be recorded is recorded;
//! - a file is written only from a file that was read whole, or from a plan for a set without
//!   a past;
//! - no peer is waited for: every wait has a deadline, and what is unknown then stays unknown;
//! - an address is written for a node id only when the registry has it from that member itself,
//!   or the server behind it named that id, or the pod behind it has run there ever since.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::id::NodeId;
use crate::net::{Address, Ports};
use crate::nodes::{Flag, Format, Node, NodesConf};
use crate::protocol::{Disk, Mark, Proposal, Register, Report, View};
use crate::server::ServerConfig;
use decide::{Decision, Knowledge};

mod decide;

/// Milliseconds since the step began.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Millis(pub u64);

/// What is known before anything is looked at.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The step's version.
    pub step: String,
    /// The pod's addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// The server's configuration, or why it can not be read.
    pub config: Result<ServerConfig, String>,
    /// How a first file is written: by the engine's version where it is known.
    pub format: Format,
    /// Whether the first starter after an outage may be kept from taking writes.
    pub hold_back: HoldBack,
}

/// Whether the first starter after an outage may be kept from taking writes until it has met
/// others. Its `cluster_state` is `fail` until then: where readiness asks for `ok` and the pods
/// come one after the other, the next one would never come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HoldBack {
    /// It may.
    Allowed,
    /// It may not.
    #[default]
    Forbidden,
}

/// Something that was found out.
#[derive(Clone, Debug)]
pub enum Fact {
    /// What [`Action::ReadDisk`] found.
    Disk(DiskSeen),
    /// What the server at an address said to an [`Action::Inspect`].
    Inspected {
        /// The address that was asked.
        at: SocketAddr,
        /// What came back.
        answer: Inspected,
    },
    /// How [`Action::Force`] ended: only whether the command was taken, never whether the replica
    /// was elected.
    Forced {
        /// The address that was asked.
        at: SocketAddr,
        /// What came back.
        result: Result<(), String>,
    },
    /// The registry's answer to [`Action::Propose`]: the view afterwards, or why not.
    Proposed(Result<Box<View>, String>),
    /// Who answered an [`Action::Probe`].
    Probed {
        /// The address that was asked.
        at: SocketAddr,
        /// What came back.
        answer: Answer,
    },
    /// The registry's answer to [`Action::Register`].
    Registered(Box<View>),
    /// The registry did not answer, or refused.
    RegistryFailed {
        /// In one sentence.
        why: String,
        /// Whether asking again may help.
        retry: bool,
    },
    /// How [`Action::Report`] ended.
    Reported(Result<(), String>),
    /// The addresses behind the headless Service, for [`Action::Resolve`].
    Resolved(Vec<IpAddr>),
    /// How [`Action::Write`] ended.
    Written(Result<(), String>),
}

/// What is on the disk.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DiskSeen {
    /// nodes.conf, if there is one.
    pub nodes_conf: Option<Vec<u8>>,
    /// Whether there are data files that are not empty.
    pub data: bool,
    /// The birth mark beside nodes.conf.
    pub mark: Option<Mark>,
}

/// What came of asking a server about itself and its cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Inspected {
    /// Nobody answers there.
    Nobody,
    /// Somebody who does not say: another password, still loading.
    Unclear,
    /// A node.
    Node(Box<Inspection>),
}

/// What a running server says of itself and its cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// Its CLUSTER NODES.
    pub nodes: NodesConf,
    /// Its replication offset (INFO replication: `slave_repl_offset`, a master's
    /// `master_repl_offset`).
    pub offset: u64,
    /// A replica: whether the link to its master is up. A master: `None`.
    pub link: Option<Link>,
    /// Whether it holds any keys.
    pub keys: bool,
}

/// A replica's link to its master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Link {
    /// It is up: somebody answers at the master's address.
    Up,
    /// It is down.
    Down,
}

/// Who is behind an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// A node with this id.
    Node(NodeId),
    /// Nobody, or no node.
    Nobody,
    /// Somebody who does not say (another password, still loading).
    Unclear,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send `CLUSTER FAILOVER FORCE` to the server at this address, once it has named this id.
    Force {
        /// Where it is.
        at: SocketAddr,
        /// Who it has to be.
        id: NodeId,
    },
    /// Ask the server behind an address what it and its cluster are, within 300 ms: CLUSTER NODES,
    /// INFO replication, and whether it holds keys.
    Inspect(SocketAddr),
    /// Ask the registry for a change of the record.
    Propose(Proposal),
    /// Ask the server behind an address for its node id, within 300 ms.
    Probe(SocketAddr),
    /// Read nodes.conf and look for data files.
    ReadDisk,
    /// End without starting the server; the text says what is wrong and what to do.
    Refuse(String),
    /// Tell the registry who this is and ask who the others are.
    Register(Register),
    /// Tell the registry what was decided.
    Report(Report),
    /// Look the headless Service's addresses up.
    Resolve,
    /// End, so that the server starts. A report that nothing depends on comes with it, to be sent
    /// once the server runs: nobody waits for it now.
    Start(Option<Report>),
    /// Replace nodes.conf by this text: temporary file, fsync, rename; the old one is kept as
    /// `.bak`. Then the birth mark beside it, in the same way.
    Write {
        /// The file.
        nodes_conf: String,
        /// The mark, where the registry was there to say whose disk this is.
        mark: Option<Mark>,
    },
}

/// What to do now, and when to ask again if nothing happens before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Poll {
    /// In this order.
    pub actions: Vec<Action>,
    /// When the planner has to be asked again at the latest.
    pub wake: Option<Millis>,
}

/// The shell ends before it plans for a pod without an address; never written.
const UNSPECIFIED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// How long the registry is waited for by a member that can be repaired without it.
pub const REGISTRY_PATIENCE: Millis = Millis(10_000);
/// How long it is waited for by a member that can not start without it.
pub const REGISTRY_PATIENCE_BLANK: Millis = Millis(25_000);
/// How long a process that still runs under this identity is waited for.
pub const TWIN_PATIENCE: Millis = Millis(60_000);
/// How long a probe may take.
pub const PROBE_PATIENCE: Millis = Millis(300);

/// The state machine of one start.
#[derive(Debug)]
pub struct Planner {
    setup: Setup,
    disk: DiskState,
    registry: Registry,
    twin: Twin,
    probes: BTreeMap<SocketAddr, Probe>,
    resolved: Option<Vec<IpAddr>>,
    resolve_asked: Option<Millis>,
    ending: Option<Ending>,
}

#[derive(Debug)]
enum DiskState {
    Unread,
    Asked,
    Read(Box<DiskRead>),
}

#[derive(Debug)]
struct DiskRead {
    conf: Result<Option<NodesConf>, String>,
    data: bool,
}

#[derive(Debug)]
enum Registry {
    Idle { next: Millis, attempts: u32 },
    Asked { attempts: u32 },
    Known(Box<View>),
    Away(String),
}

/// A process that may still run under this member's identity: the pod was deleted by force and
/// its server has not ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Twin {
    Unchecked,
    Asked { at: SocketAddr, since: Millis, seen: bool },
    Pause { at: SocketAddr, until: Millis },
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    asked: Millis,
    answer: Option<Answer>,
}

/// What is left to do once it has been decided.
#[derive(Debug)]
struct Ending {
    queue: VecDeque<Action>,
    /// Whether the fact that the action before produces is still to come.
    in_flight: bool,
    /// Whether the server may start only if the report was taken.
    must_report: bool,
}

// === impl Planner ===

impl Planner {
    /// A planner for one start.
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            disk: DiskState::Unread,
            registry: Registry::Idle { next: Millis(0), attempts: 0 },
            twin: Twin::Unchecked,
            probes: BTreeMap::new(),
            resolved: None,
            resolve_asked: None,
            ending: None,
        }
    }

    /// What the registry said, once it did.
    pub fn view(&self) -> Option<&View> {
        match &self.registry {
            Registry::Known(view) => Some(view),
            _ => None,
        }
    }

    /// Takes a fact in.
    pub fn observe(&mut self, now: Millis, fact: Fact) {
        match fact {
            Fact::Disk(seen) => {
                let conf = match seen.nodes_conf {
                    Some(bytes) => NodesConf::parse(&bytes).map(Some).map_err(|e| e.to_string()),
                    None => Ok(None),
                };
                self.disk = DiskState::Read(Box::new(DiskRead { conf, data: seen.data }));
            }
            Fact::Probed { at, answer } => self.probed(now, at, answer),
            Fact::Inspected { .. } | Fact::Forced { .. } | Fact::Proposed(_) => {}
            Fact::Registered(view) => self.registry = Registry::Known(view),
            Fact::RegistryFailed { why, retry } => self.registry_failed(now, why, retry),
            Fact::Reported(result) => self.reported(result),
            Fact::Resolved(ips) => self.resolved = Some(ips),
            Fact::Written(result) => self.written(result),
        }
    }

    /// What to do now.
    pub fn poll(&mut self, now: Millis) -> Poll {
        let mut poll = Poll::default();
        if self.ending.is_none() {
            self.find_out(now, &mut poll);
        }
        if let Some(ending) = &mut self.ending
            && !ending.in_flight
            && let Some(action) = ending.queue.pop_front()
        {
            ending.in_flight = matches!(action, Action::Report(_) | Action::Write { .. });
            poll.actions.push(action);
        }
        poll
    }

    /// Asks for what is still to be known, and decides once nothing is.
    fn find_out(&mut self, now: Millis, poll: &mut Poll) {
        let config = match &self.setup.config {
            Ok(config) if config.cluster_enabled => config.clone(),
            Ok(_) => {
                return self.refuse(
                    "the server's configuration does not say `cluster-enabled yes`: add it, or take \
                     the label mooring.dev/cluster away"
                        .to_owned(),
                );
            }
            Err(why) => return self.refuse(why.clone()),
        };
        if let Some(problem) = config.announce_problem(&self.setup.ips) {
            return self.refuse(problem);
        }
        let disk = match &self.disk {
            DiskState::Unread => {
                self.disk = DiskState::Asked;
                return poll.actions.push(Action::ReadDisk);
            }
            DiskState::Asked => return,
            DiskState::Read(disk) => disk,
        };
        let conf = match &disk.conf {
            Ok(conf) => conf.clone(),
            Err(why) => {
                let text = format!(
                    "{} is damaged ({why}): restore it from {}.bak or another member's copy, or, if \
                     the pod's data are not needed, delete the pod's claim",
                    config.nodes_conf.display(),
                    config.nodes_conf.display(),
                );
                return self.refuse(text);
            }
        };
        let data = disk.data;
        self.check_twin(now, conf.as_ref(), poll);
        self.ask_registry(now, &config, conf.as_ref(), data, poll);
        if !matches!(self.registry, Registry::Known(_) | Registry::Away(_)) {
            return;
        }
        let settled = self.ask_peers(now, &config, conf.as_ref(), poll);
        if !settled || !matches!(self.twin, Twin::Gone) {
            return;
        }
        let peers = self.peers(conf.as_ref());
        let knowledge = match &self.registry {
            Registry::Known(view) => Knowledge::View(view),
            Registry::Away(why) => Knowledge::Away(why),
            Registry::Idle { .. } | Registry::Asked { .. } => return,
        };
        let own = Address { ip: self.own_ip(), ports: config.ports() };
        let decision =
            decide::decide(conf.as_ref(), data, own, &peers, knowledge, self.setup.format);
        self.carry_out(&decision);
    }

    /// Lines up what the decision comes to. Only a bootstrap has to be recorded to go on.
    fn carry_out(&mut self, decision: &Decision) {
        if let Decision::Refuse(why) = decision {
            return self.refuse(why.clone());
        }
        let write = decision
            .text()
            .map(|text| Action::Write { nodes_conf: text.to_owned(), mark: None });
        let must_report = matches!(decision, Decision::Bootstrap { .. });
        let (now, later) = match self.view().map(|_| decision.report()) {
            Some(report) if must_report => (Some(Action::Report(report)), None),
            other => (None, other),
        };
        self.ending = Some(Ending {
            queue: write.into_iter().chain(now).chain([Action::Start(later)]).collect(),
            in_flight: false,
            must_report,
        });
    }

    fn refuse(&mut self, why: String) {
        let report = self.view().map(|_| Action::Report(Report::warning("Refused", &why)));
        self.ending = Some(Ending {
            queue: report.into_iter().chain([Action::Refuse(why)]).collect(),
            in_flight: false,
            must_report: false,
        });
    }

    fn written(&mut self, result: Result<(), String>) {
        if let Some(ending) = &mut self.ending {
            ending.in_flight = false;
        }
        if let Err(why) = result {
            self.refuse(format!("nodes.conf can not be written: {why}"));
        }
    }

    fn reported(&mut self, result: Result<(), String>) {
        let Some(ending) = &mut self.ending else { return };
        ending.in_flight = false;
        if let Err(why) = result
            && ending.must_report
        {
            let text = format!(
                "the registry did not record that this member has begun ({why}); trying again"
            );
            ending.queue = VecDeque::from([Action::Refuse(text)]);
        }
    }

    fn own_ip(&self) -> IpAddr {
        self.setup.ips.first().copied().unwrap_or(UNSPECIFIED)
    }

    // --- the registry ---

    fn ask_registry(
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
        poll.actions.push(Action::Register(Register {
            step: self.setup.step.clone(),
            ips: self.setup.ips.clone(),
            ports: config.ports(),
            disk: Disk { identity: conf.and_then(NodesConf::identity), data, keeps: true, mark: None },
            node_id: None,
        }));
    }

    fn registry_failed(&mut self, now: Millis, why: String, retry: bool) {
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

    fn check_twin(&mut self, now: Millis, conf: Option<&NodesConf>, poll: &mut Poll) {
        match self.twin {
            Twin::Unchecked => {
                let old = conf
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
                    let text = format!(
                        "a server at {at} still runs as this member: the pod before this one was \
                         deleted by force and has not ended; end it, then this pod starts"
                    );
                    return self.refuse(text);
                }
                poll.actions.push(Action::Probe(at));
                self.twin = Twin::Asked { at, since: now, seen: true };
                poll.wake_at(Millis(now.0 + PROBE_PATIENCE.0));
            }
            Twin::Pause { until, .. } => poll.wake_at(until),
            Twin::Gone => {}
        }
    }

    fn certainly_ended(&self) -> bool {
        self.view().is_some_and(|v| v.predecessor_ended)
    }

    // --- peers ---

    fn probed(&mut self, now: Millis, at: SocketAddr, answer: Answer) {
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
            if mine.is_some_and(|id| answer == Answer::Node(id)) {
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
    fn ask_peers(
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
        for at in self.candidates(config, conf) {
            self.probes.entry(at).or_insert_with(|| {
                poll.actions.push(Action::Probe(at));
                Probe { asked: now, answer: None }
            });
        }
        let open = self.probes.values().filter(|p| p.answer.is_none());
        let until = open.map(|p| Millis(p.asked.0 + PROBE_PATIENCE.0)).max();
        match until {
            Some(until) if now < until => {
                poll.wake_at(until);
                false
            }
            _ => true,
        }
    }

    /// Addresses behind which a peer may be that has not registered.
    fn candidates(&self, config: &ServerConfig, conf: &NodesConf) -> BTreeSet<SocketAddr> {
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

    fn registered(&self) -> BTreeMap<NodeId, Address> {
        let Registry::Known(view) = &self.registry else { return BTreeMap::new() };
        let others = view.members.iter().filter(|(name, _)| **name != view.pod);
        let address = |ips: &[IpAddr], ports: Ports| {
            let v4 = self.own_ip().is_ipv4();
            let same = ips.iter().find(|ip| ip.is_ipv4() == v4).or(ips.first());
            same.map(|ip| Address { ip: *ip, ports })
        };
        others.filter_map(|(_, m)| Some((m.node_id?, address(&m.ips, m.ports)?))).collect()
    }

    /// Addresses of peers by node id, as far as they are certain.
    fn peers(&self, conf: Option<&NodesConf>) -> BTreeMap<NodeId, Address> {
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
                Some(Answer::Unclear) if self.view().is_some() => {
                    if let Some(node) = by_file()
                        && let Some(address) = file_address(node.id)
                    {
                        peers.entry(node.id).or_insert(address);
                    }
                }
                _ => {}
            }
        }
        peers
    }
}

// === impl Poll ===

impl Poll {
    fn wake_at(&mut self, at: Millis) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }
}

#[cfg(test)]
mod tests;
