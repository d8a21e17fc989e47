//! The registry: records, and what it answers by its real rules.
//!
//! Guarantees: a registration is read, written and read again in three steps between which
//! anything may happen; the answer holds the entries as that write returned them, and the pods as
//! they are after it. Who a member is, and whether a proposal is made, is judged by the real code.

use std::collections::{BTreeMap, BTreeSet};

use cluster::id::NodeId;
use cluster::plan::Plan;
use cluster::planner::Fact;
use cluster::protocol::{Lingering, Member, Proposal, Register, Report, Succession, View};
use cluster::record::{self, Change};

use crate::hooks::HookId;
use crate::mutation::Mutation;
use crate::schedule::Outage;
use crate::step::RunId;
use crate::world::{Event, World};

mod past;
mod serve;

/// A ClusterRecord.
#[derive(Clone, Debug)]
pub struct Record {
    /// How the cluster begins.
    pub plan: Plan,
    /// When the record was made.
    pub created: u64,
    /// Whether it took the place of one that was deleted.
    pub restored: bool,
    /// All entries.
    pub members: BTreeMap<String, Member>,
    /// Who inherited whose slots.
    pub successions: BTreeMap<NodeId, Succession>,
    /// Ids that must not come back.
    pub forgotten: BTreeSet<NodeId>,
    /// Goes up with every change.
    pub version: u64,
}

/// A request, by number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct OpId(pub u32);

/// A request under way.
#[derive(Debug)]
pub struct Op {
    caller: Caller,
    set: usize,
    ordinal: u32,
    uid: u32,
    request: Request,
    phase: Phase,
    tries: u32,
    answer: Option<Answer>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Caller {
    /// A hook.
    Hook(HookId),
    /// A step.
    Step(RunId),
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Request {
    /// `POST /v1/propose`.
    Propose(Proposal),
    /// `POST /v1/register`.
    Register(Box<Register>),
    /// `POST /v1/report`.
    Report(Report),
    /// `GET /v1/view`.
    View,
}

/// What comes back.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It was taken.
    Done,
    /// It was not.
    Failed {
        /// Why.
        why: String,
        /// Whether asking again may help.
        retry: bool,
    },
    /// A view.
    View(Box<View>),
}

#[derive(Debug)]
enum Phase {
    Change(Box<(Change, u64)>),
    Pods(Box<Found>),
    Read,
    Write(Box<Found>),
}

/// What a registration has read so far.
#[derive(Debug)]
struct Found {
    before: Option<Member>,
    reasons: Vec<String>,
    claims: Option<BTreeSet<String>>,
    entry: record::Entry,
    lingering: Vec<Lingering>,
    written: Option<Record>,
}

/// The way to the registry.
#[derive(Clone, Debug, Default)]
pub struct Api {
    /// Outages: from, until, what.
    pub outages: Vec<(u64, u64, Outage)>,
    /// Until when every other answer is lost.
    pub deaf_until: u64,
}

/// How long a request is waited for.
const TIMEOUT: u64 = 4000;

// === impl Api ===

impl Api {
    /// What is away now.
    pub fn outage_now(&self, now: u64) -> Option<Outage> {
        let now = self.outages.iter().filter(|(from, until, _)| (*from..*until).contains(&now));
        now.map(|(_, _, what)| *what).max_by_key(|what| *what == Outage::Whole)
    }
}

// === impl World ===

impl World {
    /// Sends a request.
    pub fn ask(&mut self, caller: Caller, set: usize, ordinal: u32, uid: u32, request: Request) {
        let id = OpId(self.number());
        let mut op =
            Op { caller, set, ordinal, uid, request, phase: Phase::Read, tries: 0, answer: None };
        let delay = self.chance(4..=20);
        if self.api.outage_now(self.now()).is_some() {
            op.answer = Some(unreachable());
            // Some networks refuse, others do not answer.
            let delay = if self.rng.u8(0..4) == 0 { TIMEOUT } else { delay };
            self.queue.after(delay, Event::Answer(id));
        } else {
            self.queue.after(delay, Event::Api(id));
        }
        self.ops.insert(id, op);
    }

    /// A request goes on by one step.
    pub fn api_goes_on(&mut self, id: OpId) {
        let Some(mut op) = self.ops.remove(&id) else { return };
        let delay = self.chance(3..=15);
        let down = self.api.outage_now(self.now()).is_some();
        let result = if down { Err(unreachable()) } else { self.serve(&mut op) };
        match result {
            Ok(None) => self.queue.after(delay, Event::Api(id)),
            Ok(Some(answer)) | Err(answer) => {
                let lost = down || (self.now() < self.api.deaf_until && self.rng.bool());
                op.answer = Some(if lost { unreachable() } else { answer });
                self.queue.after(if lost { TIMEOUT } else { delay }, Event::Answer(id));
            }
        }
        self.ops.insert(id, op);
    }

    /// An answer reaches whoever asked.
    pub fn answer(&mut self, id: OpId) {
        let Some(op) = self.ops.remove(&id) else { return };
        let Some(answer) = op.answer else { return };
        match op.caller {
            Caller::Hook(hook) => self.hook_hears(hook, answer),
            Caller::Step(run) => {
                let fact = fact(&op.request, answer);
                let lost = self.mutation == Some(Mutation::LoseFacts);
                if !(lost && matches!(fact, Fact::Registered(_))) {
                    self.step_learns(run, fact);
                }
            }
        }
    }

    /// Makes a record if there is none.
    pub fn ensure_record(&mut self, set: usize) {
        if self.sets[set].record.is_some() {
            return;
        }
        let config = self.schedule.config;
        let noted = self.sets[set].noted.clone();
        let restored = noted.is_some();
        let new = Plan {
            salt: format!("salt-{set}-{}", self.number()),
            shards: config.shards,
            replicas_per_shard: config.replicas,
            generation: 1,
            sets: Vec::new(),
        };
        let (plan, successions) = noted.unwrap_or((new, BTreeMap::new()));
        self.sets[set].record = Some(Record {
            plan,
            created: self.now(),
            restored,
            members: BTreeMap::new(),
            successions,
            forgotten: BTreeSet::new(),
            version: 0,
        });
    }

    /// A record was written: what it alone knows stands on the StatefulSet as well.
    pub(crate) fn changed(&mut self, set: usize) {
        let now = self.now();
        let s = &mut self.sets[set];
        if let Some(record) = &mut s.record {
            s.noted = Some((record.plan.clone(), record.successions.clone()));
            record.version += 1;
            s.history.push((now, record.clone()));
            if s.history.len() > 200 {
                s.history.drain(..100);
            }
        }
    }
}

fn fact(request: &Request, answer: Answer) -> Fact {
    match (request, answer) {
        (Request::Register(_), Answer::View(view)) => Fact::Registered(view),
        (Request::Propose(_), Answer::View(view)) => Fact::Proposed(Ok(view)),
        (Request::Propose(_), Answer::Failed { why, .. }) => Fact::Proposed(Err(why)),
        (Request::Report(_), Answer::Failed { why, .. }) => Fact::Reported(Err(why)),
        (_, Answer::Failed { why, retry }) => Fact::RegistryFailed { why, retry },
        (_, _) => Fact::Reported(Ok(())),
    }
}

fn unreachable() -> Answer {
    Answer::Failed { why: "the registry can not be reached".to_owned(), retry: true }
}
