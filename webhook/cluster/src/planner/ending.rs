//! Carrying a decision out: what is written, what is recorded, and the start.
//!
//! Guarantees: one thing at a time: nothing follows a write or a report before its outcome is known;
//! what could not be written, or had to be recorded and was not, ends in a refusal.

use std::collections::VecDeque;

use super::decide::Decision;
use super::{Action, LAST_ACT, Millis, Planner};
use crate::nodes::NodesConf;
use crate::protocol::{Mark, Report};
use crate::record;

/// What is left to do once it has been decided.
#[derive(Debug)]
pub(super) struct Ending {
    queue: VecDeque<Action>,
    /// Whether the fact that the action before produces is still to come.
    in_flight: bool,
    /// Whether the server may start only if the report was taken.
    must_report: bool,
}

// === impl Planner ===

impl Planner {
    /// Lines up what the decision comes to. Only a bootstrap has to be recorded to go on.
    pub(super) fn carry_out(&mut self, decision: &Decision) {
        if let Decision::Refuse(why) = decision {
            return self.refuse(why.clone());
        }
        let write = decision.conf().map(|conf| Action::Write {
            nodes_conf: conf.to_string(),
            mark: self.view().zip(conf.myself()).map(|(view, me)| Mark {
                namespace: view.namespace.clone(),
                name: view.set().to_owned(),
                salt: view.plan.salt.clone(),
                node_id: me.id,
            }),
            stays: match self.doubts.no_predecessor || self.certainly_ended() {
                true => Millis(0),
                false => LAST_ACT,
            },
        });
        let must_report = matches!(decision, Decision::Bootstrap { .. });
        let begun = self.has_begun_unrecorded(decision);
        let (now, later) = match self.view().map(|_| decision.report()) {
            Some(report) if must_report => (Some(Action::Report(report)), None),
            Some(report) if begun => {
                (Some(Action::Report(Report { bootstrapped: true, ..report })), None)
            }
            other => (None, other),
        };
        let queue = write.into_iter().chain(now).chain([Action::Start(later)]);
        self.ending = Some(Ending { must_report, ..Ending::of(queue) });
    }

    /// Whether a disk of the plan's present generation is there that the record does not know to have
    /// begun: the step that wrote it was cut short. Should it be lost, the member would begin again.
    fn has_begun_unrecorded(&self, decision: &Decision) -> bool {
        let Some((view, me)) = self.view().zip(decision.conf().and_then(NodesConf::myself)) else {
            return false;
        };
        let own = view.members.get(&view.pod);
        me.id == view.plan.node_id(view.ordinal)
            && !own.is_some_and(|m| record::has_begun(&view.plan, m))
    }

    pub(super) fn written(&mut self, result: Result<(), String>) {
        if let Some(ending) = &mut self.ending {
            ending.in_flight = false;
        }
        if let Err(why) = result {
            self.refuse(format!("nodes.conf can not be written: {why}"));
        }
    }

    pub(super) fn reported(&mut self, result: Result<(), String>) {
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
}

// === impl Ending ===

impl Ending {
    /// These actions, in their order.
    pub(super) fn of(actions: impl Iterator<Item = Action>) -> Self {
        Self { queue: actions.collect(), in_flight: false, must_report: false }
    }

    /// The next one, unless the outcome of the one before is still to come.
    pub(super) fn next(&mut self) -> Option<Action> {
        let action = if self.in_flight { None } else { self.queue.pop_front() }?;
        self.in_flight = matches!(action, Action::Report(_) | Action::Write { .. });
        Some(action)
    }
}
