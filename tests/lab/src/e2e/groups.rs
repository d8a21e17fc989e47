//! One cluster over two StatefulSets.
//!
//! Guarantees: it begins only once both are there, and is then repaired as one: a replica in one set
//! inherits from a master in the other.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::conditions::{hold, release};
use super::safety::{GRACE, READY, nothing_lost, recovered, same_ids};
use super::{must_recover, on_set};
use crate::clock;
use crate::ground::{Engine, Ground};
use crate::pods::Pod;
use crate::probe::Probe;
use crate::report::{Report, Rule};
use crate::scenario;
use crate::set::{How, Kind, NAME, Policy, Set};

/// How long three pods may take to be restarted one after the other.
const ROLLED: Duration = Duration::from_secs(180);

/// Masters and replicas apart, as charts have them. All pods are deleted; then all pods, and a master's
/// can not be scheduled; then a master's claim with its pod.
pub(super) fn masters_and_replicas(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "safety-group", Engine::Valkey81, Policy::Parallel).in_two();
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        waits_for_the_other(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        let before = set.topology()?;
        ensure!(before.ids().len() == 6, "one cluster of six: {before:?}");
        placed(set)?;
        told(set)?;

        keeps_its_pods(set)?;

        let lost = scenario::lose(set, &probe, None, How::Graceful)?;
        must_recover(&lost, "all pods of both deleted")?;
        let what = "a group of two StatefulSets, all pods deleted: writable";
        report.seconds("group.outage.seconds", what, lost.seconds, Rule::Told);
        nothing_lost(&probe, report, "group.outage", "  acknowledged writes lost")?;
        same_ids(set, &before)?;

        master_missing(set, &probe, report)?;
        same_ids(set, &before)?;
        claim_lost(set, &probe, report)?;
        same_ids(set, &before)
    })
}

/// A cluster of two StatefulSets that was made by hand: they are labelled one after the other. Then all
/// pods are deleted.
pub(super) fn adopted(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "safety-group-adopted", Engine::Redis70, Policy::OrderedReady);
    on_set(&set.in_two().of_kind(Kind::Plain), |set| {
        let probe = Probe::start(set)?;
        let begin = set.apply()?;
        set.wait_ready(READY)?;
        set.create_by_hand()?;
        recovered(&probe, begin, "made by hand")?;
        let before = set.topology()?;
        for (part, _) in set.parts {
            let old = set.pods()?;
            let watch = set.watch()?;
            set.label_one(part)?;
            let of_part = |name: &str| name.rsplit_once('-').is_some_and(|(set, _)| set == *part);
            let is_new = |pod: &Pod| old.get(&pod.name).is_none_or(|old| old.uid != pod.uid);
            watch
                .wait(3, ROLLED, |pod| {
                    of_part(&pod.name) && is_new(pod) && pod.ready && !pod.deleting
                })
                .with_context(|| format!("{part}, labelled"))?;
        }
        let status = probe.wait_calm(clock::now(), Duration::from_secs(1), scenario::LIMIT)?;
        ensure!(status.recovered(1_000_000), "after the rollouts: {}", status.last_error);
        nothing_lost(&probe, report, "group.adopted", "two StatefulSets made by hand, labelled")?;
        same_ids(set, &before)?;
        let lost = scenario::lose(set, &probe, None, How::Graceful)?;
        must_recover(&lost, "all pods of both deleted")?;
        let what = "  all pods deleted: writable";
        report.seconds("group.adopted.outage.seconds", what, lost.seconds, Rule::Told);
        nothing_lost(&probe, report, "group.adopted.outage", "  acknowledged writes lost")?;
        same_ids(set, &before)
    })
}

/// With the first of the two alone nobody begins: who is whose replica is not known.
fn waits_for_the_other(set: &Set<'_>) -> Result<()> {
    let part = set.parts.first().context("no StatefulSet")?;
    set.ground.kubectl.apply(&set.manifest_of(*part)?)?;
    thread::sleep(Duration::from_secs(4));
    let pods = set.pods()?;
    ensure!(pods.len() == 3, "{} pods of {}", pods.len(), part.0);
    for (name, pod) in pods {
        ensure!(!pod.ready, "{name} began without the other StatefulSet");
    }
    Ok(())
}

