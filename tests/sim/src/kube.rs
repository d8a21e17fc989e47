//! Kubernetes, as far as a StatefulSet's pods depend on it: the controller and the kubelets.
//!
//! Guarantees: a pod of a name is made only when the one before it is gone; under OrderedReady
//! only when all before it are ready. A pod that is deleted by force leaves a server that runs.

use std::collections::BTreeMap;

use cluster::id::NodeId;
use cluster::moment;
use cluster::plan::Plan;
use cluster::protocol::{Pod as PodSeen, Report, Succession};

use crate::disk::{Disk, DiskId};
use crate::engine::{Options, Owner};
use crate::hooks::HookId;
use crate::ids::{Addr, ProcId};
use crate::registry::Record;
use crate::schedule::{Claims, Config, Keeps, Management, Outage, Probe, Strangers};
use crate::step::RunId;
use crate::world::{Event, World};

mod ends;

/// Both sets' name.
pub const NAME: &str = "cache";

/// A StatefulSet.
#[derive(Debug)]
pub struct Set {
    /// Its index.
    pub index: usize,
    /// Its namespace.
    pub namespace: &'static str,
    /// Whether it is there.
    pub exists: bool,
    /// When it was made.
    pub created: u64,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Its pods.
    pub pods: BTreeMap<u32, Pod>,
    /// Its claims.
    pub claims: BTreeMap<u32, Claim>,
    /// Its record.
    pub record: Option<Record>,
    /// The plan and the successions that stand on the StatefulSet itself.
    pub noted: Option<(Plan, BTreeMap<NodeId, Succession>)>,
    /// The record as it was.
    pub history: Vec<(u64, Record)>,
    /// Until when no pod of an ordinal is scheduled.
    pub blocked: BTreeMap<u32, u64>,
    /// Pods that are still to be replaced, the next one at the end.
    pub rollout: Vec<u32>,
    /// Whether its controller is at work.
    reconciling: bool,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Its disk.
    pub disk: DiskId,
    /// When it was made.
    pub created: u64,
    /// Whether it was filled from a copy.
    pub restored: bool,
}

/// A pod.
#[derive(Debug)]
pub struct Pod {
    /// Which one of that name.
    pub uid: u32,
    /// Its address.
    pub addr: Option<Addr>,
    /// Its disk.
    pub disk: DiskId,
    /// How far it is.
    pub phase: Phase,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether the API server says that its server runs.
    pub running: bool,
    /// When its server ended last while it stayed.
    pub ended: Option<u64>,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether its hooks can talk to the registry.
    pub token: bool,
    /// What its step decided.
    pub decided: Option<Report>,
    /// Why its last step ended without a server.
    pub refused: Option<String>,
    /// How often something in it has failed in a row.
    pub failures: u32,
    /// Its hook.
    pub hook: Option<HookId>,
}

/// How far a pod is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Its step runs.
    Init(RunId),
    /// Not scheduled.
    Pending,
    /// Its server runs.
    Running(ProcId),
    /// Its server is about to run.
    Starting,
    /// Its server has ended, and nothing comes after it.
    Stopped,
    /// Its step is about to run.
    Waiting,
}

/// Something that happens to a pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PodEvent {
    /// It is deleted.
    Delete,
    /// It is gone.
    Remove,
    /// A node is found for it.
    Schedule,
    /// Its server starts.
    Server,
    /// Its step starts.
    Step,
    /// Its server is told to stop.
    Stop,
}

// === impl Set ===

impl Set {
    /// One that is still to be made.
    pub fn new(index: usize, config: &Config) -> Self {
        Self {
            index,
            namespace: if index == 0 { "shop" } else { "copy" },
            exists: false,
            created: 0,
            replicas: config.pods(),
            pods: BTreeMap::new(),
            claims: BTreeMap::new(),
            record: None,
            noted: None,
            history: Vec::new(),
            blocked: BTreeMap::new(),
            rollout: Vec::new(),
            reconciling: false,
        }
    }

    /// A pod's name.
    pub fn pod_name(&self, ordinal: u32) -> String {
        format!("{NAME}-{ordinal}")
    }

