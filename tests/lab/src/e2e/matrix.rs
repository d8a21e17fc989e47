//! The main line, for every engine and both orders: form, lose all pods, lose one.

use anyhow::{Context, Result, bail};

use super::{Case, must_recover, on_set};
use crate::ground::{Engine, Ground};
use crate::probe::Probe;
use crate::report::{Report, Rule};
use crate::scenario::{self, Recovery};
use crate::set::{How, Policy, Set};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
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
        if policy == Policy::Parallel {
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
        }
        Ok(())
    })
}

fn row(report: &mut Report, id: &str, what: &str, recovery: &Recovery) {
    let seconds = format!("{id}.{what}.seconds");
    report.seconds(&seconds, &format!("{id}: {what}"), recovery.seconds, Rule::Told);
    if let Some(after) = recovery.after_last_start.filter(|_| what != "one-pod") {
        let id = format!("{id}.{what}.after-last-start.seconds");
        report.seconds(&id, "  after the last server's start", after, Rule::Within(2.3));
    }
}
