//! Succession from post-start: the real state machine, with the world for a shell.

use cluster::planner::{How, Millis};
use cluster::protocol::{Mark, View};
use cluster::record::Change;
use cluster::succession::{Action, Fact, Own, Setup, Succession};

use super::{Asked, Hook, HookId, State};
use crate::engine::{Owner, Takeover};
use crate::ids::ProcId;
use crate::invariants::SUCCESSION;
use crate::registry::Request;
use crate::world::{Event, World};

/// A succession under way.
#[derive(Debug)]
pub struct Heir {
    machine: Succession,
    began: u64,
}

impl World {
    pub(super) fn succeed(&mut self, id: HookId, hook: &Hook, deadline: u64) {
        let began = self.now();
        let machine = Succession::new(Setup {
            node_timeout: Millis(self.proc(hook.proc).with.timeout),
            deadline: Millis(deadline.saturating_sub(began)),
        });
        self.successions.insert(id, Heir { machine, began });
        self.set_state(id, State::Succeed);
        self.succession_goes_on(id, hook);
    }

    pub(super) fn succession_goes_on(&mut self, id: HookId, hook: &Hook) {
        let Some(mut heir) = self.successions.remove(&id) else { return };
        let now = Millis(self.now() - heir.began);
        let asked = loop {
            match heir.machine.poll(now) {
                Action::End => return self.succession_ends(id, hook),
                Action::Wait(until) => {
                    self.set_state(id, State::Succeed);
                    self.queue.after(until.0.saturating_sub(now.0).max(1), Event::Hook(id));
                    break None;
                }
                Action::Look => {
                    let own = self.own(hook.proc);
                    heir.machine.observe(now, Fact::Looked(own.map(Box::new)));
                }
                Action::Inspect(around) => {
                    let answers = around.into_iter().map(|at| self.inspect_at(at).1).collect();
                    heir.machine.observe(now, Fact::Inspected(answers));
                }
                Action::Promote(how) => self.promote(hook.proc, how),
                Action::View => break Some((Asked::View, Request::View)),
                Action::Propose(p) => break Some((Asked::Proposal, Request::Propose(p))),
                Action::Report(r) => {
                    if r.reason == "NotSucceeded" {
                        self.watch.undecided.insert(hook.proc);
                    }
                    break Some((Asked::Report, Request::Report(r)));
                }
            }
        };
        self.successions.insert(id, heir);
        if let Some((asked, request)) = asked {
            self.set_state(id, State::Succeeding(asked));
            self.hook_asks(id, request);
        }
    }

    pub(super) fn succession_hears(
        &mut self,
        id: HookId,
        hook: &Hook,
        asked: Asked,
        view: Option<Box<View>>,
        failed: Option<String>,
    ) {
        let answer = view.ok_or_else(|| failed.unwrap_or_default());
        let now = self.now();
        if let Some(heir) = self.successions.get_mut(&id) {
            let since = Millis(now - heir.began);
            match asked {
                Asked::View => heir.machine.observe(since, Fact::Viewed(answer)),
                Asked::Proposal => heir.machine.observe(since, Fact::Proposed(answer)),
                Asked::Report => {}
            }
        }
        self.succession_goes_on(id, hook);
    }

    fn succession_ends(&mut self, id: HookId, hook: &Hook) {
        self.successions.remove(&id);
        if hook.guards.is_some() {
            return self.guard_pauses(id);
        }
        self.set_state(id, State::Gate);
        self.queue.after(1, Event::Hook(id));
    }

    fn promote(&mut self, id: ProcId, how: How) {
        self.counts.forces += 1;
        self.tell(|| format!("{} is promoted by {how:?}", self.who(id)));
        self.excuse_what_it_lacks(id);
        let how = match how {
            How::Vote => Takeover::Force,
            How::Record => Takeover::Takeover,
        };
        self.act(id, |server, cx| server.take_over(cx, how));
    }

    /// The record has named an heir. It may have become master by vote already, or will by its next step.
    pub fn heir_was_named(&mut self, set: usize, by: u32, change: &Change) {
        let Change::Succession(_, succession) = change else { return };
        let units = self.units.of(&succession.slots);
        let heir = self.names.number(succession.heir);
        let own = self.sets[set].pods.get(&by).and_then(|pod| pod.proc());
        match own.filter(|id| self.proc(*id).id() == heir) {
            Some(id) if self.proc(id).is_master() => {}
            Some(id) => {
                self.excuse_what_is_lacked(set, units, &self.proc(id).data.clone(), SUCCESSION)
            }
            // A step has named one that is not there: what is said of a replica is a second old.
            None if !self.living(set).any(|id| self.proc(id).id() == heir) => {
                let mut disks = self.disks.iter().filter(|disk| disk.set == set && !disk.lost);
                let named = |mark: &Mark| mark.node_id == succession.heir;
                if let Some(disk) = disks.find(|disk| disk.mark.as_ref().is_some_and(named)) {
                    self.excuse_what_cannot_come(set, units, disk.data.clone());
                }
            }
            None => {}
        }
    }

    /// What the master acknowledged last, and kept for itself.
    fn excuse_what_it_lacks(&mut self, id: ProcId) {
        let Owner::Pod { set, .. } = self.proc(id).with.owner else { return };
        let master = self.proc(id).master().and_then(|of| self.proc(id).peer(of));
        let Some(units) = master.map(|master| master.slots) else { return };
        self.excuse_what_is_lacked(set, units, &self.proc(id).data.clone(), SUCCESSION);
    }

    fn own(&self, id: ProcId) -> Result<Own, String> {
        let server = self.proc(id);
        let now = self.now();
        if !server.answers(now) {
            return Err("it does not answer".to_owned());
        }
        let linked = server.repl.map(|r| r.up.or(r.copying).is_some() || r.down_since > 0);
        let nodes = self.seen_nodes(id)?;
        Ok(Own {
            current_epoch: server.current_epoch,
            master: nodes.myself().and_then(|me| me.master),
            was_linked: linked.unwrap_or(true),
            offset: server.offset,
            keys: !server.data.is_empty(),
            uptime: Millis((now - server.started) / 1000 * 1000),
            clock: now / 1000 * 1000,
            votes_anew: server.with.family.elects_at_once(),
            nodes,
        })
    }
}
