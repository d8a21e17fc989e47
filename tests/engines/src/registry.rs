//! The registry in this process: a record and its pods, with the judgement of the real one
//! ([`cluster::record`]) and an API server's place taken by a lock.
//!
//! Guarantees: as with the real one, an entry is written before the pods are read for the answer,
//! and a proposal is judged and written as one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use cluster::id::{NodeId, Ordinal};
use cluster::moment;
use cluster::plan::Plan;
use cluster::protocol::{HeirPolicy, Member, Pod, Proposal, Register, Report, Succession, View};
use cluster::record::{self, Change, Place, Standing};

/// Where the set is.
const NAMESPACE: &str = "test";
/// Its name.
pub(crate) const SET: &str = "c";

/// Where a copy of the set is.
const NAMESPACE_OF_COPY: &str = "copy";

/// One set's registry.
pub(crate) struct Registry {
    namespace: &'static str,
    replicas: u32,
    state: Mutex<State>,
}

struct State {
    /// Whether the claims were there before the record.
    claims_are_older: bool,
    plan: Plan,
    order: Order,
    members: BTreeMap<String, Member>,
    pods: BTreeMap<String, Pod>,
    successions: BTreeMap<NodeId, Succession>,
    forgotten: BTreeSet<NodeId>,
    made: u64,
}

/// How the set's controller makes its pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    /// `Parallel`: all at once.
    Parallel,
    /// `OrderedReady`: each when the one before is ready.
    Ordered,
}

// === impl Registry ===

impl Registry {
    /// The record of a new set.
    pub(crate) fn new(plan: Plan, order: Order) -> Self {
        let replicas = plan.pods();
        let state = State {
            claims_are_older: false,
            plan,
            order,
            members: BTreeMap::new(),
            pods: BTreeMap::new(),
            successions: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            made: 0,
        };
        Self { namespace: NAMESPACE, replicas, state: Mutex::new(state) }
    }

    /// The record of a set of the same name elsewhere, whose disks are copies of this one's.
    pub(crate) fn of_copy(&self) -> Self {
        Self { namespace: NAMESPACE_OF_COPY, ..self.made_again() }
    }

