//! Circumstances: a pod that stays away, Mooring that is away, a namespace that lets nothing out.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::safety::{nothing_lost, recovered};
use super::{Case, must_recover, on_set};
use crate::clock;
use crate::ground::{Engine, Ground};
use crate::manifests;
use crate::probe::Probe;
use crate::report::{Report, Rule};
use crate::scenario;
use crate::set::{How, Policy, Set};
use crate::stage::{DEPLOYMENT, SYSTEM, wait_for_mooring};

/// How long Mooring is away after all pods were deleted: by then the StatefulSet's controller waits
/// longer and longer between its attempts.
const AWAY: Duration = Duration::from_secs(20);
/// How long after a master's pod that of its heir is deleted: a hand-over is over by then.
const LATER: Duration = Duration::from_millis(800);
/// Seconds until the pods are there again once Mooring is.
const BACK: f64 = 10.0;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "condition::replica-pending".to_owned(), run: Box::new(replica_pending) },
        Case { name: "condition::mooring-away".to_owned(), run: Box::new(mooring_away) },
        Case { name: "condition::disk-lost".to_owned(), run: Box::new(disk_lost) },
        Case { name: "condition::all-disks-lost".to_owned(), run: Box::new(all_disks_lost) },
        Case { name: "condition::egress-denied".to_owned(), run: Box::new(egress_denied) },
    ]
}

/// Five of six recover in the time that six need: nobody waits for a peer.
fn replica_pending(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "e2e-pending", Engine::Redis70, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        let six = scenario::lose(set, &probe, None, How::Graceful)?;
        must_recover(&six, "all six")?;
        let mut replica = None;
        for pod in set.pods()?.into_keys() {
            if set.ask(&pod, &["role"])?.starts_with("slave") {
                replica = Some(pod);
            }
        }
        let replica = replica.context("no pod is a replica")?;
        hold(set, &replica)?;
        let held = five_of_six(set, &probe, &replica, six.seconds, report);
        release(set, &replica)?;
        held?;
        set.wait_ready(Duration::from_secs(60)).context("the held pod")?;
        Ok(())
    })
}

fn five_of_six(
    set: &Set<'_>,
    probe: &Probe<'_>,
    held: &str,
    six: f64,
    report: &mut Report,
) -> Result<()> {
    let begin = clock::now();
    let mut delete = set.delete_all(How::Graceful)?;
    let status = probe.wait(begin, scenario::LIMIT)?;
    delete.wait()?;
    let pods = set.pods()?;
    let phase = pods.get(held).map(|pod| pod.phase.as_str());
    ensure!(phase == Some("Pending"), "{held} is {phase:?} and should be Pending");
    ensure!(
        status.gaps.open == 0 && status.unwritten == 0,
        "five of six have not recovered: {}",
        status.last_error
    );
    let verified = probe.verify()?;
    ensure!(verified.lost == 0, "{} acknowledged writes lost", verified.lost);
    let seconds = status.gaps.last_end.unwrap_or(begin).since(begin);
    let what = format!("five of six, {held} Pending (six: {six:.1} s)");
    // The same time, give or take what two runs of the same thing differ by.
    report.seconds("pending.seconds", &what, seconds, Rule::Within(six + 1.0));
    Ok(())
}

/// A master's pod is deleted and hands over; its heir's pod is deleted a moment later, as a busy
/// `kubectl delete pod --all` does it, and no machine takes the next one. What the heir still took is on
/// the first one's disk.
pub(super) fn deleted_in_turn(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "e2e-in-turn", Engine::Redis70, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        let (master, heir) = a_pair(set)?;
        hold(set, &heir)?;
        let begin = clock::now();
        let mut first = set.delete_one(&master, How::Graceful)?;
        thread::sleep(LATER);
        let outcome = (|| {
            set.delete_one(&heir, How::Graceful)?.wait()?;
            first.wait()?;
            recovered(&probe, begin, "a master and its heir deleted in turn")?;
            let phase = set.pods()?.get(&heir).map(|pod| pod.phase.clone());
            ensure!(phase.as_deref() == Some("Pending"), "{heir} is {phase:?}");
            let what = "a master and its heir deleted in turn, the heir Pending: writes lost";
            nothing_lost(&probe, report, "deleted-in-turn", what)
        })();
        release(set, &heir)?;
        outcome
    })
}

