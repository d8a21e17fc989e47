//! The world: everything that is there, and what happens next.
//!
//! Guarantees: deterministic; the planner and the registry's judge in it are the real ones, and
//! everything else is modelled around them.

use std::collections::BTreeMap;

use cluster::planner::Fact;
use cluster::server::ServerConfig;

use crate::data::{Ledger, WriteId};
use crate::disk::{Disk, DiskId};
use crate::engine::{Packet, Proc};
use crate::hooks::{Heir, Hook, HookId};
use crate::ids::{Addr, Names, ProcId};
use crate::invariants::{Counts, Violation, Watch};
use crate::kube::{PodEvent, Set};
use crate::mutation::Mutation;
use crate::net::{End, Net};
use crate::queue::Queue;
use crate::registry::{Api, Op, OpId};
use crate::schedule::Schedule;
use crate::step::{Run, RunId};
use crate::trace::Trace;
use crate::units::Units;

/// Everything.
#[derive(Debug)]
pub struct World {
    /// What happens to it.
    pub schedule: Schedule,
    /// The clock.
    pub queue: Queue<Event>,
    /// Chance.
    pub rng: fastrand::Rng,
    /// The units of slots.
    pub units: Units,
    /// Node ids.
    pub names: Names,
    /// The network.
    pub net: Net,
    /// All servers that ever were.
    pub procs: Vec<Proc>,
    /// What the world knows of them.
    pub about: Vec<Option<StaleStart>>,
    /// All disks that ever were.
    pub disks: Vec<Disk>,
    /// The StatefulSets.
    pub sets: Vec<Set>,
    /// Addresses that are free, the last one given back at the end.
    pub free: Vec<Addr>,
    /// The way to the registry.
    pub api: Api,
    /// Requests under way.
    pub ops: BTreeMap<OpId, Op>,
    /// Steps under way.
    pub runs: BTreeMap<RunId, Run>,
    /// Hooks under way.
    pub hooks: BTreeMap<HookId, Hook>,
    /// Successions of theirs.
    pub successions: BTreeMap<HookId, Heir>,
    /// The last number that was given.
    next: u32,
    /// What clients were told is kept.
    pub ledger: Ledger,
    /// Sets that have clients.
    pub clients: [bool; 2],
    /// The server's configuration as the steps read it.
    pub config: Result<ServerConfig, String>,
    /// Since when the faults are over.
    pub calm_at: Option<u64>,
    /// What the invariants remember.
    pub watch: Watch,
    /// The first one that does not hold.
    pub violation: Option<Violation>,
    /// What happened how often.
    pub counts: Counts,
    /// A rule that is broken on purpose.
    pub mutation: Option<Mutation>,
    /// Ordinals whose next step ends at an action.
    pub crashes: BTreeMap<(usize, u32), u32>,
    /// Ordinals whose next server loads slowly.
    pub slow: BTreeMap<(usize, u32), u64>,
    /// Where it tells what happens.
    pub trace: Trace,
    /// The uids of pods that the registry has seen end.
    pub ended: BTreeMap<String, u64>,
}

/// A master that was started although somebody else owned its slots at a higher epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StaleStart {
    /// Nobody had come yet, and it may be held back.
    Alone,
    /// The record or a registered disk said so.
    Known,
    /// Nobody could know.
    Unknowable,
}

/// Something that happens.
#[derive(Debug)]
pub enum Event {
    /// An answer of the registry comes in.
    Answer(OpId),
    /// A request to the registry goes on.
    Api(OpId),
    /// The faults are over.
    Calm,
    /// A look at whether all is well.
    Check,
    /// A client of that set writes.
    Client(usize),
    /// A replica has copied everything, by the link that it began with.
    Copied(ProcId),
    /// A server's cron.
    Cron(ProcId),
    /// A message arrives.
    Deliver(ProcId, Box<Packet>),
    /// A server ends.
    End(ProcId),
    /// A step learns something.
    Fact(RunId, Box<Fact>),
    /// Fate strikes.
    Fate(usize),
    /// A hook goes on.
    Hook(HookId),
    /// A set is made.
    MakeSet(usize),
    /// A pod goes on.
    Pod {
        /// Its set.
        set: usize,
        /// Its ordinal.
        pod: u32,
        /// Which one of that name.
        uid: u32,
        /// What happens.
        what: PodEvent,
    },
    /// The controller of a set looks at its pods.
    Reconcile(usize),
    /// A step is asked what to do.
    Step(RunId),
    /// A write reaches a replica.
    Stream {
        /// Who has it.
        from: ProcId,
        /// Who gets it.
        to: ProcId,
        /// Which.
        write: WriteId,
    },
}

