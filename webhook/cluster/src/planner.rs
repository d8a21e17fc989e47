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
//!   or the server behind it named that id, or the pod behind it has run there ever since;
//! - a member without data is never started as the owner of slots while another member of its
//!   shard has data, on a disk or in a living process;
//! - a succession is in the record before anybody acts on it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::id::NodeId;
use crate::net::Address;
use crate::nodes::{NodesConf, Remains, Trust};
use crate::protocol::{Mark, Report, Stopped, View};
use crate::record::{self, Place};
use crate::server::{Persistence, ServerConfig};
use decide::{Decision, Sound};
use doubt::Doubts;
use weigh::{Forced, Step, Weak, Weighing};

pub use facts::{
    Action, Answer, DiskSeen, Doubt, Fact, HoldBack, How, Inspected, Inspection, Link, Millis,
    Poll, Setup,
};

mod decide;
mod doubt;
mod facts;
mod gather;
mod weigh;

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
    doubts: Doubts,
    registry: Registry,
    /// The id that is kept although the disk does not say it, once the registry was told.
    declared: Option<NodeId>,
    twin: Twin,
    probes: BTreeMap<SocketAddr, Probe>,
    resolved: Option<Vec<IpAddr>>,
    resolve_asked: Option<Millis>,
    weighing: Weighing,
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
    /// What a file proves that can not be used as it is.
    remains: Option<Remains>,
    data: bool,
    files: bool,
    mark: Option<Mark>,
    written_ago: Option<u64>,
    stopped: Option<Stopped>,
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
            doubts: Doubts::default(),
            registry: Registry::Idle { next: Millis(0), attempts: 0 },
            declared: None,
            twin: Twin::Unchecked,
            probes: BTreeMap::new(),
            resolved: None,
            resolve_asked: None,
            weighing: Weighing::default(),
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

    /// What it waits for, where it waits for something that may not come.
    pub fn waits_for(&self) -> Option<&str> {
        self.doubts.waits_for().or(self.weighing.waits_for.as_deref())
    }

    /// Takes a fact in.
    pub fn observe(&mut self, now: Millis, fact: Fact) {
        match fact {
            Fact::Disk(seen) => {
                let DiskSeen { nodes_conf, data, files, mark, written_ago, stopped } = seen;
                let conf = match &nodes_conf {
                    Some(bytes) => NodesConf::parse(bytes).map(Some).map_err(|e| e.to_string()),
                    None => Ok(None),
                };
                let whole = matches!(&conf, Ok(Some(c)) if c.trust() == Trust::Whole);
                let remains = nodes_conf.filter(|_| !whole).map(|bytes| Remains::of(&bytes));
                self.disk = DiskState::Read(Box::new(DiskRead {
                    conf,
                    remains,
                    data,
                    files,
                    mark,
                    written_ago,
                    stopped,
                }));
                self.disk_seen(now);
            }
            Fact::Doubt(doubt) => self.doubts.add(doubt),
            Fact::Forced { at, result } => self.weighing.forced(at, result),
            Fact::Inspected { at, answer } => self.weighing.inspected(at, answer),
            Fact::Probed { at, answer } => self.probed(now, at, answer),
            Fact::Proposed(result) => self.proposed(now, result),
            Fact::Registered(view) => {
                self.doubts.learn(&view);
                self.registry = Registry::Known(view);
            }
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
                self.doubts.forget();
                return poll.actions.push(Action::ReadDisk);
            }
            DiskState::Asked => return,
            DiskState::Read(disk) => disk,
        };
        // Old files of a server that persists nothing now say nothing of what it held last.
        let files = disk.files && config.persistence() != Persistence::Nothing;
        let (conf, data) = (disk.conf.clone(), disk.data);
        let readable = conf.as_ref().ok().and_then(Option::as_ref);
        self.check_twin(now, readable, poll);
        self.ask_registry(now, &config, readable, data, poll);
        if self.ending.is_some() || !matches!(self.registry, Registry::Known(_) | Registry::Away(_))
        {
            return;
        }
        if !self.settle_doubts(now, poll) {
            return;
        }
        let conf = match conf.map(|c| c.map(|c| self.as_this_sets(c)).transpose()) {
            Ok(Ok(conf)) => Ok(conf),
            Ok(Err(copy)) => return self.refuse(copy),
            Err(damage) => Err(damage),
        };
        let readable = conf.as_ref().ok().and_then(Option::as_ref);
        let settled = self.ask_peers(now, &config, readable, poll);
        if !settled || !matches!(self.twin, Twin::Gone) {
            return;
        }
        let own = Address { ip: self.own_ip(), ports: config.ports() };
        let decision = if weigh::is_sound(&conf, data, files, self.view()) {
            decide::decide(&Sound {
                conf: readable,
                own,
                peers: &self.peers(readable),
                view: self.view(),
                target: self.setup.target,
                // Where all come at once, nobody waits for this one's readiness.
                hold_back: match self.view() {
                    Some(view) if view.parallel => HoldBack::Allowed,
                    _ => self.setup.hold_back,
                },
            })
        } else {
            let Some(decision) = self.weigh(now, &config, &conf, data, own, poll) else { return };
            decision
        };
        self.carry_out(&decision);
    }

    /// The disk's file with the ids of this set: those of a copy of another set's disk are mapped
    /// to new ones, the same on every member's copy.
    ///
    /// # Errors
    /// If it is a copy, and it can not be known that this set has no ids of its own.
    fn as_this_sets(&self, mut conf: NodesConf) -> Result<NodesConf, String> {
        let Some(mark) = self.foreign_mark() else { return Ok(conf) };
        let whose = format!("{}/{}", mark.namespace, mark.name);
        let Some(view) = self.view() else {
            return Err(format!(
                "this disk is a copy of one of {whose} and can not be given ids of its own without \
                 the registry; trying again"
            ));
        };
        let id = conf.myself().map(|me| me.id);
        if id.is_some_and(|id| record::is_renamed(mark, id, &view.plan)) {
            return Ok(conf);
        }
        let mut others =
            view.members.iter().chain(&view.earlier).filter(|(name, _)| **name != view.pod);
        let native = others.find(|(_, member)| match &member.disk.mark {
            Some(mark) => !record::is_copy(mark, self.place()),
            None => record::has_begun(&view.plan, member),
        });
        if let Some((native, _)) = native {
            return Err(format!(
                "this disk belongs to {whose}, and {native} of this set has a disk of its own: \
                 give this pod its own disk back, or an empty one"
            ));
        }
        conf.rename(&view.plan.salt);
        Ok(conf)
    }

    /// What is left of a damaged file, if it is this set's own.
    fn remains(&self) -> Option<&Remains> {
        let DiskState::Read(disk) = &self.disk else { return None };
        disk.remains.as_ref().filter(|_| self.foreign_mark().is_none())
    }

    /// The disk's mark, if it is another set's: the disk is a copy.
    fn foreign_mark(&self) -> Option<&Mark> {
        let DiskState::Read(disk) = &self.disk else { return None };
        disk.mark.as_ref().filter(|mark| record::is_copy(mark, self.place()))
    }

    fn place(&self) -> Place<'_> {
        Place { namespace: &self.setup.namespace, name: &self.setup.set }
    }

    /// Weighs a start that could do harm; `None` while something is still to be found out.
    fn weigh(
        &mut self,
        now: Millis,
        config: &ServerConfig,
        conf: &Result<Option<NodesConf>, String>,
        data: bool,
        own: Address,
        poll: &mut Poll,
    ) -> Option<Decision> {
        let readable = conf.as_ref().ok().and_then(Option::as_ref);
        let around = self.around(config, readable);
        if !self.weighing.look_around(now, around, poll) {
            return None;
        }
        let peers = self.peers(readable);
        let step = weigh::weigh(&Weak {
            conf,
            remains: self.remains(),
            data,
            keeps: config.persistence() != Persistence::Nothing,
            own,
            peers: &peers,
            view: self.view(),
            away: match &self.registry {
                Registry::Away(why) => why,
                _ => "",
            },
            target: self.setup.target,
            declared: self.declared,
            weighing: &self.weighing,
            now,
        });
        match step {
            Step::Done(decision) => return Some(decision),
            Step::Wait(what) => {
                self.weighing.waits_for = Some(what);
                let next = self.weighing.pause(now);
                poll.wake_at(next);
                // Others may register meanwhile.
                if matches!(self.registry, Registry::Known(_)) {
                    self.registry = Registry::Idle { next, attempts: 0 };
                }
            }
            Step::Declare(id) => {
                self.declared = Some(id);
                self.registry = Registry::Idle { next: now, attempts: 0 };
                poll.wake_at(now);
            }
            Step::Force { at, id, how } => {
                self.weighing.force = Some(Forced { at, id, how, since: now, result: None });
                poll.actions.push(Action::Force { at, id, how });
                poll.wake_at(self.weighing.pause(now));
            }
            Step::Propose(proposal) => {
                self.weighing.proposing = Some(proposal.clone());
                poll.actions.push(Action::Propose(proposal));
            }
            Step::Proposing => {}
        }
        None
    }

    fn proposed(&mut self, now: Millis, result: Result<Box<View>, String>) {
        self.weighing.proposing = None;
        match result {
            Ok(view) => self.registry = Registry::Known(view),
            Err(why) => {
                self.weighing.refused = Some(why);
                let next = self.weighing.pause(now);
                // It was judged by what is known now, which may be more than this view says.
                self.registry = Registry::Idle { next, attempts: 0 };
            }
        }
    }

    /// Lines up what the decision comes to. Only a bootstrap has to be recorded to go on.
    fn carry_out(&mut self, decision: &Decision) {
        if let Decision::Refuse(why) = decision {
            return self.refuse(why.clone());
        }
        let write = decision.conf().map(|conf| Action::Write {
            nodes_conf: conf.to_string(),
            mark: self.view().zip(conf.myself()).map(|(view, me)| Mark {
                namespace: view.namespace.clone(),
                name: view.name.clone(),
                salt: view.plan.salt.clone(),
                node_id: me.id,
            }),
        });
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
}

// === impl Poll ===

impl Poll {
    fn wake_at(&mut self, at: Millis) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }
}

#[cfg(test)]
mod tests;
