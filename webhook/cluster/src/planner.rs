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

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::id::NodeId;
use crate::net::Address;
use crate::nodes::{NodesConf, Remains, Trust};
use crate::plan::Plan;
use crate::protocol::{Identity, Mark, Member, REFUSED, Report, Stopped, View};
use crate::server::{Persistence, ServerConfig};
use decide::{Decision, Sound};
use doubt::Doubts;
use ending::Ending;
use weigh::{Forced, Step, Weak, Weighing};
pub(crate) use weigh::{all_members, has_majority, standing};

pub use facts::{
    Action, Answer, BETWEEN_WORDS, DiskSeen, Doubt, Fact, HoldBack, How, Inspected, Inspection,
    Link, Millis, Poll, Setup,
};

mod copied;
mod decide;
mod doubt;
mod ending;
mod facts;
mod gather;
mod known;
mod reach;
mod weigh;

/// The shell ends before it plans for a pod without an address; never written.
const UNSPECIFIED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// How long the registry is waited for by a member that can be repaired without it.
pub const REGISTRY_PATIENCE: Millis = Millis(10_000);
/// How long it is waited for by a member that can not start without it.
pub const REGISTRY_PATIENCE_BLANK: Millis = Millis(25_000);
/// How long a process that still runs under this identity is waited for.
pub const TWIN_PATIENCE: Millis = Millis(60_000);
/// How long a written file is watched where the end of the pod before was not seen.
pub const LAST_ACT: Millis = Millis(500);
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
    /// The entry of the pod before this one, which may have been deleted by force, and whose server may
    /// run on.
    predecessor: Option<Member>,
    /// Why the set may have a life behind it, as it was said last: what tells of it may be gone when it
    /// is asked for again, such as pods that are on their way out.
    past: Vec<String>,
    /// What this member was by the record, and in which plan, as it was said last: the record may be
    /// gone by then.
    was: Option<(Plan, Identity)>,
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
    /// When it was read: ages count from then.
    at: Millis,
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
            predecessor: None,
            past: Vec::new(),
            was: None,
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
                    at: now,
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
            Fact::Inspected { at, answer } => {
                let strange = self.is_a_stranger(at, &answer);
                self.weighing.inspected(at, if strange { Inspected::Nobody } else { answer });
            }
            Fact::Probed { at, answer } => self.probed(now, at, answer),
            Fact::Proposed(result) => self.proposed(now, result),
            Fact::Registered(view) => self.is_told(view),
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
        poll.actions.extend(self.ending.as_mut().and_then(Ending::next));
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
        let settled = self.ask_for_company(now, &config, readable, poll) && settled;
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
                hold_back: self.hold_back(&config),
            })
        } else {
            let Some(decision) = self.weigh(now, &config, &conf, data, own, poll) else { return };
            decision
        };
        self.carry_out(&decision);
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
            marked: self.marked(),
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
            hold_back: self.hold_back(config),
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
            Step::Force { at, id, how, of } => {
                self.weighing.force = Some(Forced { at, id, how, of, since: now, result: None });
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

    fn refuse(&mut self, why: String) {
        let report = self.view().map(|_| Action::Report(Report::warning(REFUSED, &why)));
        self.ending = Some(Ending::of(report.into_iter().chain([Action::Refuse(why)])));
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
