//! The hooks, by the real ones' rules: post-start brings a guest in, has a replica succeed its master
//! and holds the pod un-Ready; what it leaves undone its guard does; pre-stop hands over.
//!
//! Guarantees: each ends in time; what the real hooks ask the registry and the servers, these ask. What
//! they decide is decided by the real code.

use cluster::protocol::{Report, View};

use crate::engine::Takeover;
use crate::ids::ProcId;
use crate::kube::{Phase, PodEvent};
use crate::registry::{Answer, Caller, Request};
use crate::world::{Event, World};

mod guard;
mod join;
mod succeed;

pub use succeed::Heir;

/// A hook, by number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct HookId(pub u32);

/// A hook under way.
#[derive(Clone, Debug)]
pub struct Hook {
    set: usize,
    ordinal: u32,
    uid: u32,
    proc: ProcId,
    deadline: u64,
    state: State,
    nudged: u64,
    /// How long the guard pauses; none while post-start has not ended.
    guards: Option<u64>,
    /// Until when its server was the master that it has handed over.
    owned_until: Option<u64>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    /// As [`State::Heirs`], asked again.
    Choose(Vec<ProcId>),
    /// Until the member is in its cluster.
    Gate,
    /// The registry is asked whether all others run.
    GateView,
    /// What post-start left is looked at again.
    Guard,
    /// The registry is asked who is where.
    GuardView,
    /// A guest asks whom to meet.
    Guest,
    /// Until the role has changed.
    HandOver,
    /// Before a stop: whose pods stay.
    Heirs,
    /// A guest has told that it is in.
    Joined,
    /// A guest has met somebody.
    Joining,
    /// A master that has handed over stays until then.
    HandedOver(u64),
    /// A replica that stops asks whether its master stops, too.
    Last,
    /// Until its master has stopped.
    Outlast,
    /// The step's report is under way.
    Reported,
    /// Until the server answers.
    Server,
    /// Once deletions have reached all.
    Settled(Vec<ProcId>),
    /// A replica whose master is missing.
    Succeed,
    /// Its request is under way.
    Succeeding(Asked),
}

/// What a succession has asked the registry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Proposal,
    Report,
    View,
}

/// How long post-start may take.
const READY: u64 = 30_000;
/// How long pre-stop may take.
const HAND_OVER: u64 = 8_000;
/// How long deletions take to reach all pods.
const SETTLE: u64 = 250;
/// The same for a master that has handed over.
const SETTLE_AFTER: u64 = 1_000;

impl World {
    /// The server of a pod was started.
    pub fn start_post_start(&mut self, set: usize, ordinal: u32, proc: ProcId) {
        self.start_hook(set, ordinal, proc, READY, State::Server);
    }

    /// A pod's server is to stop.
    pub fn start_pre_stop(&mut self, set: usize, ordinal: u32, proc: ProcId) {
        let server = self.proc(proc);
        let owner = server.is_master() && !server.me().slots.is_empty();
        let follows = server.repl.is_some_and(|r| r.up.is_some());
        let token = self.sets[set].pods.get(&ordinal).is_some_and(|p| p.token);
        let asks = token && server.answers(self.now());
        if asks && follows {
            self.start_hook(set, ordinal, proc, HAND_OVER, State::Last);
            return;
        }
        if !asks || !owner || self.online_replicas(proc).is_empty() {
            return self.stops(set, ordinal);
        }
        let hook = self.start_hook(set, ordinal, proc, HAND_OVER, State::Heirs);
        self.hook_asks(hook, Request::View);
    }

    fn start_hook(
        &mut self,
        set: usize,
        ordinal: u32,
        proc: ProcId,
        patience: u64,
        state: State,
    ) -> HookId {
        let id = HookId(self.number());
        let deadline = self.now() + patience;
        let first = if matches!(state, State::Last) { SETTLE } else { 20 };
        if let Some(pod) = self.sets[set].pods.get_mut(&ordinal) {
            if let Some(before) = pod.hook.replace(id) {
                self.hooks.remove(&before);
            }
            let uid = pod.uid;
            let (guards, owned_until) = (None, None);
            let hook =
                Hook { set, ordinal, uid, proc, deadline, state, nudged: 0, guards, owned_until };
            self.hooks.insert(id, hook);
            self.queue.after(first, Event::Hook(id));
        }
        id
    }

