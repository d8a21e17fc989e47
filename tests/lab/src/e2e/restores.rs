//! Pods without their StatefulSet: adopted by a new one, or brought back by a restore before it.
//!
//! Guarantees: the cluster is the same afterwards, by its node ids and its record, and no write is lost.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::conditions::scale_mooring;
use super::safety::{READY, nothing_lost, recovered, same_ids};
use super::{must_recover, on_set};
use crate::clock;
use crate::ground::{Engine, Ground};
use crate::probe::Probe;
use crate::report::Report;
use crate::scenario;
use crate::set::{How, NAME, Policy, Set};

/// To change what can not be changed, the StatefulSet is deleted without its pods and made again with
/// larger claims. It adopts the pods, which go on running; then one of them is restarted.
pub(super) fn orphaned(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "safety-orphaned", Engine::Redis80, Policy::OrderedReady);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        set.wait_ready(READY)?;
        let (before, record) = (set.topology()?, record(set)?);
        let pods = set.pods()?;

        let space = set.namespace.as_str();
        ground.kubectl.run(&["delete", "statefulset", "-n", space, NAME, "--cascade=orphan"])?;
        let larger = set.manifest()?.replace("storage: 100Mi", "storage: 200Mi");
        ground.kubectl.apply(&larger)?;
        adopted(set)?;
        thread::sleep(Duration::from_secs(3));
        let now = set.pods()?;
        let same = |(name, old): (&String, &crate::pods::Pod)| {
            now.get(name).is_some_and(|pod| pod.uid == old.uid && pod.restarts == old.restarts)
        };
        ensure!(pods.iter().all(same), "pods were restarted: {pods:?}, now {now:?}");
        ensure!(self::record(set)? == record, "the record is another one");

        let master = set.a_master()?;
        let begin = clock::now();
        set.delete_one(&master, How::Graceful)?.wait()?;
        recovered(&probe, begin, &format!("{master}, adopted and then restarted"))?;
        set.wait_ready(READY).with_context(|| format!("{master}, adopted and then restarted"))?;
        nothing_lost(
            &probe,
            report,
            "orphaned",
            "pods adopted by a new StatefulSet, one restarted",
        )?;
        ensure!(self::record(set)? == record, "the record is another one");
        same_ids(set, &before)
    })
}

/// A restore: the claims are there again, Mooring's webhook before its server, and pods before their
/// StatefulSet. The first run stops at what opted in, the second one completes it.
pub(super) fn restored(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "safety-restored", Engine::Valkey81, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        set.wait_ready(READY)?;
        let before = set.topology()?;
        let space = set.namespace.as_str();
        let saved = saved_pods(set)?;
        let begin = clock::now();
        ground.kubectl.run(&["delete", "statefulset", "-n", space, NAME])?;
        let gone = ["wait", "--for=delete", "pod", "-n", space, "-l", "app=redis"];
        ground.kubectl.run(&[&gone[..], &["--timeout=60s"]].concat())?;
        ground.kubectl.run(&["delete", "clusterrecord", "-n", space, NAME])?;

        scale_mooring(ground, 0)?;
        let first = first_run(set, &saved);
        scale_mooring(ground, 2)?;
        first?;

        for pod in &saved {
            ground.kubectl.apply(&pod.to_string()).context("a restored pod, with Mooring")?;
        }
        // A moment in which they are nobody's.
        thread::sleep(Duration::from_secs(3));
        set.apply()?;
        adopted(set)?;
        recovered(&probe, begin, "restored")?;
        set.wait_ready(Duration::from_secs(120)).context("restored")?;
        nothing_lost(&probe, report, "restored", "restored pods before their StatefulSet")?;
        same_ids(set, &before)
    })
}

/// Without Mooring's server nothing that opted in comes back, and everything else does.
fn first_run(set: &Set<'_>, saved: &[Value]) -> Result<()> {
    let kubectl = &set.ground.kubectl;
    let plain = crate::manifests::fill(
        include_str!("../../manifests/trial.yaml"),
        &[("namespace", &set.namespace), ("client_image", &set.ground.client)],
    )?;
    kubectl.apply(&plain).context("a pod without the label")?;
    let pod = saved.first().context("no pod was saved")?.to_string();
    for (what, manifest) in [("a restored pod", pod), ("the StatefulSet", set.manifest()?)] {
        let output = kubectl.try_apply(&manifest)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{what} was let through without Mooring");
        ensure!(said.contains("failed calling webhook"), "{what}: {said}");
    }
    Ok(())
}

/// Waits until the StatefulSet controls six pods.
fn adopted(set: &Set<'_>) -> Result<()> {
    let kubectl = &set.ground.kubectl;
    let space = set.namespace.as_str();
    for _ in 0..100 {
        let found = kubectl.json(&["get", "statefulset", "-n", space, NAME])?;
        let owner = found.pointer("/metadata/uid").cloned().unwrap_or_default();
        let pods = kubectl.json(&["get", "pods", "-n", space, "-l", "app=redis"])?;
        let items = pods["items"].as_array().map_or(&[][..], Vec::as_slice);
        let owned = items.iter().filter(|pod| {
            let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            owners.into_iter().any(|o| o["uid"] == owner)
        });
        if owned.count() == set.replicas() as usize {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(200));
    }
    anyhow::bail!("the StatefulSet has not adopted its pods")
}

/// The record's uid and salt.
pub(super) fn record(set: &Set<'_>) -> Result<(Value, Value)> {
    let found = set.ground.kubectl.json(&["get", "clusterrecord", "-n", &set.namespace, NAME])?;
    Ok((found["metadata"]["uid"].clone(), found["spec"]["plan"]["salt"].clone()))
}

/// The pods as a backup brings them back: nobody's, and on no machine yet.
fn saved_pods(set: &Set<'_>) -> Result<Vec<Value>> {
    let pods = ["get", "pods", "-n", &set.namespace, "-l", "app=redis"];
    let found = set.ground.kubectl.json(&pods)?;
    let items = found["items"].as_array().cloned().unwrap_or_default();
    let saved = items.into_iter().map(|mut pod| {
        if let Some(metadata) = pod["metadata"].as_object_mut() {
            for key in
                ["uid", "resourceVersion", "ownerReferences", "creationTimestamp", "managedFields"]
            {
                metadata.remove(key);
            }
        }
        if let Some(pod) = pod.as_object_mut() {
            pod.remove("status");
        }
        if let Some(spec) = pod["spec"].as_object_mut() {
            spec.remove("nodeName");
        }
        pod
    });
    Ok(saved.collect())
}