    /// With its namespace.
    pub fn full_name(&self, ordinal: u32) -> String {
        format!("{}/{NAME}-{ordinal}", self.namespace)
    }

    /// The pods as the API server has them.
    pub fn seen(&self) -> BTreeMap<String, PodSeen> {
        self.pods.iter().map(|(ordinal, pod)| (self.pod_name(*ordinal), pod.seen())).collect()
    }
}

// === impl Pod ===

impl Pod {
    /// A new one.
    fn new(uid: u32, disk: DiskId) -> Self {
        Self {
            uid,
            addr: None,
            disk,
            phase: Phase::Pending,
            deleting: false,
            running: false,
            ended: None,
            ready: false,
            token: false,
            decided: None,
            refused: None,
            failures: 0,
            hook: None,
        }
    }

    fn seen(&self) -> PodSeen {
        PodSeen {
            uid: uid(self.uid),
            ips: self.addr.iter().map(|a| a.ip()).collect(),
            injected: true,
            scheduled: !matches!(self.phase, Phase::Pending),
            running: self.running,
            ready: self.ready,
            deleting: self.deleting,
            ended_at: self.ended.map(|ms| moment::rfc3339(ms / 1_000 * 1_000_000)),
        }
    }

    /// Its server.
    pub fn proc(&self) -> Option<ProcId> {
        match self.phase {
            Phase::Running(proc) => Some(proc),
            _ => None,
        }
    }
}

/// A uid as text.
pub fn uid(number: u32) -> String {
    format!("uid-{number}")
}

// === impl World ===

impl World {
    /// The set is made.
    pub fn make_set(&mut self, set: usize) {
        let now = self.now();
        if self.sets[set].exists {
            return;
        }
        // Admission makes the record; while it is away, the set is not made.
        if self.api.outage_now(now) == Some(Outage::Whole) {
            return self.queue.after(1000, Event::MakeSet(set));
        }
        self.sets[set].exists = true;
        self.sets[set].created = now;
        // A new StatefulSet carries no plan.
        self.sets[set].noted = None;
        self.ensure_record(set);
        if !std::mem::replace(&mut self.sets[set].reconciling, true) {
            self.queue.after(50, Event::Reconcile(set));
        }
        if !std::mem::replace(&mut self.clients[set], true) {
            self.queue.after(100, Event::Client(set));
        }
    }

    /// The controller's and the kubelets' round.
    pub fn reconcile(&mut self, set: usize) {
        self.queue.after(200, Event::Reconcile(set));
        self.probe(set);
        if !self.sets[set].exists {
            return;
        }
        let away = self.api.outage_now(self.now()) == Some(Outage::Whole);
        let ordered = self.schedule.config.pods == Management::Ordered;
        for ordinal in 0..self.sets[set].replicas {
            match self.sets[set].pods.get(&ordinal) {
                None if away => return,
                None => {
                    self.make_pod(set, ordinal);
                    if ordered {
                        return;
                    }
                }
                Some(pod) if ordered && (pod.deleting || !pod.ready) => return,
                Some(_) => {}
            }
        }
        self.roll(set);
    }

    /// One pod after another, each when all are ready.
    fn roll(&mut self, set: usize) {
        let s = &self.sets[set];
        let Some(next) = s.rollout.last().copied() else { return };
        if (0..s.replicas).all(|o| s.pods.get(&o).is_some_and(|p| p.ready && !p.deleting)) {
            self.sets[set].rollout.pop();
            self.delete_pod(set, next);
        }
    }

    fn probe(&mut self, set: usize) {
        let now = self.now();
        let asks = self.schedule.config.probe;
        for pod in self.sets[set].pods.values_mut() {
            let proc = pod.proc().map(|id| &self.procs[id.0 as usize]);
            let healthy = proc.is_some_and(|p| p.answers(now) && (asks == Probe::Ping || p.ok));
            pod.ready = pod.running && healthy;
        }
    }

