//! The end of a run: all is well again, or somebody has to say why not.

use super::Invariant;
use crate::data::Stale;
use crate::kube::{Phase, Pod};
use crate::units::Unit;
use crate::world::{Event, World};

/// How long after the faults everything has to be well.
pub const BOUND: u64 = 300_000;

impl World {
    /// The faults are over: nothing is away, blocked or cut any more.
    pub fn calm_down(&mut self) {
        let now = self.now();
        self.calm_at = Some(now);
        self.crashes.clear();
        self.slow.clear();
        for set in &mut self.sets {
            set.blocked.clear();
        }
        self.tell(|| "the faults are over".to_owned());
    }

    /// A look at everything.
    pub fn check(&mut self) {
        for set in 0..self.sets.len() {
            if self.clients[set] {
                self.check_two(set);
                self.check_merged(set);
            }
        }
        if let Some(calm_at) = self.calm_at {
            self.check_whether_over(calm_at);
        }
        self.queue.after(500, Event::Check);
    }

    fn check_whether_over(&mut self, calm_at: u64) {
        let now = self.now();
        let sets: Vec<_> = self.sets.iter().filter(|s| s.exists).map(|s| s.index).collect();
        let well = sets.iter().all(|set| self.is_well(*set));
        let since = match self.watch.well_since {
            _ if !well => None,
            None => Some(now),
            since => since,
        };
        self.watch.well_since = since;
        // A lone master says ok for one node timeout before it notices.
        let quiet = 2 * self.schedule.config.timeout + 2000;
        if let Some(since) = since.filter(|since| now >= since + quiet) {
            self.watch.over = true;
            self.counts.recovery = since.saturating_sub(calm_at);
            for set in sets {
                self.check_lost(set);
                self.check_forgotten(set);
            }
        } else if now >= self.watch.helped.unwrap_or(calm_at) + BOUND {
            if self.watch.helped.is_none() && self.help(&sets) {
                return;
            }
            self.watch.over = true;
            sets.into_iter()
                .filter(|set| !self.is_well(*set))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|set| self.check_stuck(set));
        }
    }

    /// A pod that started while the registry was away can not ask it: its start says so, and that it is to
    /// be deleted once the registry is back. Returns whether there was one in a set that is not well.
    fn help(&mut self, sets: &[usize]) -> bool {
        let mut late = Vec::new();
        for set in sets.iter().filter(|set| !self.is_well(**set)) {
            let pods = self.sets[*set].pods.iter();
            let untold = pods.filter(|(_, pod)| !pod.token && pod.proc().is_some());
            late.extend(untold.map(|(ordinal, _)| (*set, *ordinal)));
        }
        if late.is_empty() {
            return false;
        }
        self.watch.helped = Some(self.now());
        *self
            .counts
            .left
            .entry("a pod that started without the registry".to_owned())
            .or_default() += 1;
        late.into_iter().for_each(|(set, ordinal)| self.delete_pod(set, ordinal));
        true
    }

    /// Whether every unit has a server that takes writes, and every pod one that is in its
    /// cluster; a pod that was left to a person does not count.
    fn is_well(&self, set: usize) -> bool {
        let now = self.now();
        let s = &self.sets[set];
        let taken = |unit: Unit| self.living(set).any(|id| self.proc(id).accepts(unit, now));
        self.units.each().all(taken)
            && s.rollout.is_empty()
            && (0..s.replicas).all(|ordinal| {
                let spoiled = self.watch.spoiled.contains(&(set, ordinal));
                let Some(pod) = s.pods.get(&ordinal) else { return false };
                self.is_in_cluster(pod) || (spoiled && pod.refused.is_some())
            })
    }

    fn is_in_cluster(&self, pod: &Pod) -> bool {
        pod.proc()
            .map(|id| self.proc(id))
            .is_some_and(|p| p.ok && p.peers.len() > 1 && p.repl.is_none_or(|r| r.up.is_some()))
    }

    /// Every write that had to stay is readable; no write that could have been refused was lost.
    fn check_lost(&mut self, set: usize) {
        let now = self.now();
        for unit in self.units.each() {
            let Some(owner) = self.living(set).find(|id| self.proc(*id).accepts(unit, now)) else {
                continue;
            };
            let all = self.ledger.of(self.units.count(), set, unit);
            let lost = all.without(&self.proc(owner).data);
            let stale =
                |w: &crate::data::WriteId| self.ledger.get(*w).stale == Some(Stale::Preventable);
            if let Some(write) = lost.each().find(stale) {
                let write = self.ledger.get(write);
                let text = format!(
                    "{} took a write of {unit:?} at {} ms as a stale master, and it is lost",
                    self.who(write.by),
                    write.at
                );
                return self.violated(Invariant::StaleWrite, text);
            }
            let lost = lost.without(self.ledger.excused());
            let Some(first) = lost.each().next() else { continue };
            let holds = self
                .disks
                .iter()
                .enumerate()
                .filter(|(_, disk)| disk.set == set && !disk.lost && disk.data.meets(&lost));
            let holds: Vec<_> =
                holds.map(|(i, disk)| format!("disk {i} of {}", disk.ordinal)).collect();
            let first = self.ledger.get(first);
            let text = format!(
                "{} writes of {unit:?} are lost, the first one taken by {} at {} ms; {} owns it now; \
                 they are on {holds:?}",
                lost.count(),
                self.who(first.by),
                first.at,
                self.who(owner)
            );
            return self.violated(Invariant::LostWrite, text);
        }
    }

    /// Nobody knows a node again that all who ran had forgotten, as long as its record is whole and
    /// whoever started was told.
    fn check_forgotten(&mut self, set: usize) {
        if self.watch.unrecorded.contains(&set) || self.watch.untold.contains(&set) {
            return;
        }
        let forgotten = self.watch.forgotten.iter().filter(|(of, _)| *of == set);
        let known = forgotten.flat_map(|(_, gone)| {
            let knows = |id: &crate::ids::ProcId| self.proc(*id).peer(*gone).is_some();
            self.living(set).filter(knows).map(|id| (id, *gone))
        });
        let found: Vec<_> = known.collect();
        if let Some((who, gone)) = found.first() {
            let text = format!(
                "{} knows {} again, which was forgotten on purpose",
                self.who(*who),
                self.names.short(*gone)
            );
            self.violated(Invariant::Forgotten, text);
        }
    }

    /// All is not well after the bound: a person has to decide, or it is a fault.
    fn check_stuck(&mut self, set: usize) {
        if let Some(why) = self.left_to_others(set) {
            *self.counts.left.entry(why).or_default() += 1;
            return;
        }
        let s = &self.sets[set];
        let pods: Vec<_> =
            s.pods.iter().map(|(o, pod)| format!("{o}: {}", self.state(pod))).collect();
        let text = format!("{} is not well: {}", s.namespace, pods.join("; "));
        for id in self.living(set).collect::<Vec<_>>() {
            let nodes = self.proc(id).nodes(&self.names, &self.units);
            self.tell(|| format!("{} knows\n{nodes}", self.who(id)));
        }
        self.violated(Invariant::Stuck, text);
    }

    /// Why all is not well, if that is for a person.
    ///
    /// - A damaged disk is refused with a sentence. Whatever fails besides may hang on it.
    /// - A replica whose data may be older than what its master took is not made master by itself, and
    ///   says which command decides.
    /// - All that a shard had is gone, and the record, which alone could say who had it, was lost as
    ///   well: nobody may guess its slots.
    /// - The record was lost, and half of the masters have lost their disks: nobody is there to elect,
    ///   and nothing that could decide instead.
    /// - The record was rolled back to before all disks were lost and the cluster began anew, and does not
    ///   know its nodes.
    /// - Slots were moved to a member whose disk is gone, and that had not registered since.
    fn left_to_others(&self, set: usize) -> Option<String> {
        let spoiled = |ordinal: &u32| self.watch.spoiled.contains(&(set, *ordinal));
        let pods = &self.sets[set].pods;
        let mut refused =
            pods.iter().filter(|(o, _)| spoiled(o)).filter_map(|(_, p)| p.refused.as_ref());
        if let Some(why) = refused.next() {
            return Some(why.chars().take(40).collect());
        }
        // A sentence that says who decides, and how.
        let asked =
            |pod: &&Pod| pod.refused.as_ref().is_some_and(|why| why.contains("a person decide"));
        if pods.values().any(|pod| asked(&pod)) {
            return Some("two members may have the data, and a person is asked".to_owned());
        }
        let now = self.now();
        let served = |unit: &Unit| self.living(set).any(|id| self.proc(id).accepts(*unit, now));
        let unserved: Vec<Unit> = self.units.each().filter(|unit| !served(unit)).collect();
        let asks = |unit: &Unit| {
            let mut living = self.living(set).filter(|id| self.watch.undecided.contains(id));
            living.any(|id| {
                let server = self.proc(id);
                let master = server.master().and_then(|of| server.peer(of));
                master.is_some_and(|m| m.slots.has(*unit)) && !server.data.is_empty()
            })
        };
        if unserved.iter().any(asks) {
            return Some("a replica may be behind, and a person is asked".to_owned());
        }
        if self.watch.behind.contains(&set) {
            return Some("the record is older than the cluster".to_owned());
        }
        let lost = |unit: &Unit| self.is_nowhere(set, *unit);
        let moved = |unit: &Unit| self.watch.moved.contains(&(set, *unit)) && lost(unit);
        if unserved.iter().any(moved) {
            return Some("slots were moved to a disk that is gone".to_owned());
        }
        let unrecorded = self.watch.unrecorded.contains(&set);
        if unrecorded && unserved.iter().any(lost) {
            return Some("a shard's data and the record are gone".to_owned());
        }
        let owns = |unit: &Unit| {
            let of = |id| self.proc(id).claimed().is_some_and(|c| c.units.has(*unit));
            self.living(set).any(of)
        };
        let owned = self.units.each().filter(owns).count();
        let no_majority = unrecorded && 2 * owned <= usize::from(self.units.count());
        no_majority.then(|| "the record is gone, and half of the masters".to_owned())
    }

    /// Whether nobody who lives and no disk has a write of a unit.
    fn is_nowhere(&self, set: usize, unit: Unit) -> bool {
        let all = self.ledger.of(self.units.count(), set, unit);
        let disks = self.disks.iter().filter(|d| d.set == set && !d.lost);
        !self.living(set).any(|id| self.proc(id).data.meets(all))
            && !disks.into_iter().any(|disk| disk.data.meets(all))
    }

    fn state(&self, pod: &Pod) -> String {
        match pod.phase {
            Phase::Running(id) => {
                let link = self.proc(id).repl.map(|r| r.up.is_some());
                let known = self.proc(id).peers.len();
                let state = if self.proc(id).ok { "ok" } else { "fail" };
                format!("{}, {state}, link {link:?}, knows {known}", self.told(id))
            }
            phase => format!("{phase:?} {}", pod.refused.clone().unwrap_or_default()),
        }
    }
}
