//! Accidents that lose data, or the cluster, without Mooring: `make safety`.
//!
//! Guarantees: after each of them every write that was acknowledged before is read back, the cluster has
//! the node ids that it had, and a copy has none of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::conditions::{deleted_in_turn, disk_lost, hold, release};
use super::restores::record;
use super::{Case, groups, must_recover, on_set, restores, told};
use crate::clock;
use crate::ground::{Engine, Ground};
use crate::manifests;
use crate::probe::Probe;
use crate::report::{Report, Rule};
use crate::scenario;
use crate::set::{How, NAME, Policy, Set};
use crate::stage;
use crate::topology::Topology;

/// How long a master's pod is missing before its replica is named heir: the set's node timeout.
pub(super) const GRACE: f64 = 5.0;
/// How long a pod may take to be ready again.
pub(super) const READY: Duration = Duration::from_secs(60);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "safety::master-missing".to_owned(), run: Box::new(master_missing) },
        Case { name: "safety::promoted".to_owned(), run: Box::new(promoted) },
        Case { name: "safety::deleted-in-turn".to_owned(), run: Box::new(deleted_in_turn) },
        Case { name: "safety::claim-lost".to_owned(), run: Box::new(disk_lost) },
        Case { name: "safety::recreated".to_owned(), run: Box::new(recreated) },
        Case { name: "safety::cloned".to_owned(), run: Box::new(cloned) },
        Case { name: "safety::record-deleted".to_owned(), run: Box::new(record_deleted) },
        Case { name: "safety::group".to_owned(), run: Box::new(groups::masters_and_replicas) },
        Case { name: "safety::group-adopted".to_owned(), run: Box::new(groups::adopted) },
        Case { name: "safety::orphaned".to_owned(), run: Box::new(restores::orphaned) },
        Case { name: "safety::restored".to_owned(), run: Box::new(restores::restored) },
    ]
}

/// All six are deleted, and a master's pod can not be scheduled: its replica takes its place. When it
/// can be, it becomes a replica.
fn master_missing(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "safety-missing", Engine::Redis80, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        let before = set.topology()?;
        let master = set.a_master()?;
        hold(set, &master)?;
        let begin = clock::now();
        set.delete_all(How::Graceful)?.wait()?;
        let held = (|| {
            let status = probe.wait(begin, scenario::LIMIT)?;
            let phase = set.pods()?.get(&master).map(|pod| pod.phase.clone());
            ensure!(
                phase.as_deref() == Some("Pending"),
                "{master} is {phase:?} and should be Pending"
            );
            ensure!(
                status.gaps.open == 0 && status.unwritten == 0,
                "without {master} the cluster stays down: {}",
                status.last_error
            );
            let end = status.gaps.last_end.unwrap_or(begin);
            let pods = set.pods()?;
            let starts = pods.values().filter_map(|pod| ground.started(&set.namespace, pod));
            let last = starts.filter(|start| *start <= end).max().unwrap_or(begin);
            report.seconds(
                "master-missing.after-last-start.seconds",
                &format!("all pods deleted, {master} Pending: writable after the last start"),
                end.since(last),
                Rule::Within(GRACE + 3.0),
            );
            nothing_lost(&probe, report, "master-missing", "  while it is Pending")
        })();
        release(set, &master)?;
        held?;
        set.wait_ready(READY).with_context(|| format!("{master}, let in"))?;
        let role = set.ask(&master, &["role"])?;
        ensure!(role.starts_with("slave"), "{master}, let in, is {role}");
        nothing_lost(&probe, report, "master-missing.back", "  and when it is back, a replica")?;
        told::decisions(set, report, "master-missing", &["Succeeded", "SteppedDown"])?;
        same_ids(set, &before)
    })
}

/// The same where nobody is to be promoted without being asked: the cluster stays down, says why, and
/// `mooring promote` brings it back.
fn promoted(ground: &Ground, report: &mut Report) -> Result<()> {
    let program = stage::mooring();
    let set = Set::new(ground, "safety-promoted", Engine::Valkey81, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        let before = set.topology()?;
        let space = set.namespace.as_str();
        told::annotate(set, "mooring.dev/succession=never")?;
        let master = set.a_master()?;
        hold(set, &master)?;
        let begin = clock::now();
        set.delete_all(How::Graceful)?.wait()?;
        let asked = (|| {
            let told = ["get", "events", "-n", space, "--field-selector", "reason=NotSucceeded"];
            let told = [&told[..], &["-o", "jsonpath={.items[*].message}"]].concat();
            let mut said = String::new();
            for _ in 0..60 {
                said = ground.kubectl.run(&told)?;
                if !said.is_empty() {
                    break;
                }
                thread::sleep(Duration::from_secs(1));
            }
            // As a person would: by the words of the event.
            let words = format!("mooring promote -n {space} {NAME} ");
            let heir = said.split(&words).nth(1).and_then(|rest| rest.split('`').next());
            let heir = heir.with_context(|| format!("nobody says what to do: {said:?}"))?;
            ensure!(
                probe.status(begin)?.gaps.open > 0,
                "somebody was promoted without being asked"
            );
            let ask = |args: &[&str]| {
                let all = [&["promote", "-n", space, NAME][..], args].concat();
                ground.kubectl.run_beside(&program, &all)
            };
            let refused = ask(&[&master]);
            ensure!(refused.is_err(), "the master itself was promoted");
            ensure!(ask(&[heir, "--dry-run"])?.contains("nothing was done"), "a dry run");
            println!("        {}", ask(&[heir])?.trim());
            let status = probe.wait(begin, scenario::LIMIT)?;
            ensure!(
                status.gaps.open == 0 && status.unwritten == 0,
                "after the promotion of {heir} the cluster stays down: {}",
                status.last_error
            );
            nothing_lost(
                &probe,
                report,
                "promoted",
                "a person promotes the replica of a Pending master",
            )
        })();
        release(set, &master)?;
        asked?;
        set.wait_ready(READY).with_context(|| format!("{master}, let in"))?;
        let role = set.ask(&master, &["role"])?;
        ensure!(role.starts_with("slave"), "{master}, let in, is {role}");
        same_ids(set, &before)
    })
}