    fn stops(&mut self, set: usize, ordinal: u32) {
        if let Some(pod) = self.sets[set].pods.get_mut(&ordinal)
            && let Phase::Running(proc) = pod.phase
        {
            let hook = pod.hook.take().and_then(|hook| self.hooks.remove(&hook));
            // From 7.0 on the server takes no more writes, and waits for its replicas.
            self.procs[proc.0 as usize].paused_until = u64::MAX;
            self.write_down(proc, hook.and_then(|hook| hook.owned_until));
        }
        self.later(set, ordinal, 50..=250, PodEvent::Stop);
    }

    fn hook_asks(&mut self, id: HookId, request: Request) {
        let Some(hook) = self.hooks.get(&id) else { return };
        let (set, ordinal, uid) = (hook.set, hook.ordinal, hook.uid);
        // Whoever is cut off reaches the registry no more than the others.
        let cut = self.net.is_cut(hook.proc);
        if !cut && self.sets[set].pods.get(&ordinal).is_some_and(|p| p.token) {
            self.ask(Caller::Hook(id), set, ordinal, uid, request);
        } else {
            let why = "without a credential".to_owned();
            self.hook_hears(id, Answer::Failed { why, retry: false });
        }
    }

    fn set_state(&mut self, id: HookId, state: State) {
        if let Some(hook) = self.hooks.get_mut(&id) {
            hook.state = state;
        }
    }

    /// A hook wakes up.
    pub fn hook_goes_on(&mut self, id: HookId) {
        let Some(hook) = self.hooks.get(&id).cloned() else { return };
        let now = self.now();
        if self.proc(hook.proc).dead {
            return;
        }
        let late = now >= hook.deadline;
        match hook.state {
            State::Server if self.proc(hook.proc).answers(now) => {
                let pod = self.sets[hook.set].pods.get(&hook.ordinal);
                let report = pod.and_then(|p| p.decided.clone());
                let report = report.unwrap_or_else(|| Report::normal("Started", "it runs"));
                self.set_state(id, State::Reported);
                self.hook_asks(id, Request::Report(report));
            }
            State::Server if late => self.post_start_ends(id),
            State::Server => self.queue.after(50, Event::Hook(id)),
            State::Joining => self.join_goes_on(id, &hook),
            State::Gate => self.gate(id, &hook),
            State::Settled(heirs) => {
                self.set_state(id, State::Choose(heirs));
                self.hook_asks(id, Request::View);
            }
            State::HandOver if late => self.stops(hook.set, hook.ordinal),
            State::HandOver if !self.proc(hook.proc).is_master() => {
                if let Some(hook) = self.hooks.get_mut(&id) {
                    hook.owned_until = Some(now);
                }
                self.set_state(id, State::HandedOver(now + SETTLE_AFTER));
                self.queue.after(SETTLE_AFTER, Event::Hook(id));
            }
            State::HandedOver(until) if now >= until => {
                self.set_state(id, State::Last);
                self.hook_asks(id, Request::View);
            }
            State::HandOver => self.queue.after(20, Event::Hook(id)),
            State::Last => self.hook_asks(id, Request::View),
            State::Outlast => {
                let linked = self.proc(hook.proc).repl.is_some_and(|r| r.up.is_some());
                if late || !linked {
                    self.stops(hook.set, hook.ordinal);
                } else {
                    self.queue.after(20, Event::Hook(id));
                }
            }
            State::Succeed => self.succession_goes_on(id, &hook),
            State::Guard => self.guard(id, &hook),
            _ => {}
        }
    }

