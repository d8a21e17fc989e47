//! The main line, for every engine and both orders: form, lose all pods, lose one.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Case, must_recover, on_set};
use crate::ground::{Engine, Ground};
use crate::probe::Probe;
use crate::report::{Report, Rule};
use crate::scenario::{self, Recovery};
use crate::set::{How, Kind, Policy, Set};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![Case { name: "floor".to_owned(), run: Box::new(floor) }];
    for engine in Engine::ALL {
        for policy in [Policy::Parallel, Policy::OrderedReady] {
            let name = format!("line::{}::{}", engine.key(), policy.name());
            let body =
                move |ground: &Ground, report: &mut Report| line(ground, report, engine, policy);
            cases.push(Case { name, run: Box::new(body) });
        }
    }
    cases
}

fn line(ground: &Ground, report: &mut Report, engine: Engine, policy: Policy) -> Result<()> {
    let id = format!("{}-{}", engine.key().replace('.', ""), policy.name().to_lowercase());
    let mut set = Set::new(ground, &format!("e2e-{id}"), engine, policy);
    // As the image wants it (root, which its entrypoint gives up), and as careful people have it.
    if policy == Policy::Parallel {
        set = set.as_user(999);
    }
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        let formed = scenario::form(set, &probe).context("formation")?;
        must_recover(&formed, "formation")?;
        row(report, &id, "formation", &formed);
        let sweep = probe.sweep()?;
        if sweep.failed > 0 {
            bail!("{} of 16384 slots take no writes after formation", sweep.failed);
        }
        let mut losses = vec![(None, How::Graceful, "outage")];
        if policy == Policy::Parallel || engine == Engine::Redis70 {
            losses.push((None, How::Forced, "outage-forced"));
        }
        let master = set.a_master()?;
        losses.push((Some(master.as_str()), How::Graceful, "one-pod"));
        for (pod, how, what) in losses {
            let recovery = scenario::lose(set, &probe, pod, how).context(what)?;
            must_recover(&recovery, what)?;
            let lost_pods = if pod.is_some() { 1 } else { 6 };
            if recovery.moved != lost_pods {
                bail!("{what}: {} of {lost_pods} pods have another address", recovery.moved);
            }
            row(report, &id, what, &recovery);
            let floor = report.value(&floor_id(policy, how)).filter(|_| pod.is_none());
            if let Some(floor) = floor {
                let row = format!("{id}.{what}.minus-floor.seconds");
                let above = recovery.seconds - floor;
                report.seconds(&row, "  more than the floor", above, Rule::Within(3.5));
            }
        }
        Ok(())
    })
}

/// How fast the same six pods are back with an init container that does nothing and no cluster.
fn floor(ground: &Ground, report: &mut Report) -> Result<()> {
    for policy in [Policy::Parallel, Policy::OrderedReady] {
        let namespace = format!("e2e-floor-{}", policy.name().to_lowercase());
        let set = Set::new(ground, &namespace, Engine::Redis70, policy).of_kind(Kind::Floor);
        on_set(&set, |set| {
            set.apply()?;
            set.wait_ready(Duration::from_secs(120))?;
            for how in [How::Graceful, How::Forced] {
                let seconds = scenario::floor(set, how)?;
                let what = format!("floor: six plain pods, {}, {how:?}", policy.name());
                report.seconds(&floor_id(policy, how), &what, seconds, Rule::Told);
            }
            Ok(())
        })?;
        // The next one is measured without the rest of this one.
        set.clear()?;
    }
    Ok(())
}

fn floor_id(policy: Policy, how: How) -> String {
    format!("floor.{}.{how:?}.seconds", policy.name()).to_lowercase()
}

fn row(report: &mut Report, id: &str, what: &str, recovery: &Recovery) {
    let seconds = format!("{id}.{what}.seconds");
    report.seconds(&seconds, &format!("{id}: {what}"), recovery.seconds, Rule::Told);
    if let Some(after) = recovery.after_last_start.filter(|_| what != "one-pod") {
        let id = format!("{id}.{what}.after-last-start.seconds");
        report.seconds(&id, "  after the last server's start", after, Rule::Within(2.3));
    }
}
