//! Outages from which not everybody comes back, with what the pods' hooks do about it, and without.
//!
//! Guarantees: each case is first tried without Mooring's hook (the control), on the same servers
//! and the same files: a case that an engine copes with by itself shows nothing.

use std::thread::JoinHandle;
use std::time::Duration;

use crate::member::Outcome;
use crate::set::{Control, Measured, Set};

mod hook;
mod missing;

pub(crate) use missing::{missing_master, missing_two};

/// So long a control is looked at: an engine that would heal does within two node timeouts.
const CONTROL: Duration = Duration::from_secs(15);

/// What the hooks of some members report, each by its pod's name.
type Hooks = Vec<(String, JoinHandle<Result<Vec<(String, String)>, String>>)>;

/// The post-start hooks of these members.
fn hooks(set: &Set, which: &[usize]) -> Hooks {
    let members = set.members.iter().enumerate().filter(|(n, _)| which.contains(n));
    members.map(|(_, m)| (m.pod.clone(), hook::start(&set.common, &m.pod, m.address()))).collect()
}

/// Waits for them: how often something was done or refused for this reason.
fn count(hooks: Hooks, reason: &str) -> Result<usize, String> {
    let mut count = 0;
    for (pod, hook) in hooks {
        let reports = hook.join().map_err(|_| format!("the hook of {pod} panicked"))??;
        for (said, message) in reports {
            println!("      {pod}: {said}: {message}");
            count += usize::from(said == reason);
        }
    }
    Ok(count)
}

/// What a step that was not refused has reported last.
fn decision(outcome: &Outcome) -> Result<&str, String> {
    if let Some(why) = &outcome.refused {
        return Err(format!("a step refuses: {why}"));
    }
    Ok(outcome.reports.last().map_or("", |(reason, _)| reason.as_str()))
}

/// The figures of one round.
fn measured(seconds: f64, lost: usize, whole: f64, control: Option<Control>) -> Measured {
    Measured { seconds, lost, whole, control, ..Measured::NOTHING }
}
