//! Versions and cases, and what runs beside what.
//!
//! Guarantees: cases whose time is compared run first, one version after the other, with nothing beside
//! them; then those whose time has a bound, two versions at a time at most; then the accidents, as many
//! versions at a time as `--jobs` says. Each is a process of its own in network
//! namespaces and folders of its own. What has ended is in out/engines.json, whatever comes after it.

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::cases::{Case, Company, NODES};
use crate::ground::Ground;
use crate::report::{self, Ended, Line};
use crate::set;
use crate::versions::Version;
use crate::{FAST_ACCIDENTS, FAST_ON, Wanted};

/// What one process does.
struct Task {
    version: Version,
    cases: Vec<Case>,
}

/// Runs all that is wanted: what came of it.
pub(crate) fn run(wanted: &Wanted) -> Result<Ended, String> {
    let state =
        State { commit: bench::commit(), number: AtomicUsize::new(0), all: Mutex::default() };
    for company in [Company::Nobody, Company::One, Company::Many] {
        let jobs = match company {
            Company::Nobody => 1,
            Company::One => wanted.jobs.min(2),
            Company::Many => wanted.jobs,
        };
        let tasks = wanted.versions.iter().map(|version| Task {
            version: version.clone(),
            cases: cases(wanted, version).filter(|case| case.company() == company).collect(),
        });
        let tasks: VecDeque<Task> = tasks.filter(|task| !task.cases.is_empty()).collect();
        let tasks = Mutex::new(tasks);
        thread::scope(|scope| {
            let work = || -> Result<(), String> {
                loop {
                    // Not held while it runs.
                    let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(task) = task else { return Ok(()) };
                    state.run(wanted, &task)?;
                }
            };
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            let mut ends = workers.into_iter().map(|w| w.join());
            ends.try_for_each(|end| end.map_err(|_| "a worker panicked".to_owned())?)
        })?;
    }
    Ok(state.all.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn cases(wanted: &Wanted, version: &Version) -> impl Iterator<Item = Case> {
    let accidents = FAST_ON.contains(&version.name).then_some(FAST_ACCIDENTS);
    let accidents = accidents.into_iter().flatten().filter(|_| wanted.fast);
    wanted.cases.iter().copied().chain(accidents).filter(|case| case.is_for(version))
}

/// What all workers share.
struct State {
    /// Of the beginning: one that lands meanwhile is not what runs.
    commit: Value,
    number: AtomicUsize,
    all: Mutex<Ended>,
}

// === impl State ===

impl State {
    /// A process for it, in namespaces that are there as long as it runs.
    fn run(&self, wanted: &Wanted, task: &Task) -> Result<(), String> {
        let program = env::current_exe().map_err(|e| format!("this program is not found: {e}"))?;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let ground = Ground::make(number, NODES)?;
        let rows = set::home(ground.id()).with_extension("json");
        let mut command = ground.hub_command(&program);
        command.args(["--inside", ground.id(), "--rows"]).arg(&rows);
        command.args(["--version", task.version.name]);
        for case in &task.cases {
            command.args(["--case", case.name()]);
        }
        if let Some(corpus) = &wanted.corpus {
            command.arg("--corpus").arg(corpus);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|e| format!("`ip netns exec` can not be run: {e}"))?;
        let said = child.stdout.take().map(BufReader::new).into_iter().flat_map(|out| out.lines());
        for line in said.map_while(Result::ok) {
            match line.strip_prefix("      ") {
                Some(detail) => println!("     {:<13} {detail}", task.version.name),
                None => {
                    println!("{line}");
                    self.merge(&Ended::read(&rows))?;
                }
            }
        }
        let status = child.wait().map_err(|e| e.to_string())?;
        let mut ended = Ended::read(&rows);
        let _ = fs::remove_file(&rows);
        for case in task.cases.iter().skip(ended.cases()) {
            let result = Err(format!("the run of this version ended before it did: {status}"));
            ended.add(&Line { version: task.version.name, case: *case, result });
        }
        self.merge(&ended)?;
        self.all.lock().unwrap_or_else(PoisonError::into_inner).extend(ended);
        Ok(())
    }

    /// One at a time.
    fn merge(&self, ended: &Ended) -> Result<(), String> {
        let _held = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        report::merge(&self.commit, ended)
    }
}
