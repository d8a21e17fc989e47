//! Asking around: everybody at once, again after a pause, each time with a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::id::NodeId;
use crate::planner::{Action, How, Inspected, Inspection, Millis, PROBE_PATIENCE, Poll};
use crate::protocol::Proposal;

const PAUSE: Millis = Millis(200);
/// For how long answers count, once all are there. Whoever did not answer is in them, too. Not since they
/// were asked for: on a busy machine everybody would ask everybody again and again, and keep it busy.
const AGE: Millis = Millis(1_000);

/// What has been asked around, and what is under way.
#[derive(Clone, Debug, Default)]
pub(in crate::planner) struct Weighing {
    began: Option<Millis>,
    asked: Option<Millis>,
    /// Since when all have answered or had their time.
    complete: Option<Millis>,
    next: Millis,
    found: BTreeMap<SocketAddr, Option<Inspected>>,
    pub(in crate::planner) force: Option<Forced>,
    pub(in crate::planner) proposing: Option<Proposal>,
    /// For what it waits, for people.
    pub(in crate::planner) waits_for: Option<String>,
    /// Why the last proposal was refused.
    pub(in crate::planner) refused: Option<String>,
}

/// A replica that was told to become master.
#[derive(Clone, Debug)]
pub(in crate::planner) struct Forced {
    pub(in crate::planner) at: SocketAddr,
    pub(in crate::planner) id: NodeId,
    pub(in crate::planner) how: How,
    /// Instead of whom: this member, which others may not know any more once that is done.
    pub(in crate::planner) of: NodeId,
    pub(in crate::planner) since: Millis,
    pub(in crate::planner) result: Option<Result<(), String>>,
}

// === impl Weighing ===

impl Weighing {
    /// Asks everybody around; true once all have answered or had their time.
    pub(in crate::planner) fn look_around(
        &mut self,
        now: Millis,
        around: BTreeSet<SocketAddr>,
        poll: &mut Poll,
    ) -> bool {
        self.began.get_or_insert(now);
        if now < self.next {
            poll.wake_at(self.next);
            return false;
        }
        // The registry may have taken its time meanwhile.
        if self.complete.is_some_and(|since| now.0 > since.0 + AGE.0) {
            self.asked = None;
        }
        let asked = *self.asked.get_or_insert_with(|| {
            self.complete = None;
            self.found = around.iter().map(|at| (*at, None)).collect();
            poll.actions.extend(around.into_iter().map(Action::Inspect));
            now
        });
        let until = Millis(asked.0 + PROBE_PATIENCE.0);
        if now < until && self.found.values().any(Option::is_none) {
            poll.wake_at(until);
            return false;
        }
        self.complete.get_or_insert(now);
        true
    }

    pub(in crate::planner) fn inspected(&mut self, at: SocketAddr, answer: Inspected) {
        if let Some(found) = self.found.get_mut(&at) {
            found.get_or_insert(answer);
        }
    }

    pub(in crate::planner) fn forced(&mut self, at: SocketAddr, result: Result<(), String>) {
        if let Some(force) = self.force.as_mut().filter(|f| f.at == at) {
            force.result.get_or_insert(result);
        }
    }

    /// Everybody is asked again after a pause.
    pub(in crate::planner) fn pause(&mut self, now: Millis) -> Millis {
        self.asked = None;
        self.next = Millis(now.0 + PAUSE.0);
        self.next
    }

    /// The servers that have answered.
    pub(in crate::planner) fn living(&self) -> impl Iterator<Item = (SocketAddr, &Inspection)> {
        self.found.iter().filter_map(|(at, found)| match found {
            Some(Inspected::Node(inspection)) => Some((*at, &**inspection)),
            _ => None,
        })
    }

    /// The server that has named this id, and where it is.
    pub(super) fn by_id(&self, id: NodeId) -> Option<(SocketAddr, &Inspection)> {
        self.living().find(|(_, i)| i.nodes.myself().is_some_and(|n| n.id == id))
    }

    pub(super) fn unclear(&self) -> bool {
        self.found.values().any(|found| matches!(found, Some(Inspected::Unclear)))
    }

    pub(super) fn lasts(&self, now: Millis) -> Millis {
        Millis(now.0.saturating_sub(self.began.unwrap_or(now).0))
    }
}