/// The StatefulSet is deleted and made again over its claims; then again, and one claim is lost.
fn recreated(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "safety-recreated", Engine::Redis70, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        let before = set.topology()?;
        for (id, what) in [
            ("recreated", "deleted and made again over its claims"),
            ("recreated-claim-lost", "the same with a master's claim lost"),
        ] {
            let master = set.a_master()?;
            let begin = clock::now();
            ground.kubectl.run(&["delete", "statefulset", "-n", &set.namespace, NAME])?;
            ground.kubectl.run(&[
                "wait",
                "--for=delete",
                "pod",
                "-n",
                &set.namespace,
                "-l",
                "app=redis",
                "--timeout=60s",
            ])?;
            if id == "recreated-claim-lost" {
                let claim = format!("data-{master}");
                ground.kubectl.run(&["delete", "pvc", "-n", &set.namespace, &claim])?;
            }
            let applied = set.apply()?;
            recovered(&probe, begin, what)?;
            let status = probe.status(begin)?;
            let end = status.gaps.last_end.unwrap_or(applied);
            let id_seconds = format!("{id}.seconds");
            let since = format!("{what}: writable after kubectl apply");
            report.seconds(&id_seconds, &since, end.since(applied), Rule::Told);
            nothing_lost(&probe, report, id, "  acknowledged writes lost")?;
            set.wait_ready(READY).context(what)?;
            same_ids(set, &before).context(what)?;
        }
        Ok(())
    })
}

/// The claims are copied into another namespace and a second set starts on the copies, with the same
/// password, while the original runs: two clusters, which do not know each other.
fn cloned(ground: &Ground, report: &mut Report) -> Result<()> {
    if ground.instance.is_none() {
        // How volumes are copied is each storage's own.
        return Ok(());
    }
    let set = Set::new(ground, "safety-original", Engine::Valkey81, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        thread::sleep(Duration::from_secs(3));
        probe.pause()?;
        // What was written last has to be in the logs before they are copied.
        thread::sleep(Duration::from_secs(3));
        let before = set.topology()?;
        let keys = count_keys(set)?;
        ensure!(keys > 0, "the original has no keys");
        let clone = set.clone().in_namespace("safety-clone");
        on_set(&clone, |clone| {
            copy_claims(ground, set, clone)?;
            probe.resume()?;
            thread::sleep(Duration::from_secs(2));
            let begin = clock::now();
            clone.apply()?;
            clone.wait_ready(READY).context("the clone")?;
            let theirs = clone.topology()?;
            let shared = before.ids().intersection(&theirs.ids()).count();
            let what = "claims cloned while the original runs: node ids in both";
            report.count("cloned.shared-ids", what, shared as u64, Rule::Exactly(0.0));
            ensure!(theirs.ids().len() == 6, "the clone knows {theirs:?}");
            let copied = count_keys(clone)?;
            let what = "  keys in the clone that the copied disks do not have, or lack";
            report.count("cloned.differs", what, keys.abs_diff(copied), Rule::Exactly(0.0));
            // Both are restarted while the other one runs: addresses are dealt anew.
            clone.delete_all(How::Forced)?.wait()?;
            clone.wait_ready(READY).context("the clone, restarted")?;
            let status = probe.status(begin)?;
            ensure!(status.gaps.count == 0, "the clone disturbs the original: {:?}", status.gaps);
            must_recover(&scenario::lose(set, &probe, None, How::Forced)?, "the original")?;
            nothing_lost(&probe, report, "cloned", "  writes of the original lost")?;
            ensure!(set.topology()?.ids() == before.ids(), "the original has other ids");
            ensure!(clone.topology()?.ids() == theirs.ids(), "the clone has other ids");
            let again = count_keys(clone)?;
            ensure!(again == copied, "the clone had {copied} keys and has {again}");
            Ok(())
        })
    })
}