// === impl World ===

impl World {
    /// A world at its beginning.
    pub fn new(schedule: Schedule, mutation: Option<Mutation>, trace: Trace) -> Self {
        let mut world = Self::bare(schedule, mutation, trace);
        world.queue.after(0, Event::MakeSet(0));
        for (i, (at, _)) in world.schedule.events.iter().enumerate() {
            world.queue.after(*at, Event::Fate(i));
        }
        let ends = world.schedule.events.iter().map(|(at, fate)| at + fate.lasts());
        let calm = ends.max().unwrap_or(0) + 2000;
        world.queue.after(calm, Event::Calm);
        world.queue.after(1000, Event::Check);
        world
    }

    /// A world without any StatefulSet, in which nothing happens by itself.
    pub fn bare(schedule: Schedule, mutation: Option<Mutation>, trace: Trace) -> Self {
        let config = schedule.config;
        let units = Units::new(config.shards);
        let pool = (config.pods() * 2 + 6) as u8;
        Self {
            queue: Queue::new(),
            rng: fastrand::Rng::with_seed(schedule.seed),
            ledger: Ledger::new(units.count(), 2),
            units,
            names: Names::default(),
            net: Net::new(),
            procs: Vec::new(),
            about: Vec::new(),
            disks: Vec::new(),
            sets: vec![Set::new(0, &config), Set::new(1, &config)],
            free: (1..=pool).rev().map(Addr).collect(),
            api: Api::default(),
            ops: BTreeMap::new(),
            runs: BTreeMap::new(),
            hooks: BTreeMap::new(),
            successions: BTreeMap::new(),
            next: 0,
            clients: [false; 2],
            config: crate::step::server_config(config.keeps),
            calm_at: None,
            watch: Watch::default(),
            violation: None,
            counts: Counts::default(),
            mutation,
            crashes: BTreeMap::new(),
            slow: BTreeMap::new(),
            trace,
            ended: BTreeMap::new(),
            schedule,
        }
    }

    /// The time.
    pub fn now(&self) -> u64 {
        self.queue.now()
    }

    /// A number that nobody has had.
    pub fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// A delay by chance.
    pub fn chance(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.rng.u64(range)
    }

    /// Runs to the end: until all is well after the faults, or an invariant does not hold.
    pub fn run(&mut self) {
        while self.violation.is_none() && !self.watch.over {
            let Some(event) = self.queue.pop() else { break };
            self.counts.events += 1;
            let now = self.now();
            self.net.at(now);
            self.handle(event);
        }
        self.sum_up();
    }

    /// Lets so much time pass, whatever holds or not.
    pub fn pass(&mut self, time: u64) {
        let until = self.now() + time;
        while let Some(event) = self.queue.pop_until(until) {
            let now = self.now();
            self.net.at(now);
            self.handle(event);
        }
        self.net.at(until);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Answer(op) => self.answer(op),
            Event::Api(op) => self.api_goes_on(op),
            Event::Calm => self.calm_down(),
            Event::Check => self.check(),
            Event::Client(set) => self.client_writes(set),
            Event::Copied(proc) => self.copied(proc),
            Event::Cron(proc) => self.cron(proc),
            Event::Deliver(to, packet) => self.deliver(to, &packet),
            Event::End(proc) => self.end_proc(proc, End::Reset),
            Event::Fact(run, fact) => self.step_learns(run, *fact),
            Event::Fate(i) => self.strike(self.schedule.events[i].1),
            Event::Hook(hook) => self.hook_goes_on(hook),
            Event::MakeSet(set) => self.make_set(set),
            Event::Pod { set, pod, uid, what } => self.pod_event(set, pod, uid, what),
            Event::Reconcile(set) => self.reconcile(set),
            Event::Step(run) => self.step_goes_on(run),
            Event::Stream { from, to, write } => self.stream(from, to, write),
        }
    }

    /// A disk.
    pub fn disk(&mut self, id: DiskId) -> &mut Disk {
        &mut self.disks[id.0]
    }

    /// A server.
    pub fn proc(&self, id: ProcId) -> &Proc {
        &self.procs[id.0 as usize]
    }
}