/// A master's pod, and that of its replica.
fn a_pair(set: &Set<'_>) -> Result<(String, String)> {
    let pods = set.pods()?;
    for replica in pods.keys() {
        let role = set.ask(replica, &["role"])?;
        let mut lines = role.lines();
        if lines.next() != Some("slave") {
            continue;
        }
        let of = lines.next();
        if let Some((master, _)) = pods.iter().find(|(_, pod)| pod.ip.as_deref() == of) {
            return Ok((master.clone(), replica.clone()));
        }
    }
    bail!("no pod is the replica of another one")
}

/// Pods whose creation failed while Mooring was away come within seconds when it is back.
fn mooring_away(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "e2e-away", Engine::Redis70, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        let before = set.pods()?;
        let scaled = scale_mooring(ground, 0);
        let outcome = scaled.and_then(|()| {
            let begin = clock::now();
            set.delete_all(How::Graceful)?.wait()?;
            thread::sleep(AWAY);
            ensure!(set.pods()?.is_empty(), "pods were created although Mooring is away");
            Ok(begin)
        });
        scale_mooring(ground, 2)?;
        let begin = outcome?;
        let back = clock::now();
        let ready = set.watch()?.wait(6, Duration::from_secs(60), |pod| {
            pod.ready && before.get(&pod.name).is_none_or(|old| old.uid != pod.uid)
        });
        let ready = ready.context("pods after Mooring's return")?.since(back);
        report.seconds(
            "away.seconds",
            "Mooring back to all six pods Ready",
            ready,
            Rule::Within(BACK),
        );
        let status = probe.wait(begin, scenario::LIMIT)?;
        ensure!(status.gaps.open == 0, "not recovered: {}", status.last_error);
        let verified = probe.verify()?;
        ensure!(verified.lost == 0, "{} acknowledged writes lost", verified.lost);
        Ok(())
    })
}

/// A master comes back at once and without its disk: its replica has the data and becomes master
/// first, so nothing is lost and the member keeps its id.
pub(super) fn disk_lost(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "e2e-disk", Engine::Redis80, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        let master = set.a_master()?;
        let before = set.topology()?;
        let claim = format!("pvc/data-{master}");
        // It goes when the pod has gone.
        ground.kubectl.run(&["delete", "-n", &set.namespace, &claim, "--wait=false"])?;
        // By force, so that nothing is handed over.
        let lost = scenario::lose(set, &probe, Some(&master), How::Forced)?;
        let logs = ["logs", "-n", &set.namespace, &master, "-c", "mooring-step"];
        let log = ground.kubectl.run(&logs)?;
        must_recover(&lost, "a master's disk lost").with_context(|| log.clone())?;
        ensure!(log.contains("Rejoined"), "{master} has not rejoined: {log}");
        let role = set.ask(&master, &["role"])?;
        ensure!(role.starts_with("slave"), "{master} is {role}");
        let gone = before.ids_gone(&set.topology()?);
        ensure!(gone == 0, "{gone} node ids are gone");
        let what = format!("{master} deleted by force with its disk, to writable");
        report.seconds("disk-lost.seconds", &what, lost.seconds, Rule::Told);
        Ok(())
    })
}

/// All disks are lost with all pods: a cache, which forms anew.
fn all_disks_lost(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "e2e-disks", Engine::Valkey81, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        let begin = clock::now();
        ground.kubectl.run(&["delete", "-n", &set.namespace, "pvc", "--all", "--wait=false"])?;
        set.delete_all(How::Graceful)?.wait()?;
        let status = probe.wait(begin, scenario::LIMIT)?;
        ensure!(
            status.gaps.open == 0 && status.unwritten == 0,
            "not formed anew: {}",
            status.last_error
        );
        let path = "jsonpath={.spec.plan.generation}";
        let record = ["get", "-n", &set.namespace, "clusterrecord", "redis", "-o", path];
        let generation = ground.kubectl.run(&record)?;
        // A replica whose pod is there a second before any other goes on as what the record says it
        // was, and the masters after it do so too: as empty, and by their old ids.
        ensure!(matches!(generation.as_str(), "1" | "2"), "the plan's generation is {generation}");
        let seconds = status.gaps.last_end.unwrap_or(begin).since(begin);
        let what = "all pods and all disks lost, to writable";
        report.seconds("all-disks-lost.seconds", what, seconds, Rule::Told);
        Ok(())
    })
}