    /// The registry has answered a hook.
    pub fn hook_hears(&mut self, id: HookId, answer: Answer) {
        let Some(hook) = self.hooks.get(&id).cloned() else { return };
        if self.proc(hook.proc).dead {
            return;
        }
        let (view, failed) = match answer {
            Answer::View(view) => (Some(view), None),
            Answer::Done => (None, None),
            Answer::Failed { why, .. } => (None, Some(why)),
        };
        match (hook.state.clone(), view) {
            (State::Reported, _) => {
                let server = self.proc(hook.proc);
                if server.peers.len() == 1 && server.me().slots.is_empty() {
                    self.set_state(id, State::Guest);
                    self.hook_asks(id, Request::View);
                } else {
                    self.succeed(id, &hook, hook.deadline);
                }
            }
            (State::Guest, Some(view)) => self.join(id, &hook, &view),
            (State::Joined, _) if hook.guards.is_some() => self.guard_pauses(id),
            (State::Joined, _) => self.succeed(id, &hook, hook.deadline),
            (State::Succeeding(asked), view) => {
                self.succession_hears(id, &hook, asked, view, failed)
            }
            (State::GuardView, Some(view)) => self.guard_view(id, &hook, &view),
            (_, None) if hook.guards.is_some() => self.guard_resolves(id, &hook),
            (State::Last, Some(view)) => {
                let master = self.proc(hook.proc).repl.and_then(|r| r.host);
                let at = |ips: &[_]| master.is_some_and(|m| ips.contains(&m.ip()));
                let stops = view.pods.values().any(|p| p.deleting && at(&p.ips));
                if stops {
                    self.set_state(id, State::Outlast);
                    self.queue.after(20, Event::Hook(id));
                } else {
                    self.stops(hook.set, hook.ordinal);
                }
            }
            // It has asked twice.
            (State::Outlast, _) => {}
            (State::GateView, Some(view)) => self.gate_view(id, &hook, &view),
            (State::Heirs, Some(view)) => {
                let mut heirs = self.online_replicas(hook.proc);
                heirs.retain(|heir| self.stays(*heir, &view));
                self.set_state(id, State::Settled(heirs));
                self.queue.after(SETTLE, Event::Hook(id));
            }
            (State::Choose(heirs), Some(view)) => self.hand_over(id, &hook, heirs, &view),
            (State::Heirs | State::Choose(_) | State::Last, None) => {
                self.stops(hook.set, hook.ordinal)
            }
            _ => self.post_start_ends(id),
        }
    }

    /// The pod runs, for all to see; what is left the guard does.
    fn post_start_ends(&mut self, id: HookId) {
        let Some(hook) = self.hooks.get(&id).cloned() else { return };
        if let Some(pod) = self.sets[hook.set].pods.get_mut(&hook.ordinal)
            && pod.hook == Some(id)
        {
            pod.running = true;
            pod.failures = 0;
        }
        self.start_guard(id);
    }

    fn hook_is_over(&mut self, id: HookId) {
        let Some(hook) = self.hooks.remove(&id) else { return };
        self.successions.remove(&id);
        if let Some(pod) = self.sets[hook.set].pods.get_mut(&hook.ordinal)
            && pod.hook == Some(id)
        {
            pod.hook = None;
        }
    }

    // --- the gate ---

    fn gate(&mut self, id: HookId, hook: &Hook) {
        let server = self.proc(hook.proc);
        if server.ok && server.repl.is_none_or(|r| r.up.is_some()) {
            return self.post_start_ends(id);
        }
        self.set_state(id, State::GateView);
        self.hook_asks(id, Request::View);
    }

    fn gate_view(&mut self, id: HookId, hook: &Hook, view: &View) {
        let own = self.sets[hook.set].pod_name(hook.ordinal);
        let others = view.pods.iter().filter(|(name, p)| **name != own && p.running && !p.deleting);
        if (others.count() as u32) + 1 < view.replicas || self.now() >= hook.deadline {
            return self.post_start_ends(id);
        }
        if self.now() >= hook.nudged + 2000 {
            if let Some(hook) = self.hooks.get_mut(&id) {
                hook.nudged = self.queue.now();
            }
            self.redial(hook.proc);
        }
        self.set_state(id, State::Gate);
        self.queue.after(500, Event::Hook(id));
    }

    // --- handing over ---

    fn online_replicas(&self, of: ProcId) -> Vec<ProcId> {
        self.procs.iter().filter(|p| Self::is_linked(p, of)).map(|p| p.with.id).collect()
    }

    fn stays(&self, heir: ProcId, view: &View) -> bool {
        let ip = self.proc(heir).with.addr.ip();
        let pod = view.pods.values().find(|p| p.ips.contains(&ip) && p.running);
        pod.is_some_and(|p| !p.deleting)
    }

    fn hand_over(&mut self, id: HookId, hook: &Hook, mut heirs: Vec<ProcId>, view: &View) {
        heirs.retain(|heir| {
            let reached = self.net.is_open(hook.proc, *heir);
            reached && self.stays(*heir, view) && self.proc(*heir).answers(self.now())
        });
        let best = heirs.into_iter().max_by_key(|heir| self.proc(*heir).offset);
        let mine = self.proc(hook.proc).id();
        let best = best.filter(|heir| self.proc(*heir).master() == Some(mine));
        let asked =
            best.is_some_and(|heir| self.act(heir, |p, cx| p.take_over(cx, Takeover::Graceful)));
        if asked {
            self.set_state(id, State::HandOver);
            self.queue.after(20, Event::Hook(id));
        } else {
            self.stops(hook.set, hook.ordinal);
        }
    }
}
