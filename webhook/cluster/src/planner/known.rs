//! What the registry has said, and what of it is kept where it may not say so again.
//!
//! Guarantees: what was said once of the set's past, of who this member was and of the pod before it holds
//! for the whole start, also where the record is lost meanwhile; a proposal that changes nothing counts as
//! refused.

use super::{Millis, Planner, Registry};
use crate::plan::Plan;
use crate::protocol::{Member, View};
use crate::record;

// === impl Planner ===

impl Planner {
    pub(super) fn is_told(&mut self, mut view: Box<View>) {
        self.doubts.learn(&view);
        match view.past.is_empty() {
            true => view.past.clone_from(&self.past),
            false => self.past.clone_from(&view.past),
        }
        self.remember(&mut view);
        // Later answers have this start's own entry there.
        let mut before = view.before.iter().filter(|_| !view.predecessor_ended);
        let other = |m: &&Member| !m.ips.iter().any(|ip| self.setup.ips.contains(ip));
        self.predecessor = self.predecessor.take().or(before.find(other).cloned());
        self.registry = Registry::Known(view);
    }

    pub(super) fn proposed(&mut self, now: Millis, result: Result<Box<View>, String>) {
        self.weighing.proposing = None;
        match result {
            Ok(view) if self.view().is_none_or(|before| is_changed(before, &view)) => {
                self.registry = Registry::Known(view);
            }
            refused => {
                let same = || "the record says something of it already".to_owned();
                self.weighing.refused = Some(refused.err().unwrap_or_else(same));
                let next = self.weighing.pause(now);
                // It was judged by what is known now, which may be more than this view says.
                self.registry = Registry::Idle { next, attempts: 0 };
            }
        }
    }

    /// Keeps what the record says of who this member was, and puts it where it does not say so any more.
    fn remember(&mut self, view: &mut View) {
        let (plan, name, pod) = (&view.plan, &view.name, &view.pod);
        let entries = view.members.get(pod).into_iter().chain(&view.before);
        let was = entries.filter_map(|m| record::remembered(plan, name, pod, m)).next();
        match was {
            Some(was) => self.was = Some((plan.clone(), was)),
            None => {
                // Where the cluster begins anew, what it was is over.
                let over = |was: &Plan| was.salt == plan.salt && was.generation != plan.generation;
                self.was.take_if(|(plan, _)| over(plan));
                let own = view.members.get_mut(&view.pod).filter(|m| m.disk.identity.is_none());
                if let (Some(own), Some((_, was))) = (own, &self.was) {
                    own.was = Some(was.clone());
                }
            }
        }
    }
}

/// Whether a proposal has come to anything.
fn is_changed(before: &View, after: &View) -> bool {
    before.successions != after.successions || before.plan.generation != after.plan.generation
}