/// The step says which egress it lacks and to where.
fn egress_denied(ground: &Ground, _: &mut Report) -> Result<()> {
    let Some(instance) = ground.instance.as_deref() else {
        // A user's cluster may enforce the policy or not; nothing is to be learned from either.
        return Ok(());
    };
    let set = Set::new(ground, "e2e-egress", Engine::Redis70, Policy::Parallel);
    on_set(&set, |set| {
        let policy = [("namespace", set.namespace.as_str())];
        let policy = manifests::fill(include_str!("../../manifests/deny-egress.yaml"), &policy)?;
        ground.kubectl.apply(&policy)?;
        // The bridge of the test Kubernetes enforces no policies: this is what one would do.
        deny(ground, instance)?;
        let outcome = (|| {
            set.apply()?;
            let begin = Instant::now();
            loop {
                thread::sleep(Duration::from_secs(1));
                let logs = ["logs", "-n", &set.namespace, "redis-0", "-c", "mooring-step"];
                let log = ground.kubectl.run(&logs).unwrap_or_default();
                let lower = log.to_lowercase();
                if lower.contains("egress") && lower.contains("mooring") && lower.contains("443") {
                    return Ok(());
                }
                if begin.elapsed() > Duration::from_secs(60) {
                    bail!("the step does not say which egress it lacks: {log}");
                }
            }
        })();
        ground.script("tests/kube/exec", &[instance, "nft", "delete", "table", "inet", "lab"])?;
        outcome
    })
}

/// Drops what pods other than Mooring's and Kubernetes' own send to Mooring and to DNS.
fn deny(ground: &Ground, instance: &str) -> Result<()> {
    let pods = ground.kubectl.json(&["get", "pods", "-n", SYSTEM])?;
    let addresses: Vec<&str> = pods
        .pointer("/items")
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|pod| pod.pointer("/status/podIP")?.as_str())
        .collect();
    let rules = format!(
        "add table inet lab; add chain inet lab forward {{ type filter hook forward priority -1; }}; \
         add rule inet lab forward ip daddr {{ {} }} tcp dport 10250 drop",
        addresses.join(", ")
    );
    ground.script("tests/kube/exec", &[instance, "nft", &rules])?;
    Ok(())
}

pub(super) fn scale_mooring(ground: &Ground, replicas: u32) -> Result<()> {
    let deployment = format!("deployment/{DEPLOYMENT}");
    let replicas_flag = format!("--replicas={replicas}");
    ground.kubectl.run(&["scale", "-n", SYSTEM, &deployment, &replicas_flag])?;
    if replicas > 0 {
        return wait_for_mooring(ground);
    }
    let selector = "app.kubernetes.io/name=mooring";
    let args = ["wait", "--for=delete", "pod", "-n", SYSTEM, "-l", selector, "--timeout=60s"];
    ground.kubectl.run(&args)?;
    Ok(())
}

/// Keeps the next pod of that name from being scheduled.
pub(super) fn hold(set: &Set<'_>, pod: &str) -> Result<()> {
    let kubectl = &set.ground.kubectl;
    kubectl.apply(&hold_manifest(set, pod)?)?;
    // It takes effect a moment later; a pod that is only tried shows when.
    let trial = manifests::fill(
        include_str!("../../manifests/trial.yaml"),
        &[("namespace", &set.namespace), ("client_image", &set.ground.client)],
    )?;
    for _ in 0..50 {
        let args = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
        let output = kubectl.pipe(&args, &trial)?;
        if String::from_utf8_lossy(&output.stdout).contains("mooring-lab/nowhere") {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(200));
    }
    bail!("the policy that holds {pod} back has no effect")
}

/// Ends that.
pub(super) fn release(set: &Set<'_>, pod: &str) -> Result<()> {
    let kubectl = &set.ground.kubectl;
    let output = kubectl.pipe(&["delete", "-f", "-"], &hold_manifest(set, pod)?)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    thread::sleep(Duration::from_secs(2));
    set.delete_one(pod, How::Forced)?.wait()?;
    Ok(())
}

fn hold_manifest(set: &Set<'_>, pod: &str) -> Result<String> {
    let values = [("namespace", set.namespace.as_str()), ("pod", pod)];
    manifests::fill(include_str!("../../manifests/hold.yaml"), &values)
}
