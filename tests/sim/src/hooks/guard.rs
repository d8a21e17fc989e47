//! `step guard`, by the real one's rules: what post-start left undone.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use cluster::planner::{Answer, Link};
use cluster::protocol::View;
use cluster::upkeep::{Health, Standing};

use super::{Hook, HookId, State};
use crate::ids::{Addr, ProcId};
use crate::registry::Request;
use crate::world::{Event, World};

/// Between two rounds, at first and in the end.
const PAUSES: (u64, u64) = (1_000, 15_000);
/// How long one round may take.
const ROUND: u64 = 30_000;

impl World {
    pub(super) fn start_guard(&mut self, id: HookId) {
        let Some(hook) = self.hooks.get_mut(&id) else { return };
        hook.guards = Some(PAUSES.0);
        let proc = hook.proc;
        let settled = self.standing(proc).is_ok_and(|s| s.is_settled());
        if self.proc(proc).answers(self.now()) && settled {
            return self.hook_is_over(id);
        }
        self.guard_pauses(id);
    }

    pub(super) fn guard_pauses(&mut self, id: HookId) {
        let Some(hook) = self.hooks.get_mut(&id) else { return };
        let pause = hook.guards.unwrap_or(PAUSES.0);
        hook.guards = Some((pause * 5 / 4).min(PAUSES.1));
        hook.state = State::Guard;
        self.queue.after(pause, Event::Hook(id));
    }

    pub(super) fn guard(&mut self, id: HookId, hook: &Hook) {
        let now = self.now();
        if !self.proc(hook.proc).answers(now) {
            return self.queue.after(200, Event::Hook(id));
        }
        let Ok(standing) = self.standing(hook.proc) else { return self.guard_pauses(id) };
        if standing.is_settled() {
            return self.hook_is_over(id);
        }
        self.redial(hook.proc);
        for (_, at) in standing.unlinked() {
            if let Ok(replica) = self.at(at)
                && self.proc(replica).answers(now)
            {
                self.redial(replica);
            }
        }
        self.set_state(id, State::GuardView);
        self.hook_asks(id, Request::View);
    }

    /// Without the registry: by the headless Service.
    pub(super) fn guard_resolves(&mut self, id: HookId, hook: &Hook) {
        if hook.state == State::GuardView
            && let Ok(standing) = self.standing(hook.proc)
        {
            let ready = self.sets[hook.set].pods.values().filter(|p| p.ready);
            let ips: Vec<_> = ready.filter_map(|p| p.addr).map(Addr::ip).collect();
            self.guard_meets(hook.proc, &standing, standing.places_by_name(&ips), None);
        }
        self.guard_pauses(id);
    }

    fn guard_meets(
        &mut self,
        id: ProcId,
        standing: &Standing,
        places: BTreeSet<SocketAddr>,
        view: Option<&View>,
    ) {
        for at in places {
            let (_, answer) = self.probe_at(at);
            if let (Answer::Node(named), Some(addr)) = (answer, Addr::of(at.ip()))
                && standing.meets(at, named, view)
            {
                self.tell(|| format!("{} meets {}", self.who(id), addr.0));
                self.act(id, |server, cx| server.meet(cx, addr));
            }
        }
    }

    pub(super) fn guard_view(&mut self, id: HookId, hook: &Hook, view: &View) {
        let deadline = self.now() + ROUND;
        if let Some(hook) = self.hooks.get_mut(&id) {
            hook.deadline = deadline;
        }
        let Ok(standing) = self.standing(hook.proc) else { return self.guard_pauses(id) };
        if standing.is_guest() {
            return self.join(id, hook, view);
        }
        self.guard_meets(hook.proc, &standing, standing.places(view), Some(view));
        if let Some(owner) = standing.owner_instead(view) {
            let of = self.names.number(owner);
            self.tell(|| format!("{} follows {}", self.who(hook.proc), self.names.short(of)));
            self.act(hook.proc, |server, cx| server.replicate(cx, of));
        }
        self.succeed(id, hook, deadline);
    }

    /// As [`Standing::read`] has it of a real server.
    pub(super) fn standing(&self, id: ProcId) -> Result<Standing, String> {
        let server = self.proc(id);
        let copies = |link: Option<crate::engine::Link>| link.is_some_and(|link| link.to == id);
        let copied_by = self
            .procs
            .iter()
            .filter(|p| !p.dead && p.repl.is_some_and(|r| copies(r.up) || copies(r.copying)));
        Ok(Standing {
            nodes: self.seen_nodes(id)?,
            health: Health {
                ok: server.ok,
                link: server.repl.map(|r| if r.up.is_some() { Link::Up } else { Link::Down }),
            },
            dials: server.repl.and_then(|r| r.host).map(Addr::client),
            copied_by: copied_by.map(|p| p.with.addr.ip()).collect(),
        })
    }

    /// Naming the master again makes a replica look where it is now.
    pub(super) fn redial(&mut self, id: ProcId) {
        if self.proc(id).repl.is_none_or(|r| r.up.is_some()) {
            return;
        }
        let master = self.standing(id).ok().and_then(|s| s.redials());
        if let Some(master) = master {
            let of = self.names.number(master);
            self.act(id, |server, cx| server.replicate(cx, of));
        }
    }
}