    /// Where its set is.
    pub(crate) fn namespace(&self) -> &'static str {
        self.namespace
    }

    /// What `mooring forget` does.
    pub(crate) fn forget(&self, id: NodeId) {
        self.lock().forgotten.insert(id);
    }

    /// The record of the same set, made again after it was lost: its disks are older than it.
    pub(crate) fn made_again(&self) -> Self {
        let (mut plan, order) = {
            let state = self.lock();
            (state.plan.clone(), state.order)
        };
        plan.salt.push_str("-again");
        plan.generation = 1;
        let again = Self::new(plan, order);
        again.lock().claims_are_older = true;
        again
    }

    /// How the pods come from now on.
    pub(crate) fn set_order(&self, order: Order) {
        self.lock().order = order;
    }

    /// A pod is gone.
    pub(crate) fn pod_gone(&self, pod: &str) {
        self.lock().pods.remove(pod);
    }

    /// A pod is there and its step runs.
    pub(crate) fn pod_made(&self, pod: &str, ip: IpAddr) {
        let mut state = self.lock();
        state.made += 1;
        let uid = format!("uid-{}", state.made);
        let made = Pod {
            uid,
            ips: vec![ip],
            injected: true,
            scheduled: true,
            ended_at: None,
            running: false,
            ready: false,
            deleting: false,
        };
        state.pods.insert(pod.to_owned(), made);
    }

    /// A pod is there, and no machine takes it.
    pub(crate) fn pod_waits(&self, pod: &str) {
        self.pod_made(pod, IpAddr::from([0, 0, 0, 0]));
        if let Some(pod) = self.lock().pods.get_mut(pod) {
            (pod.ips, pod.scheduled) = (Vec::new(), false);
        }
    }

    /// Its server has been started.
    pub(crate) fn pod_runs(&self, pod: &str) {
        if let Some(pod) = self.lock().pods.get_mut(pod) {
            pod.running = true;
        }
    }

    /// `POST /v1/register`.
    pub(crate) fn register(&self, pod: &str, body: &Register) -> Result<View, String> {
        let mut state = self.lock();
        let uid = state.pods.get(pod).map(|p| p.uid.clone());
        let uid = uid.ok_or_else(|| format!("pod {pod} is gone"))?;
        let before = state.members.get(pod).cloned();
        let blank = body.disk.identity.is_none() && !body.disk.data;
        let past = if blank { state.past() } else { Vec::new() };
        let place = Place { namespace: self.namespace, set: SET };
        let entry = record::entry(place, SET, &state.plan, pod, body, before.as_ref(), &past);
        let kept = before.as_ref();
        let member = Member {
            node_id: entry.node_id,
            ips: body.ips.clone(),
            ports: body.ports,
            lingering: record::lingering(kept, &uid, |_| false),
            pod_uid: uid,
            registered_at: now(),
            disk: entry.disk,
            was: entry.was,
            bootstrapped: kept.is_some_and(|m| m.bootstrapped),
            generation: kept.map_or(0, |m| m.generation),
            server: kept.and_then(|m| m.server.clone()),
            decision: kept.and_then(|m| m.decision.clone()),
        };
        state.members.insert(pod.to_owned(), member);
        let mut view = self.view(&state, pod, before, past)?;
        view.claims = view.claims.filter(|_| !body.disk.data);
        Ok(view)
    }

    /// `POST /v1/propose`.
    pub(crate) fn propose(&self, pod: &str, proposal: &Proposal) -> Result<View, String> {
        let mut state = self.lock();
        let claims = self.claims();
        let standing = Standing {
            set: SET,
            wanted: self.claims(),
            pod,
            plan: &state.plan,
            members: &state.members,
            pods: &state.pods,
            claims: Some(&claims),
            successions: &state.successions,
        };
        match record::judge(proposal, &standing)? {
            Change::Nothing => {}
            Change::Generation(generation) => state.plan.generation = generation,
            Change::Succession(from, succession) => {
                state.successions.insert(from, succession);
            }
        }
        let (before, past) = (state.members.get(pod).cloned(), state.past());
        self.view(&state, pod, before, past)
    }

    /// `GET /v1/view`.
    pub(crate) fn look(&self, pod: &str) -> Result<View, String> {
        let state = self.lock();
        let (before, past) = (state.members.get(pod).cloned(), state.past());
        self.view(&state, pod, before, past)
    }

    /// `POST /v1/report`.
    pub(crate) fn report(&self, pod: &str, report: &Report) {
        let mut state = self.lock();
        let generation = state.plan.generation;
        let Some(member) = state.members.get_mut(pod) else { return };
        member.decision = Some(report.reason.clone());
        if report.is_of_a_start() {
            member.lingering.clear();
        }
        if report.bootstrapped {
            (member.bootstrapped, member.generation, member.was) = (true, generation, None);
        }
        if let Some(id) = report.node_id {
            member.node_id = Some(id);
        }
    }

    fn view(
        &self,
        state: &State,
        pod: &str,
        before: Option<Member>,
        past: Vec<String>,
    ) -> Result<View, String> {
        let ordinal = Ordinal::of_pod(pod, SET).ok_or_else(|| format!("{pod} has no ordinal"))?;
        let (members, earlier) = state.members.clone().into_iter().partition(|(name, member)| {
            state.pods.get(name).is_some_and(|p| p.uid == member.pod_uid)
        });
        Ok(View {
            namespace: self.namespace.to_owned(),
            name: SET.to_owned(),
            pod: pod.to_owned(),
            ordinal,
            replicas: self.replicas,
            parallel: state.order == Order::Parallel,
            listed: Vec::new(),
            past,
            plan: state.plan.clone(),
            // Everything here ends by SIGKILL, which the real one does not see.
            predecessor_ended: false,
            before,
            members,
            pods: state.pods.clone(),
            earlier,
            ended: BTreeMap::new(),
            claims: Some(self.claims()),
            successions: state.successions.clone(),
            heirs: HeirPolicy::Fresh,
            forgotten: state.forgotten.clone(),
            hook_token: String::new(),
            restored: false,
            secret: None,
        })
    }

    /// Every member has a claim, made with the set.
    fn claims(&self) -> BTreeSet<String> {
        (0..self.replicas).map(|n| format!("{SET}-{n}")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Why the set may have a life behind it. All pods here carry the step: claims that are older
    /// than the record, and ids that are not the plan's, are the reasons that there can be.
    fn past(&self) -> Vec<String> {
        let strange = self.members.iter().filter_map(|(name, member)| {
            let planned = Ordinal::of_pod(name, SET).map(|o| self.plan.node_id(o));
            let id = member.disk.identity.as_ref()?.node_id;
            (Some(id) != planned).then(|| format!("member {name} has node id {id} on its disk"))
        });
        let older = "the set's claims are older than the cluster's record: they may hold data";
        let older = self.claims_are_older.then(|| older.to_owned());
        older.into_iter().chain(strange).collect()
    }
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    moment::rfc3339(u64::try_from(since.as_micros()).unwrap_or_default())
}