/// The first StatefulSet has the masters, the second their replicas.
fn placed(set: &Set<'_>) -> Result<()> {
    for pod in set.pods()?.into_keys() {
        let role = set.ask(&pod, &["role"])?;
        let expected = if pod.starts_with("redis-master-") { "master" } else { "slave" };
        ensure!(role.starts_with(expected), "{pod} began as {role}");
    }
    Ok(())
}

/// There is one record, the group's; pods bear its name; the events are on each StatefulSet.
fn told(set: &Set<'_>) -> Result<()> {
    let kubectl = &set.ground.kubectl;
    let space = set.namespace.as_str();
    let names = "jsonpath={.items[*].metadata.name}";
    let records = kubectl.run(&["get", "clusterrecords", "-n", space, "-o", names])?;
    ensure!(records.trim() == NAME, "the records are {records:?}");
    let of_shard = "mooring.dev/name=redis,mooring.dev/shard=0";
    let pods = kubectl.run(&["get", "pods", "-n", space, "-l", of_shard, "-o", names])?;
    ensure!(pods.trim() == "redis-master-0 redis-replica-0", "the first shard is {pods:?}");
    for (name, _) in set.parts {
        let field = format!("involvedObject.name={name},reason=Bootstrapped");
        let said = ["get", "events", "-n", space, "--field-selector", &field, "-o", names];
        let said = kubectl.run(&said)?;
        ensure!(said.split_whitespace().count() == 3, "the events of {name} are {said:?}");
    }
    Ok(())
}

/// Fewer pods of either would take slots along.
fn keeps_its_pods(set: &Set<'_>) -> Result<()> {
    for (name, _) in set.parts {
        let scale = ["scale", "statefulset", "-n", &set.namespace, name, "--replicas=2"];
        let output = set.ground.kubectl.output(&scale)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{name} was scaled to 2");
        ensure!(said.contains(&format!("needs 3 pods of {name}")), "refused with: {said}");
    }
    Ok(())
}

fn master_missing(set: &Set<'_>, probe: &Probe<'_>, report: &mut Report) -> Result<()> {
    let master = set.a_master()?;
    hold(set, &master)?;
    let begin = clock::now();
    set.delete_all(How::Graceful)?.wait()?;
    let held = (|| {
        recovered(probe, begin, &format!("without {master}"))?;
        let status = probe.status(begin)?;
        let end = status.gaps.last_end.unwrap_or(begin);
        let pods = set.pods()?;
        let starts = pods.values().filter_map(|pod| set.ground.started(&set.namespace, pod));
        let last = starts.filter(|start| *start <= end).max().unwrap_or(begin);
        report.seconds(
            "group.master-missing.after-last-start.seconds",
            &format!("  all deleted, {master} Pending: writable after the last start"),
            end.since(last),
            Rule::Within(GRACE + 3.0),
        );
        nothing_lost(probe, report, "group.master-missing", "  while it is Pending")
    })();
    release(set, &master)?;
    held?;
    set.wait_ready(READY).with_context(|| format!("{master}, let in"))?;
    let role = set.ask(&master, &["role"])?;
    ensure!(role.starts_with("slave"), "{master}, let in, is {role}");
    Ok(())
}

fn claim_lost(set: &Set<'_>, probe: &Probe<'_>, report: &mut Report) -> Result<()> {
    let master = set.a_master()?;
    let (space, claim) = (set.namespace.as_str(), format!("data-{master}"));
    let begin = clock::now();
    set.ground.kubectl.run(&["delete", "pvc", "-n", space, &claim, "--wait=false"])?;
    set.delete_one(&master, How::Forced)?.wait()?;
    recovered(probe, begin, &format!("{master} without its disk"))?;
    set.wait_ready(READY).with_context(|| format!("{master}, with an empty disk"))?;
    nothing_lost(probe, report, "group.claim-lost", "  a master deleted with its claim")
}
