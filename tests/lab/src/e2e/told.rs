//! What people are told: each decision in the record and as an Event, and that post-start compares what
//! the step believes with what the server says.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Case, must_recover, on_set};
use crate::ground::{Engine, Ground};
use crate::probe::Probe;
use crate::report::{Report, Rule};
use crate::scenario;
use crate::set::{How, NAME, Policy, Set};

/// How long an Event or an entry may take.
const SOON: Duration = Duration::from_secs(15);
/// A directory that the server does not use.
const ELSEWHERE: &str = "/tmp";

pub(super) fn cases() -> Vec<Case> {
    vec![Case { name: "told::wrong-directory".to_owned(), run: Box::new(wrong_directory) }]
}

/// An annotation names a directory that the server does not use: the step repairs a file that nobody
/// reads. Post-start sees it and says what to do; nothing is lost, and it is over with the annotation.
fn wrong_directory(ground: &Ground, report: &mut Report) -> Result<()> {
    let set = Set::new(ground, "e2e-directory", Engine::Valkey81, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        let before = set.topology()?;
        let pod = set.first();
        annotate(set, &format!("mooring.dev/dir={ELSEWHERE}"))?;
        must_recover(
            &scenario::lose(set, &probe, Some(&pod), How::Graceful)?,
            "in the wrong place",
        )?;
        let wrong = decision_of(set, &pod, "WrongFile")?;
        let named = [ELSEWHERE, "/data/nodes.conf", "mooring.dev/dir"];
        ensure!(named.iter().all(|word| wrong.contains(word)), "the record says {wrong:?}");
        let told = events(set)?.iter().filter(|e| e.is("WrongFile", &pod, &wrong)).count();
        let what = "the step was led to a wrong directory: Events that say so";
        report.count("wrong-directory.events", what, told as u64, Rule::Exactly(1.0));
        annotate(set, "mooring.dev/dir-")?;
        must_recover(&scenario::lose(set, &probe, Some(&pod), How::Graceful)?, "put right")?;
        decision_of(set, &pod, "Repaired")?;
        ensure!(before.ids() == set.topology()?.ids(), "ids have changed");
        Ok(())
    })
}

/// Every member's decision stands in the record and is an Event of the same words on the StatefulSet,
/// and so is each of the decisions that are named; how many members.
pub(super) fn decisions(
    set: &Set<'_>,
    report: &mut Report,
    id: &str,
    named: &[&str],
) -> Result<()> {
    let record = record(set)?;
    let members = record.pointer("/status/members").and_then(Value::as_object);
    let events = events(set)?;
    let mut told = 0;
    for (pod, entry) in members.context("the record has no members")? {
        let word = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let (decision, message) = (word("decision"), word("message"));
        ensure!(!decision.is_empty() && !message.is_empty(), "{pod}: {decision:?}, {message:?}");
        ensure!(
            events.iter().any(|event| event.is(decision, pod, message)),
            "no Event says of {pod}: {decision}, {message}"
        );
        told += 1;
    }
    for reason in named {
        let event = events.iter().find(|event| event.reason == *reason);
        let event = event.with_context(|| format!("no Event has the reason {reason}"))?;
        println!("        {reason}: {}", event.message);
    }
    let what = "  members whose decision stands in the record and is an Event";
    report.count(&format!("{id}.told"), what, told, Rule::Exactly(f64::from(set.replicas())));
    Ok(())
}

/// What the record says why, once it has that decision of a pod.
fn decision_of(set: &Set<'_>, pod: &str, decision: &str) -> Result<String> {
    let begin = Instant::now();
    loop {
        let record = record(set)?;
        let entry = record.pointer(&format!("/status/members/{pod}"));
        let word = |name: &str| entry?.get(name)?.as_str();
        if word("decision") == Some(decision) {
            return Ok(word("message").unwrap_or_default().to_owned());
        }
        ensure!(begin.elapsed() < SOON, "{pod} has not {decision}: {entry:?}");
        thread::sleep(Duration::from_millis(500));
    }
}

fn record(set: &Set<'_>) -> Result<Value> {
    set.ground.kubectl.json(&["get", "clusterrecord", "-n", &set.namespace, NAME])
}

pub(super) fn annotate(set: &Set<'_>, annotation: &str) -> Result<()> {
    let args = ["annotate", "statefulset", "-n", &set.namespace, NAME, annotation];
    set.ground.kubectl.run(&args).map(drop)
}

/// An Event on the StatefulSet.
struct Event {
    reason: String,
    message: String,
}

// === impl Event ===

impl Event {
    fn is(&self, reason: &str, pod: &str, message: &str) -> bool {
        self.reason == reason && self.message == format!("{pod}: {message}")
    }
}

fn events(set: &Set<'_>) -> Result<Vec<Event>> {
    let of_set = "involvedObject.kind=StatefulSet";
    let args = ["get", "events", "-n", &set.namespace, "--field-selector", of_set];
    let list = set.ground.kubectl.json(&args)?;
    let items = list.pointer("/items").and_then(Value::as_array);
    let event = |item: &Value| {
        let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Event { reason: text("reason")?, message: text("message")? })
    };
    Ok(items.into_iter().flatten().filter_map(event).collect())
}
