//! The step: the real planner, with the world for a shell.
//!
//! Guarantees: actions are carried out in their order, and what each one brings comes back as
//! a fact after a while; a step may be cut short after any action, between the two files of
//! a write as well.

use std::path::{Path, PathBuf};

use cluster::nodes::Target;
use cluster::planner::{Action, Fact, HoldBack, Millis, Planner, Setup};
use cluster::protocol::{Mark, Report};
use cluster::server::{Files, ServerConfig};

use crate::disk::File;
use crate::ids::Addr;
use crate::kube::{NAME, Phase, PodEvent};
use crate::registry::{Caller, Request};
use crate::schedule::{Keeps, Management, Probe};
use crate::world::{Event, World};

mod peers;

/// A step, by number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RunId(pub u32);

/// A step under way.
#[derive(Debug)]
pub struct Run {
    set: usize,
    ordinal: u32,
    uid: u32,
    planner: Planner,
    began: u64,
    wakes: Option<u64>,
    actions: u32,
}

/// A step ends within this: the planner's patience with a twin (60 s), the registry (25 s), members
/// (10 s) and an election (5 s), one after the other, and some requests that time out after 4 s.
pub const STEP_BOUND: u64 = 130_000;
/// And within so many actions.
pub const ACTIONS_BOUND: u32 = 5000;

/// The configuration of every server of a world.
///
/// # Errors
/// If Mooring can not read it.
pub fn server_config(keeps: Keeps) -> Result<ServerConfig, String> {
    struct None;
    impl Files for None {
        fn read(&self, _: &Path, _: usize) -> Result<Vec<u8>, String> {
            Err("there is no such file".to_owned())
        }
        fn glob(&self, _: &Path) -> Vec<PathBuf> {
            Vec::new()
        }
    }
    let words: &[&str] = match keeps {
        Keeps::Data => &["--cluster-enabled", "yes", "--appendonly", "yes"],
        Keeps::Nothing => &["--cluster-enabled", "yes", "--save", "", "--appendonly", "no"],
    };
    let words: Vec<_> = words.iter().map(|w| (*w).to_owned()).collect();
    ServerConfig::read(&words, Path::new("/data"), &None).map_err(|e| e.to_string())
}

impl World {
    /// Whether a lone starter may be held back by what the set says.
    pub fn hold_back(&self) -> HoldBack {
        match (self.schedule.config.probe, self.schedule.config.pods) {
            (Probe::State, Management::Ordered) => HoldBack::Forbidden,
            _ => HoldBack::Allowed,
        }
    }

    /// A pod's step begins.
    pub fn start_step(&mut self, set: usize, ordinal: u32) {
        let id = RunId(self.number());
        let began = self.now();
        let Some(pod) = self.sets[set].pods.get_mut(&ordinal) else { return };
        let Some(addr) = pod.addr else { return };
        pod.phase = Phase::Init(id);
        let uid = pod.uid;
        let planner = Planner::new(Setup {
            step: "0".to_owned(),
            namespace: self.sets[set].namespace.to_owned(),
            set: NAME.to_owned(),
            ips: vec![addr.ip()],
            config: self.config.clone(),
            target: Target::Unknown,
            hold_back: self.hold_back(),
        });
        self.counts.steps += 1;
        let run = Run { set, ordinal, uid, planner, began, wakes: None, actions: 0 };
        self.runs.insert(id, run);
        self.queue.after(1, Event::Step(id));
    }

    /// A pod's step is cut short, if one runs.
    pub fn abort_step(&mut self, set: usize, ordinal: u32) {
        if let Some(pod) = self.sets[set].pods.get_mut(&ordinal)
            && let Phase::Init(run) = pod.phase
        {
            pod.phase = Phase::Stopped;
            self.runs.remove(&run);
        }
    }

    /// A step learns something.
    pub fn step_learns(&mut self, id: RunId, mut fact: Fact) {
        let now = self.now();
        if let Some(mutation) = self.mutation {
            mutation.bend_fact(&mut fact);
        }
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.planner.observe(Millis(now - run.began), fact);
        self.step_goes_on(id);
    }

    /// A step is asked what to do.
    pub fn step_goes_on(&mut self, id: RunId) {
        loop {
            let now = self.now();
            let Some(run) = self.runs.get_mut(&id) else { return };
            if now - run.began > STEP_BOUND || run.actions > ACTIONS_BOUND {
                let (set, ordinal, actions) = (run.set, run.ordinal, run.actions);
                return self.step_does_not_end(set, ordinal, actions);
            }
            let poll = run.planner.poll(Millis(now - run.began));
            if poll.actions.is_empty() {
                let wake = poll.wake.map_or(now + 1000, |at| run.began + at.0).max(now + 1);
                let sleeps = run.wakes.is_some_and(|at| at > now && at <= wake);
                if !sleeps {
                    run.wakes = Some(wake);
                    self.queue.after(wake - now, Event::Step(id));
                }
                return;
            }
            for action in poll.actions {
                if self.is_cut_short(id) {
                    return;
                }
                self.carry_out(id, action);
            }
        }
    }

