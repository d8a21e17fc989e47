//! What happens to a set, and what came of it: formation, loss of pods, the floor.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::clock;
use crate::pods::Pod;
use crate::probe::{CALM, Probe};
use crate::set::{How, Set};
use crate::timeline::At;
use crate::wire::Status;

/// After this a set that has not recovered is called broken.
pub const LIMIT: Duration = Duration::from_secs(90);

/// For so long after a command nothing else is asked of the cluster: no set recovers sooner and has
/// been calm, too.
const QUIET: Duration = Duration::from_secs(8);

/// A set that has taken every write for so long is back, as far as one can see: the rest of [`CALM`] is
/// there to prove it, and leaves room for work that is not measured.
const BACK: Duration = Duration::from_secs(2);

/// How a set came up, or came back.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Whether every slot takes every write again.
    pub recovered: bool,
    /// From the command to the end of the last gap.
    pub seconds: f64,
    /// To the end of the last gap from the start of the last server process before it; nothing where
    /// a start is not known.
    pub after_last_start: Option<f64>,
    /// From the command to the last pod's being ready, if all are.
    pub ready: Option<f64>,
    /// The longest gap of any slot.
    pub longest_gap: f64,
    /// From the command until the ordinary client writes again.
    pub ordinary: f64,
    /// Pods that have another address than before.
    pub moved: usize,
    /// Acknowledged writes read back so far.
    pub acknowledged: u64,
    /// How many of them are lost.
    pub lost: u64,
    /// The last error seen by the client, where it has not recovered.
    pub last_error: String,
}

/// Applies a set and waits until it is a cluster. The client is there before.
pub fn form(set: &Set<'_>, probe: &Probe<'_>) -> Result<Recovery> {
    form_beside(set, probe, || Ok(()))
}

/// The same with something else to do once the set is a cluster and has to stay one.
pub fn form_beside(
    set: &Set<'_>,
    probe: &Probe<'_>,
    beside: impl FnOnce() -> Result<()> + Send,
) -> Result<Recovery> {
    let watch = set.watch()?;
    let begin = set.apply()?;
    let status = wait(probe, begin, beside)?;
    judge(set, probe, begin, &status, &BTreeMap::new(), |begin| {
        let all = set.replicas() as usize;
        let at = watch.wait(all, Duration::from_secs(60), |pod| pod.ready && !pod.deleting)?;
        Ok(at.since(begin))
    })
}

/// Deletes these pods (all of them, if none is named) and waits until every slot takes every write.
pub fn lose(set: &Set<'_>, probe: &Probe<'_>, pod: Option<&str>, how: How) -> Result<Recovery> {
    lose_beside(set, probe, pod, how, || Ok(()))
}

/// The same with something else to do once every slot takes every write and has to go on doing so.
pub fn lose_beside(
    set: &Set<'_>,
    probe: &Probe<'_>,
    pod: Option<&str>,
    how: How,
    beside: impl FnOnce() -> Result<()> + Send,
) -> Result<Recovery> {
    let before = set.pods()?;
    let watch = set.watch()?;
    let begin = clock::now();
    let mut delete = match pod {
        Some(pod) => set.delete_one(pod, how)?,
        None => set.delete_all(how)?,
    };
    delete.wait().context("kubectl delete")?;
    let status = wait(probe, begin, beside)?;
    judge(set, probe, begin, &status, &before, |begin| {
        let lost = |now: &Pod| pod.is_none_or(|pod| pod == now.name);
        let back = |now: &Pod| {
            let same = before.get(&now.name).is_some_and(|old| old.uid == now.uid);
            now.ready && !now.deleting && !(lost(now) && same)
        };
        Ok(watch.wait(before.len(), Duration::from_secs(60), back)?.since(begin))
    })
}

/// Waits for a calm of [`CALM`] and does something else from that time on at which the set seems to
/// be back.
fn wait(
    probe: &Probe<'_>,
    begin: At,
    beside: impl FnOnce() -> Result<()> + Send,
) -> Result<Status> {
    // The client keeps its own times. Asking it is work for the machine, which is under test.
    thread::sleep(QUIET.saturating_sub(clock::elapsed(begin)));
    probe.wait_calm(begin, BACK, LIMIT)?;
    thread::scope(|scope| {
        let beside = scope.spawn(beside);
        let status = probe.wait(begin, LIMIT);
        beside.join().map_err(|_| anyhow!("a thread broke"))??;
        status
    })
}

/// The floor: deletes all pods and waits until all are ready; in seconds.
pub fn floor(set: &Set<'_>, how: How) -> Result<f64> {
    let before = set.pods()?;
    let watch = set.watch()?;
    let begin = clock::now();
    let mut delete = set.delete_all(how)?;
    let ready = watch.wait(before.len(), LIMIT, |now| {
        let same = before.get(&now.name).is_some_and(|old| old.uid == now.uid);
        now.ready && !now.deleting && !same
    })?;
    delete.wait().context("kubectl delete")?;
    Ok(ready.since(begin))
}

/// Deletes all pods and looks whether every slot takes every write `watched` later.
pub fn control(set: &Set<'_>, probe: &Probe<'_>, watched: Duration) -> Result<bool> {
    let begin = clock::now();
    set.delete_all(How::Graceful)?.wait().context("kubectl delete")?;
    thread::sleep(watched.saturating_sub(clock::elapsed(begin)));
    Ok(probe.status(begin)?.recovered(micros(CALM)))
}

fn judge(
    set: &Set<'_>,
    probe: &Probe<'_>,
    begin: At,
    status: &Status,
    before: &BTreeMap<String, Pod>,
    ready: impl FnOnce(At) -> Result<f64>,
) -> Result<Recovery> {
    let recovered = status.recovered(micros(CALM));
    let ready = if recovered { Some(ready(begin)?) } else { None };
    let after = set.pods()?;
    // A pod's address is its own: the same one twice would be no test.
    let moved = before
        .values()
        .filter(|old| {
            after.get(&old.name).is_some_and(|new| new.uid != old.uid && new.ip != old.ip)
        })
        .count();
    let end = status.gaps.last_end.unwrap_or(begin);
    // In order, the last pods start when all slots are writable already.
    let starts = if status.gaps.count > 0 { set.starts()? } else { None };
    let last_start = starts.and_then(|s| s.into_iter().filter(|start| *start <= end).max());
    let since = |at: Option<At>| at.map_or(0.0, |at| at.since(begin));
    let mut recovery = Recovery {
        recovered,
        seconds: if recovered { end.since(begin) } else { status.now.since(begin) },
        after_last_start: last_start.filter(|_| recovered).map(|start| end.since(start)),
        ready,
        longest_gap: At(status.gaps.longest).since(At(0)),
        ordinary: since(status.ordinary.last_end),
        moved,
        ..Recovery::default()
    };
    if recovered {
        let verified = probe.verify()?;
        recovery.acknowledged = verified.acknowledged;
        recovery.lost = verified.lost;
    } else {
        recovery.last_error.clone_from(&status.last_error);
        // What cannot be read back is lost until somebody repairs the cluster by hand.
        recovery.acknowledged = status.acknowledged;
        recovery.lost = status.acknowledged;
    }
    Ok(recovery)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
