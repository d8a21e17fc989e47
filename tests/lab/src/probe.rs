//! The client pod, from outside.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use crate::clock;
use crate::manifests;
use crate::set::{NAME, Set};
use crate::timeline::At;
use crate::wire::{Status, Sweep, Verified};

/// Name of its pod.
pub const POD: &str = "client";
/// More than two node timeouts of 5 s: a shorter look calls a broken cluster healthy.
pub const CALM: Duration = Duration::from_millis(10_500);

/// A client that writes to a set.
#[derive(Clone, Debug)]
pub struct Probe<'a> {
    set: &'a Set<'a>,
    /// What the pod's clock shows more than ours, in microseconds.
    ahead: i64,
}

impl<'a> Probe<'a> {
    /// Starts the pod and waits until it answers.
    pub fn start(set: &'a Set<'a>) -> Result<Self> {
        let kubectl = &set.ground.kubectl;
        let manifest = manifests::client(&set.namespace, NAME, POD, &set.ground.client)?;
        kubectl.apply(&manifest)?;
        let args = ["wait", "--for=condition=Ready", "pod", POD, "-n", &set.namespace];
        kubectl.run(&[&args[..], &["--timeout=120s"]].concat()).context("the client's pod")?;
        let mut probe = Self { set, ahead: 0 };
        let before = clock::now();
        let theirs: At = probe.ask("now")?;
        let after = clock::now();
        // Within the question's time the clocks cannot be told apart, and need not be.
        if theirs < before || theirs > after {
            probe.ahead =
                theirs.0.cast_signed() - (before.0 + (after.0 - before.0) / 2).cast_signed();
        }
        Ok(probe)
    }

    /// What the slots did since a time of ours; times in it are ours too.
    pub fn status(&self, since: At) -> Result<Status> {
        let status: Status = self.ask(&format!("status?since={}", self.theirs(since).0))?;
        Ok(self.ours(status))
    }

    /// Waits until all slots have taken all writes for [`CALM`], or for `limit`.
    pub fn wait(&self, since: At, limit: Duration) -> Result<Status> {
        self.wait_calm(since, CALM, limit)
    }

    /// The same for another time of calm.
    pub fn wait_calm(&self, since: At, calm: Duration, limit: Duration) -> Result<Status> {
        let (since, calm, limit) = (self.theirs(since).0, calm.as_millis(), limit.as_millis());
        let status = self.ask(&format!("wait?since={since}&calm={calm}&limit={limit}"))?;
        Ok(self.ours(status))
    }

    /// Reads every acknowledged write back.
    pub fn verify(&self) -> Result<Verified> {
        self.ask("verify")
    }

    /// Writes to each of the 16384 slots.
    pub fn sweep(&self) -> Result<Sweep> {
        self.ask("sweep")
    }

    /// Stops writing.
    pub fn pause(&self) -> Result<()> {
        self.ask::<At>("pause")?;
        Ok(())
    }

    /// Writes again.
    pub fn resume(&self) -> Result<()> {
        self.ask::<At>("resume")?;
        Ok(())
    }

    fn ask<T: DeserializeOwned>(&self, question: &str) -> Result<T> {
        let words = ["/client", "ask", question];
        let answer = self.set.ground.kubectl.exec(&self.set.namespace, POD, "client", &words)?;
        serde_json::from_str(&answer).with_context(|| format!("the client's answer: {answer}"))
    }

    fn theirs(&self, at: At) -> At {
        At(at.0.saturating_add_signed(self.ahead))
    }

    fn ours(&self, mut status: Status) -> Status {
        let ours = |at: At| At(at.0.saturating_add_signed(-self.ahead));
        status.now = ours(status.now);
        status.since = ours(status.since);
        status.gaps.last_end = status.gaps.last_end.map(ours);
        status.ordinary.last_end = status.ordinary.last_end.map(ours);
        for slot in &mut status.slots {
            slot.gaps.last_end = slot.gaps.last_end.map(ours);
        }
        status
    }
}