    /// Whether the step ends here by fate.
    fn is_cut_short(&mut self, id: RunId) -> bool {
        let Some(run) = self.runs.get_mut(&id) else { return true };
        run.actions += 1;
        let (set, ordinal) = (run.set, run.ordinal);
        let Some(left) = self.crashes.get_mut(&(set, ordinal)) else { return false };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return false;
        }
        self.crashes.remove(&(set, ordinal));
        self.runs.remove(&id);
        self.tell(|| format!("the step of {} is cut short", self.sets[set].full_name(ordinal)));
        self.again(set, ordinal, 500..=1500);
        true
    }

    fn again(&mut self, set: usize, ordinal: u32, pause: std::ops::RangeInclusive<u64>) {
        if let Some(pod) = self.sets[set].pods.get_mut(&ordinal) {
            pod.phase = Phase::Waiting;
        }
        self.later(set, ordinal, pause, PodEvent::Step);
    }

    fn carry_out(&mut self, id: RunId, action: Action) {
        let Some(run) = self.runs.get(&id) else { return };
        let (set, ordinal, uid) = (run.set, run.ordinal, run.uid);
        let plan = run.planner.view().map(|view| view.plan.clone());
        let Some(disk) = self.sets[set].pods.get(&ordinal).map(|p| p.disk) else { return };
        self.tell(|| {
            let since = self.now() - run.began;
            let action = match &action {
                Action::Write { nodes_conf, .. } => format!("Write\n{nodes_conf}"),
                Action::Register(r) => format!("Register {:?}", r.disk),
                other => format!("{other:?}"),
            };
            format!("  {} +{since}: {action}", self.sets[set].full_name(ordinal))
        });
        let caller = Caller::Step(id);
        match action {
            Action::ReadDisk => {
                let seen =
                    self.disks[disk.0].look(self.now(), &self.procs, &self.names, &self.units);
                self.fact(id, 1, Fact::Disk(seen));
            }
            Action::Register(body) => {
                self.ask(caller, set, ordinal, uid, Request::Register(body));
            }
            Action::Propose(proposal) => {
                self.ask(caller, set, ordinal, uid, Request::Propose(proposal));
            }
            Action::Report(report) => {
                // A disk that has begun is reported as well, where the record does not know it.
                let plan = plan.filter(|_| report.bootstrapped && report.node_id.is_none());
                if let Some(plan) = plan {
                    self.check_founding(set, ordinal, &plan);
                }
                self.ask(caller, set, ordinal, uid, Request::Report(report));
            }
            Action::Probe(at) => {
                let (delay, answer) = self.probe_at(at);
                self.fact(id, delay, Fact::Probed { at, answer });
            }
            Action::Inspect(at) => {
                let (delay, answer) = self.inspect_at(at);
                self.fact(id, delay, Fact::Inspected { at, answer });
            }
            Action::Force { at, id: whom, how } => {
                let result = self.force_at(at, whom, how);
                self.fact(id, 5, Fact::Forced { at, result });
            }
            Action::Resolve => {
                let pods = self.sets[set].pods.values().filter(|p| p.ready);
                let ips = pods.filter_map(|p| p.addr).map(Addr::ip).collect();
                self.fact(id, 10, Fact::Resolved(ips));
            }
            Action::Write { nodes_conf, mark, .. } => self.write_files(id, nodes_conf, mark),
            Action::Start(report) => self.step_ends(id, Ok(report)),
            Action::Refuse(why) => self.step_ends(id, Err(why)),
        }
    }

    fn fact(&mut self, id: RunId, delay: u64, fact: Fact) {
        self.queue.after(delay, Event::Fact(id, Box::new(fact)));
    }

    fn write_files(&mut self, id: RunId, mut nodes_conf: String, mark: Option<Mark>) {
        let Some(run) = self.runs.get(&id) else { return };
        let Some(pod) = self.sets[run.set].pods.get(&run.ordinal) else { return };
        let disk = pod.disk;
        if let Some(mutation) = self.mutation {
            mutation.bend_file(&mut nodes_conf);
        }
        self.disk(disk).conf = File::Text(nodes_conf.into_bytes());
        self.check_files(disk);
        if self.is_cut_short(id) {
            return;
        }
        if mark.is_some() {
            self.disk(disk).mark = mark;
        }
        self.fact(id, 3, Fact::Written(Ok(())));
    }

    fn step_ends(&mut self, id: RunId, result: Result<Option<Report>, String>) {
        let Some(run) = self.runs.remove(&id) else { return };
        let Run { set, ordinal, planner, began, .. } = run;
        self.counts.longest_step = self.counts.longest_step.max(self.now() - began);
        let known = self.knowledge(set, ordinal, planner.view());
        let Some(pod) = self.sets[set].pods.get_mut(&ordinal) else { return };
        match result {
            Ok(report) => {
                pod.decided = report;
                pod.token = planner.view().is_some();
                pod.refused = None;
                pod.phase = Phase::Starting;
                self.watch.known_at_start.insert((set, ordinal), known);
                if planner.view().is_none() {
                    self.watch.untold.insert(set);
                }
                self.later(set, ordinal, 30..=300, PodEvent::Server);
            }
            Err(why) => {
                self.counts.refusals += 1;
                pod.refused = Some(why);
                pod.failures = (pod.failures + 1).min(4);
                // The kubelet waits up to five minutes; less, so that runs end.
                let pause = 1000 << pod.failures;
                self.again(set, ordinal, pause / 2..=pause);
            }
        }
    }
}
