//! Whether a master that comes back is the only one of its set that can be found. Such a one may have
//! been replaced while it was away, and takes writes for a node timeout that nobody will keep.
//!
//! Guarantees: one answer of anybody ends the question; nobody is asked where others are coming back
//! at the same time, since they answer nobody yet; where all come at once, the first one waits for a
//! second, but not for long.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::{Answer, HoldBack, Millis, Planner, Poll, Registry};
use crate::moment;
use crate::nodes::{Flag, NodesConf};
use crate::protocol::View;
use crate::server::ServerConfig;

/// Who has registered so long before this member comes back with it, and may not answer yet; in
/// microseconds.
const TOGETHER: u64 = 10_000_000;

/// How long the first one of a stopped set waits for a second one. It could serve nobody alone. And a
/// master that was in a minority for a moment, two seconds after its start or later, takes writes only
/// a node timeout (at most 5 s) after that (`clusterUpdateState`: `rejoin_delay`).
pub(super) const COMPANY_PATIENCE: Millis = Millis(10_000);
/// How often it looks.
const LOOK_AGAIN: Millis = Millis(200);

// === impl Planner ===

impl Planner {
    /// Asks the members that run whether they can be found; true once that is known.
    pub(super) fn ask_for_company(
        &mut self,
        now: Millis,
        config: &ServerConfig,
        conf: Option<&NodesConf>,
        poll: &mut Poll,
    ) -> bool {
        let owner =
            |c: &NodesConf| c.myself().is_some_and(|me| me.is_master() && !me.slots.is_empty());
        if !conf.is_some_and(owner) || self.may_hold_back() == HoldBack::Forbidden {
            return true;
        }
        if now < COMPANY_PATIENCE && self.is_first_of_many(conf) {
            self.weighing.waits_for = Some("the other members, which may know better".to_owned());
            let next = Millis(now.0 + LOOK_AGAIN.0);
            self.registry = Registry::Idle { next, attempts: 0 };
            poll.wake_at(next);
            return false;
        }
        let running = self.running(config);
        self.probe(now, &running, poll);
        self.has_answered(&running) || self.probed_all(now, &running, poll)
    }

    /// Whether it is held back: it is alone, and nobody waits for its readiness.
    pub(super) fn hold_back(&self, config: &ServerConfig) -> HoldBack {
        match self.view() {
            Some(view) if is_first(view) => self.may_hold_back(),
            Some(_) => {
                let running = self.running(config);
                match running.is_empty() || self.has_answered(&running) {
                    true => HoldBack::Forbidden,
                    false => self.may_hold_back(),
                }
            }
            None => HoldBack::Forbidden,
        }
    }

    fn may_hold_back(&self) -> HoldBack {
        match self.view() {
            // Where all come at once, nobody waits for this one's readiness.
            Some(view) if view.parallel => HoldBack::Allowed,
            _ => self.setup.hold_back,
        }
    }

    /// Whether nobody else has come yet, others are to come, and nobody waits for this one's readiness.
    fn is_first_of_many(&self, conf: Option<&NodesConf>) -> bool {
        let alone = self.view().is_some_and(|v| v.parallel && v.replicas > 1 && is_first(v));
        let mut nodes = conf.into_iter().flat_map(NodesConf::nodes);
        // Whoever owns everything is a majority alone.
        alone
            && nodes
                .any(|n| n.is_master() && !n.slots.is_empty() && !n.flags.contains(&Flag::Myself))
    }

    fn has_answered(&self, running: &BTreeSet<SocketAddr>) -> bool {
        let answers = running.iter().filter_map(|at| self.probes.get(at)?.answer);
        answers
            .into_iter()
            .any(|answer| matches!(answer, Answer::Node(_) | Answer::Loading | Answer::Unclear))
    }

    /// Where other members run, if none of them comes back just now.
    fn running(&self, config: &ServerConfig) -> BTreeSet<SocketAddr> {
        let Some(view) = self.view().filter(|view| !others_come_back(view)) else {
            return BTreeSet::new();
        };
        let port = config.ports().client().unwrap_or(6379);
        let others = view
            .pods
            .iter()
            .filter(|(name, pod)| **name != view.pod && pod.running && !pod.deleting);
        let places = others.flat_map(|(name, pod)| match view.members.get(name) {
            Some(member) => {
                let port = member.ports.client().unwrap_or(port);
                member.ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect::<Vec<_>>()
            }
            None => pod.ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect(),
        });
        places.filter(|at| !self.setup.ips.contains(&at.ip())).collect()
    }
}

/// Whether nobody else of the set runs or has registered: the set had stopped.
fn is_first(view: &View) -> bool {
    let others = |name: &String| *name != view.pod;
    !view.members.keys().any(others) && !view.pods.iter().any(|(n, p)| others(n) && p.running)
}

/// Whether another member has registered at about the same time as this one, or it can not be told.
fn others_come_back(view: &View) -> bool {
    let at = |name: &str| moment::micros(&view.members.get(name)?.registered_at);
    let Some(own) = at(&view.pod) else { return true };
    let mut others = view.members.keys().filter(|name| **name != view.pod);
    others.any(|name| at(name).is_none_or(|other| other + TOGETHER > own))
}
