//! End-to-end cases on a real Kubernetes, each in a namespace of its own.
//!
//! Guarantees: a case leaves nothing behind; one that fails says what the pods, the steps and Mooring
//! said before it is cleaned up.

mod admission;
mod conditions;
mod groups;
mod matrix;
mod restores;
mod safety;
mod secrets;
mod told;

use std::io::Write as _;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};

use crate::ground::Ground;
use crate::report::{Report, Rule};
use crate::scenario::Recovery;
use crate::set::{SELECTOR, Set};
use crate::stage::{DEPLOYMENT, SYSTEM};

/// A case.
pub struct Case {
    /// Its name, in the manner of cargo's tests.
    pub name: String,
    run: Box<Body>,
}

type Body = dyn Fn(&Ground, &mut Report) -> Result<()>;

/// Which cases.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Suite {
    /// What has to hold before a change lands.
    #[default]
    Lines,
    /// Accidents that lose data without Mooring.
    Safety,
}

// === impl Suite ===

impl Suite {
    /// Its name: of its file, and of the test Kubernetes that it runs on.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lines => "e2e",
            Self::Safety => "safety",
        }
    }

    /// All of its cases.
    pub fn cases(self) -> Vec<Case> {
        match self {
            Self::Lines => [
                admission::cases(),
                secrets::cases(),
                matrix::cases(),
                conditions::cases(),
                told::cases(),
            ]
            .into_iter()
            .flatten()
            .collect(),
            Self::Safety => safety::cases(),
        }
    }
}

/// Runs the cases whose names contain one of the words (all, if there is none); how many failed.
pub fn run(ground: &Ground, report: &mut Report, suite: Suite, words: &[String]) -> usize {
    let chosen =
        |case: &Case| words.is_empty() || words.iter().any(|word| case.name.contains(word));
    let (mut passed, mut failures) = (0, Vec::new());
    for case in suite.cases().into_iter().filter(chosen) {
        print!("test {} ... ", case.name);
        // A line that is not whole is no error.
        let _ = std::io::stdout().flush();
        let begin = Instant::now();
        let outcome = (case.run)(ground, report);
        let seconds = begin.elapsed().as_secs_f64();
        let mark = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{mark} ({seconds:.1} s)");
        report.count(
            &format!("{}.passed", case.name),
            &format!("{} ({seconds:.0} s)", case.name),
            u64::from(outcome.is_ok()),
            Rule::Exactly(1.0),
        );
        match outcome {
            Ok(()) => passed += 1,
            Err(error) => failures.push(format!("---- {}\n{error:#}\n", case.name)),
        }
    }
    let failed = failures.len();
    for failure in failures {
        println!("\n{failure}");
    }
    println!("\n{passed} passed, {failed} failed");
    failed
}

/// Runs a case's body on a set of its own, and removes the set.
fn on_set(set: &Set<'_>, body: impl FnOnce(&Set<'_>) -> Result<()>) -> Result<()> {
    set.clear()?;
    set.prepare()?;
    let outcome = body(set).map_err(|error| anyhow!("{error:#}\n{}", told(set)));
    set.remove()?;
    outcome
}

/// A recovery that a case asks for.
fn must_recover(recovery: &Recovery, what: &str) -> Result<()> {
    if !recovery.recovered {
        bail!("{what}: not recovered after {:.0} s: {}", recovery.seconds, recovery.last_error);
    }
    if recovery.lost > 0 {
        bail!("{what}: {} of {} acknowledged writes lost", recovery.lost, recovery.acknowledged);
    }
    Ok(())
}

/// What everybody said, for a case that failed.
fn told(set: &Set<'_>) -> String {
    let kubectl = &set.ground.kubectl;
    let namespace = set.namespace.as_str();
    let run = |args: &[&str]| kubectl.run(args).unwrap_or_else(|error| format!("{error:#}\n"));
    let mut text = format!("in namespace {namespace}:\n");
    text += &run(&["get", "pods,statefulsets,clusterrecords", "-n", namespace, "-o", "wide"]);
    text += "--- events\n";
    text += &last(&run(&["get", "events", "-n", namespace, "--sort-by=.lastTimestamp"]), 20);
    for container in ["mooring-step", "redis"] {
        text += &format!("--- {container}\n");
        let logs = ["logs", "-n", namespace, "-l", SELECTOR, "-c", container];
        text += &run(&[&logs[..], &["--prefix", "--tail=6"]].concat());
    }
    text += "--- Mooring\n";
    let deployment = format!("deployment/{DEPLOYMENT}");
    text + &run(&["logs", "-n", SYSTEM, &deployment, "--all-pods", "--tail=25"])
}

fn last(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n") + "\n"
}