/// The record is deleted while all run; then the pods are restarted, one by one and all at once.
fn record_deleted(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "safety-record", Engine::Redis70, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        set.wait_ready(READY)?;
        let before = set.topology()?;
        let (uid, salt) = record(set)?;
        ground.kubectl.run(&["delete", "clusterrecord", "-n", &set.namespace, NAME])?;
        for pod in set.pods()?.into_keys() {
            let begin = clock::now();
            let old = set.pods()?.remove(&pod).context("a pod is gone")?;
            let watch = set.watch()?;
            set.delete_one(&pod, How::Graceful)?.wait()?;
            watch
                .wait(1, READY, |now| now.name == pod && now.uid != old.uid && now.ready)
                .with_context(|| format!("{pod} after its record was deleted"))?;
            recovered(&probe, begin, &pod)?;
        }
        nothing_lost(&probe, report, "record-deleted.rolling", "record deleted, pods one by one")?;
        same_ids(set, &before)?;
        let made_anew = record(set)?;
        ensure!(made_anew.0 != uid, "the record was not deleted");
        ensure!(
            made_anew.1 == salt,
            "the record has another salt: its StatefulSet did not carry it"
        );
        ground.kubectl.run(&["delete", "clusterrecord", "-n", &set.namespace, NAME])?;
        let lost = scenario::lose(set, &probe, None, How::Graceful)?;
        must_recover(&lost, "record deleted, then all pods")?;
        let what = "record deleted, then all pods: writable";
        report.seconds("record-deleted.outage.seconds", what, lost.seconds, Rule::Told);
        nothing_lost(&probe, report, "record-deleted.outage", "  acknowledged writes lost")?;
        same_ids(set, &before)
    })
}

pub(super) fn recovered(probe: &Probe<'_>, begin: crate::timeline::At, what: &str) -> Result<()> {
    let status = probe.wait(begin, scenario::LIMIT)?;
    ensure!(
        status.gaps.open == 0 && status.unwritten == 0,
        "{what}: not recovered: {}",
        status.last_error
    );
    Ok(())
}

pub(super) fn nothing_lost(
    probe: &Probe<'_>,
    report: &mut Report,
    id: &str,
    what: &str,
) -> Result<()> {
    let verified = probe.verify()?;
    report.count(&format!("{id}.lost"), what, verified.lost, Rule::Exactly(0.0));
    let (lost, acknowledged) = (verified.lost, verified.acknowledged);
    ensure!(lost == 0, "{lost} of {acknowledged} acknowledged writes lost");
    Ok(())
}

pub(super) fn same_ids(set: &Set<'_>, before: &Topology) -> Result<()> {
    let after = set.topology()?;
    ensure!(before.ids() == after.ids(), "ids were {:?} and are {:?}", before.ids(), after.ids());
    Ok(())
}

/// Keys of all masters together.
fn count_keys(set: &Set<'_>) -> Result<u64> {
    let mut keys = 0;
    for pod in set.pods()?.into_keys() {
        if set.ask(&pod, &["role"])?.starts_with("master") {
            let said = set.ask(&pod, &["dbsize"])?;
            keys += said.trim().parse::<u64>().with_context(|| format!("{pod}: {said}"))?;
        }
    }
    Ok(keys)
}

/// Makes a claim for each of the original's in the clone's namespace, with a copy of its files.
fn copy_claims(ground: &Ground, original: &Set<'_>, clone: &Set<'_>) -> Result<()> {
    let mut names = BTreeSet::new();
    for pod in original.pods()?.into_keys() {
        let claim = format!("data-{pod}");
        let values = [("namespace", clone.namespace.as_str()), ("name", claim.as_str())];
        ground
            .kubectl
            .apply(&manifests::fill(include_str!("../../manifests/claim.yaml"), &values)?)?;
        names.insert(claim);
    }
    for name in names {
        let from = directory(ground, &original.namespace, &name)?;
        let to = directory(ground, &clone.namespace, &name)?;
        let copied = std::process::Command::new("cp")
            .args(["--archive", "--no-target-directory"])
            .args([&from, &to])
            .output()
            .context("cannot run cp")?;
        crate::kubectl::printed(&format!("cp {from} {to}"), &copied)?;
    }
    Ok(())
}

/// Where a claim's files are.
fn directory(ground: &Ground, namespace: &str, claim: &str) -> Result<String> {
    for _ in 0..100 {
        let found = ground.kubectl.json(&["get", "pvc", "-n", namespace, claim])?;
        let volume = found.pointer("/spec/volumeName").and_then(serde_json::Value::as_str);
        if let Some(volume) = volume {
            let path = ["get", "pv", volume, "-o", "jsonpath={.spec.local.path}"];
            let path = ground.kubectl.run(&path)?;
            ensure!(Path::new(&path).is_dir(), "{claim} has no directory at {path}");
            return Ok(path);
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!("{namespace}/{claim} gets no volume")
}
