//! How members come up: by their steps, all at once or one after the other, or by hand.
//!
//! Guarantees: only what says so starts a server without its step.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use cluster::id::NodeId;
use cluster::net::{Address, Ports};
use cluster::nodes::NodesConf;

use super::{PATIENCE, Set};
use crate::disk;
use crate::member::{Member, Outcome};
use crate::registry::Order;

// === impl Set ===

impl Set {
    /// Pods of all members that do not run, all at once: what their steps came to.
    pub(crate) fn start_all(&mut self) -> Result<Vec<Outcome>, String> {
        self.start_staggered(|_| Duration::ZERO)
    }

    /// The same, but each member's step begins only some time after its pod is there.
    pub(crate) fn start_staggered(
        &mut self,
        after: impl Fn(usize) -> Duration,
    ) -> Result<Vec<Outcome>, String> {
        self.start_those(|_| true, after)
    }

    /// All but some, of which again some have a pod that no machine takes.
    pub(crate) fn start_but(
        &mut self,
        missing: &[usize],
        pending: &[usize],
    ) -> Result<Vec<Outcome>, String> {
        for (_, member) in self.members.iter().enumerate().filter(|(n, _)| pending.contains(n)) {
            self.common.registry.pod_waits(&member.pod);
        }
        self.start_those(|n| !missing.contains(&n), |_| Duration::ZERO)
    }

    fn start_those(
        &mut self,
        which: impl Fn(usize) -> bool,
        after: impl Fn(usize) -> Duration,
    ) -> Result<Vec<Outcome>, String> {
        self.common.registry.set_order(Order::Parallel);
        for (_, member) in self.members.iter().enumerate().filter(|(n, _)| which(*n)) {
            self.common.registry.pod_made(&member.pod, member.address().ip());
        }
        let common = &self.common;
        let outcomes: Vec<_> = thread::scope(|scope| {
            let steps: Vec<_> = self
                .members
                .iter_mut()
                .enumerate()
                .filter(|(n, _)| which(*n))
                .map(|(n, member)| {
                    let pause = after(n);
                    scope.spawn(move || {
                        thread::sleep(pause);
                        member.start(common)
                    })
                })
                .collect();
            steps.into_iter().map(|s| s.join().map_err(|_| "a step panicked".to_owned())).collect()
        });
        outcomes.into_iter().map(|outcome| outcome?).collect()
    }

    /// The same one after the other, each when the server of the one before answers.
    pub(crate) fn start_in_order(&mut self) -> Result<Vec<Outcome>, String> {
        self.common.registry.set_order(Order::Ordered);
        let mut outcomes = Vec::new();
        for member in &mut self.members {
            self.common.registry.pod_made(&member.pod, member.address().ip());
            let outcome = member.start(&self.common)?;
            if outcome.refused.is_none() {
                member.wait_for_answer(PATIENCE)?;
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// A pod for one member.
    pub(crate) fn start_one(&mut self, n: usize) -> Result<Outcome, String> {
        let member = self.members.get(n).ok_or("there is no such member")?;
        self.common.registry.pod_made(&member.pod, member.address().ip());
        self.start_again(n)
    }

    /// The step of a pod that is there already, again.
    pub(crate) fn start_again(&mut self, n: usize) -> Result<Outcome, String> {
        let member = self.members.get_mut(n).ok_or("there is no such member")?;
        member.start(&self.common)
    }

    /// Pods for all members that have no server, all at once.
    pub(crate) fn start_the_rest(&mut self) -> Result<Vec<Outcome>, String> {
        let away: Vec<usize> = self
            .members
            .iter()
            .enumerate()
            .filter(|(_, m)| !m.is_there())
            .map(|(n, _)| n)
            .collect();
        for n in &away {
            let member = self.members.get(*n).ok_or("there is no such member")?;
            self.common.registry.pod_made(&member.pod, member.address().ip());
        }
        let common = &self.common;
        thread::scope(|scope| {
            let steps: Vec<_> = self
                .members
                .iter_mut()
                .filter(|m| !m.is_there())
                .map(|member| scope.spawn(move || member.start(common)))
                .collect();
            steps.into_iter().map(|s| s.join().map_err(|_| "a step panicked".to_owned())?).collect()
        })
    }

    /// A server as its files are, without a step.
    pub(crate) fn launch(&mut self, n: usize) -> Result<(), String> {
        let member = self.members.get_mut(n).ok_or("there is no such member")?;
        member.launch(&self.common).map(|_| ())
    }

    /// A member's container, killed and started again as its files are, without a step; when.
    pub(crate) fn restart_in_place(&mut self, n: usize) -> Result<Instant, String> {
        self.crash(n)?;
        self.members.get_mut(n).ok_or("there is no such member")?.launch(&self.common)
    }

    /// SIGKILL for a member's server alone: its pod is there, and its container may come back in it.
    pub(crate) fn crash(&mut self, n: usize) -> Result<(), String> {
        self.members.get_mut(n).ok_or("there is no such member")?.kill();
        Ok(())
    }

    /// What the engine needs by itself: as [`Set::start_by_hand`]. The set is started by its steps again
    /// afterwards.
    pub(crate) fn by_hand(&mut self, order: Order) -> Result<f64, String> {
        let seconds = self.start_by_hand(order)?;
        self.wait_until_whole()?;
        self.kill(|_| true)?;
        self.start_all()?;
        self.write_all()?;
        self.wait_until_whole()?;
        Ok(seconds)
    }

    /// All are killed, every file is told every address, and the servers are started without a step; how
    /// long after the last start all slots are writable.
    pub(crate) fn start_by_hand(&mut self, order: Order) -> Result<f64, String> {
        self.kill(|_| true)?;
        let files: Vec<_> = self.members.iter().map(Member::nodes_conf).collect();
        let read = |path: &PathBuf| {
            let bytes = disk::read(path)?.ok_or_else(|| format!("{} is gone", path.display()))?;
            NodesConf::parse(&bytes).map_err(|e| format!("{}: {e}", path.display()))
        };
        let mut confs: Vec<NodesConf> = files.iter().map(read).collect::<Result<_, _>>()?;
        let place = |at: SocketAddr| Address { ip: at.ip(), ports: Ports::plain(at.port()) };
        let addresses: Vec<Address> = self.members.iter().map(|m| place(m.address())).collect();
        let known: BTreeMap<NodeId, Address> = confs
            .iter()
            .zip(&addresses)
            .filter_map(|(conf, address)| Some((conf.myself()?.id, *address)))
            .collect();
        for ((conf, own), path) in confs.iter_mut().zip(&addresses).zip(&files) {
            conf.repair(*own, &known);
            fs::write(path, conf.to_string())
                .map_err(|e| format!("{} can not be written: {e}", path.display()))?;
        }
        let mut last = None;
        for member in &mut self.members {
            last = Some(member.launch(&self.common)?);
            if order == Order::Ordered {
                member.wait_for_answer(PATIENCE)?;
            }
        }
        let ((_, until), _) = self.write_all()?;
        let last = last.ok_or("nobody was started")?;
        Ok(until.saturating_duration_since(last).as_secs_f64())
    }
}