    fn make_pod(&mut self, set: usize, ordinal: u32) {
        let uid = self.number();
        let created = self.now();
        let disk = match self.sets[set].claims.get(&ordinal) {
            Some(claim) => claim.disk,
            None => {
                let disk = self.make_disk(set, ordinal);
                if self.schedule.config.claims == Claims::Yes {
                    let claim = Claim { disk, created, restored: false };
                    self.sets[set].claims.insert(ordinal, claim);
                }
                disk
            }
        };
        self.sets[set].pods.insert(ordinal, Pod::new(uid, disk));
        self.tell(|| format!("{} is made", self.sets[set].full_name(ordinal)));
        self.later(set, ordinal, 50..=400, PodEvent::Schedule);
    }

    /// A new disk.
    pub fn make_disk(&mut self, set: usize, ordinal: u32) -> DiskId {
        let disk = DiskId(self.disks.len());
        self.disks.push(Disk::new(set, ordinal));
        disk
    }

    /// A pod goes on.
    pub fn pod_event(&mut self, set: usize, ordinal: u32, uid: u32, what: PodEvent) {
        let Some(pod) = self.sets[set].pods.get_mut(&ordinal).filter(|p| p.uid == uid) else {
            return;
        };
        match (what, pod.phase) {
            (PodEvent::Schedule, Phase::Pending) if !pod.deleting => self.place(set, ordinal),
            (PodEvent::Step, Phase::Waiting) if !pod.deleting => self.start_step(set, ordinal),
            (PodEvent::Server, Phase::Starting) if !pod.deleting => {
                self.start_server(set, ordinal);
            }
            (PodEvent::Stop, Phase::Running(proc)) => {
                pod.phase = Phase::Stopped;
                self.end_proc(proc, crate::net::End::Reset);
                self.later(set, ordinal, 50..=600, PodEvent::Remove);
            }
            (PodEvent::Delete, _) => self.delete_pod(set, ordinal),
            (PodEvent::Remove, _) => self.remove_pod(set, ordinal),
            _ => {}
        }
    }

    /// Something happens to this very pod in a moment.
    pub fn later(
        &mut self,
        set: usize,
        ordinal: u32,
        delay: std::ops::RangeInclusive<u64>,
        what: PodEvent,
    ) {
        let delay = self.chance(delay);
        if let Some(pod) = self.sets[set].pods.get(&ordinal) {
            let uid = pod.uid;
            self.queue.after(delay, Event::Pod { set, pod: ordinal, uid, what });
        }
    }

    fn place(&mut self, set: usize, ordinal: u32) {
        let now = self.now();
        let blocked = self.sets[set].blocked.get(&ordinal).is_some_and(|until| now < *until);
        let addr = if blocked { None } else { self.take_address() };
        match (addr, self.sets[set].pods.get_mut(&ordinal)) {
            (Some(addr), Some(pod)) => {
                pod.addr = Some(addr);
                pod.phase = Phase::Waiting;
                self.later(set, ordinal, 100..=600, PodEvent::Step);
            }
            _ => self.later(set, ordinal, 500..=500, PodEvent::Schedule),
        }
    }

    fn start_server(&mut self, set: usize, ordinal: u32) {
        let config = self.schedule.config;
        let Some(pod) = self.sets[set].pods.get(&ordinal) else { return };
        let (Some(addr), disk) = (pod.addr, pod.disk) else { return };
        let with = Options {
            id: ProcId(0),
            owner: Owner::Pod { set, ordinal },
            family: config.family,
            addr,
            secret: match config.strangers {
                Strangers::KeptOut => set as u8 + 1,
                Strangers::Trusted => 0,
            },
            cluster: true,
            persist: config.keeps == Keeps::Data,
            disk: Some(disk),
            timeout: config.timeout,
            validity: 10,
        };
        let loading = match self.slow.remove(&(set, ordinal)) {
            Some(ms) => ms,
            None => self.chance(5..=60),
        };
        let proc = self.start_proc(with, loading);
        if let Some(pod) = self.sets[set].pods.get_mut(&ordinal) {
            pod.phase = Phase::Running(proc);
        }
        self.start_post_start(set, ordinal, proc);
    }
}
