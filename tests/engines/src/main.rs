//! Forms, breaks and repairs clusters of thirteen real Redis and Valkey versions, with Mooring's
//! planner before each start, and looks for every key afterwards.
//!
//! Guarantees: fails if a key is lost, a step refuses, a server ends by itself, a cluster does
//! not heal, a nodes.conf is not written back as it was read, or a version is not there; a late
//! start is said and fails nothing.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use accidents::Accident;
use accidents::missing::{Disks, Masters};
use accidents::restart::Gone;
use cases::{CASES, Case};
use registry::Order;
use run::Inside;
use versions::{VERSIONS, Version};

mod accidents;
mod cases;
mod client;
mod disk;
mod foreign;
mod ground;
mod keys;
mod matrix;
mod member;
mod page;
mod registry;
mod report;
mod run;
mod set;
mod versions;

const USAGE: &str = "engines [--fast] [--version NAME]... [--case NAME]... [--jobs N] [--corpus DIR]\n\
    engines --page\n\
    --fast     only form and outage-parallel, and some accidents on two versions\n\
    --version  only this one, such as redis-7.0.15\n\
    --case     only this one (and form, with which all begin)\n\
    --jobs     so many versions at a time, but for the cases that are timed: 1\n\
    --corpus   folder to copy some of the servers' files to\n\
    --page     only writes the figures of out/ into docs/accidents.md";

fn main() -> ExitCode {
    let wanted = match Wanted::from_args(env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match wanted.carry_out() {
        Ok(code) => code,
        Err(why) => {
            eprintln!("engines: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The accidents of `--fast`, and on which versions.
const FAST_ACCIDENTS: [Case; 5] = [
    Case::Accident(Accident::Emptied),
    Case::Accident(Accident::Missing(Masters::Two, Disks::Kept)),
    Case::Accident(Accident::Forgotten),
    Case::Accident(Accident::Clone),
    Case::Accident(Accident::Restart(Gone::Emptied)),
];
const FAST_ON: [&str; 2] = ["redis-7.0.15", "valkey-8.1.1"];

/// What was asked for.
struct Wanted {
    fast: bool,
    page: bool,
    jobs: usize,
    versions: Vec<Version>,
    cases: Vec<Case>,
    /// Of a process that [`matrix`] has started: its namespaces, and where its rows go.
    inside: Option<String>,
    rows: Option<PathBuf>,
    corpus: Option<PathBuf>,
}

// === impl Wanted ===

impl Wanted {
    fn carry_out(self) -> Result<ExitCode, String> {
        if self.page {
            return page::write().map(|()| ExitCode::SUCCESS);
        }
        let (Some(id), Some(rows)) = (&self.inside, &self.rows) else {
            let ended = matrix::run(&self)?;
            println!();
            ended.print();
            return Ok(if ended.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        };
        let inside = Inside { id: id.clone(), rows: rows.clone(), corpus: self.corpus };
        for version in &self.versions {
            run::run(&inside, version, &self.cases)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wanted = Self {
            fast: false,
            page: false,
            jobs: 1,
            versions: Vec::new(),
            cases: Vec::new(),
            inside: None,
            rows: None,
            corpus: None,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--fast" => {
                    wanted.fast = true;
                    wanted.cases.extend([Case::Form, Case::Outage(Order::Parallel)]);
                }
                "--page" => wanted.page = true,
                "--jobs" => {
                    let jobs = value()?.parse().ok().filter(|n| (1..=13).contains(n));
                    wanted.jobs = jobs.ok_or("--jobs is from 1 to 13")?;
                }
                "--version" => {
                    let name = value()?;
                    let known = VERSIONS.iter().find(|v| v.name == name);
                    wanted
                        .versions
                        .push(known.ok_or_else(|| format!("no version {name}"))?.clone());
                }
                "--case" => {
                    let name = value()?;
                    let known = CASES.iter().find(|c| c.name() == name);
                    wanted.cases.push(*known.ok_or_else(|| format!("no case {name}"))?);
                }
                "--corpus" => wanted.corpus = Some(PathBuf::from(value()?)),
                "--inside" => wanted.inside = Some(value()?),
                "--rows" => wanted.rows = Some(PathBuf::from(value()?)),
                _ => return Err(format!("{arg} is not known")),
            }
        }
        if wanted.versions.is_empty() {
            wanted.versions = VERSIONS.to_vec();
        }
        if wanted.cases.is_empty() {
            wanted.cases = CASES.to_vec();
        }
        Ok(wanted)
    }
}
