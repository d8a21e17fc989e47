//! Forms, breaks and repairs clusters of thirteen real Redis and Valkey versions, with Mooring's
//! planner before each start, and looks for every key afterwards.
//!
//! Guarantees: fails if a key is lost, a step refuses, a server ends by itself, a cluster does
//! not heal, a nodes.conf is not written back as it was read, or a version is not there; a late
//! start is said and fails nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::{env, fs};

use accidents::Accident;
use cases::{CASES, Case};
use ground::Ground;
use keys::Keys;
use report::Line;
use set::Set;
use versions::{VERSIONS, Version};

mod accidents;
mod cases;
mod client;
mod disk;
mod foreign;
mod ground;
mod keys;
mod member;
mod registry;
mod report;
mod set;
mod versions;

const USAGE: &str = "engines [--fast] [--version NAME]... [--case NAME]... [--corpus DIR]\n\
    --fast     only form and outage-parallel, and some accidents on two versions\n\
    --version  only this one, such as redis-7.0.15\n\
    --case     only this one (and form, with which all begin)\n\
    --corpus   folder to copy some of the servers' files to";

fn main() -> ExitCode {
    let wanted = match Wanted::from_args(env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let result = match &wanted.inside {
        Some(id) => run(id, &wanted),
        None => outside(),
    };
    result.unwrap_or_else(|why| {
        eprintln!("engines: {why}");
        ExitCode::FAILURE
    })
}

/// Makes the network and runs this program again in the bridge's namespace: the one place from
/// which all servers can be reached, and nothing else.
fn outside() -> Result<ExitCode, String> {
    let program = env::current_exe().map_err(|e| format!("this program is not found: {e}"))?;
    let ground = Ground::make(cases::NODES)?;
    let status = ground
        .hub_command(&program)
        .args(env::args().skip(1))
        .args(["--inside", ground.id()])
        .status()
        .map_err(|e| format!("`ip netns exec` can not be run: {e}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(id: &str, wanted: &Wanted) -> Result<ExitCode, String> {
    let keys = Arc::new(Keys::find());
    let mut lines = Vec::new();
    let mut files = 0;
    for version in &wanted.versions {
        files += run_version(id, version, wanted, &keys, &mut lines);
    }
    println!();
    lines.iter().for_each(|line| println!("{}", line.text()));
    report::write(&lines)?;
    let passed = lines.iter().filter(|line| line.passed()).count();
    let failed = lines.len() - passed;
    println!("{files} nodes.conf of real servers read and written back byte for byte");
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the cases of one version; after a failure the others begin with a new set.
fn run_version(
    id: &str,
    version: &Version,
    wanted: &Wanted,
    keys: &Arc<Keys>,
    lines: &mut Vec<Line>,
) -> usize {
    let home = set::home(id).join(version.name);
    let accidents = FAST_ON.contains(&version.name).then_some(FAST_ACCIDENTS);
    let accidents = accidents.into_iter().flatten().filter(|_| wanted.fast);
    let cases = wanted.cases.iter().copied().chain(accidents);
    let cases: Vec<Case> = cases.filter(|c| c.is_for(version)).collect();
    let (mut files, mut failed) = (0, false);
    let mut present: Option<Set> = None;
    for (n, case) in cases.iter().enumerate() {
        let result = (|| {
            let set = match &mut present {
                Some(set) => set,
                None => {
                    let made = Set::new(
                        version,
                        id,
                        &home.join(n.to_string()),
                        keys.clone(),
                        set::SHARDS,
                    )?;
                    let set = present.insert(made);
                    if let Some(corpus) = &wanted.corpus {
                        set.collect_into(corpus.clone());
                    }
                    if *case != Case::Form {
                        Case::Form.run(set).map_err(|why| format!("form: {why}"))?;
                    }
                    set
                }
            };
            case.run(set)
        })();
        // The files of the last servers are looked at, too.
        let result = match (result, &mut present) {
            (Ok(measured), Some(set)) if n + 1 == cases.len() => {
                set.kill(|_| true).map(|()| measured)
            }
            (result, _) => result,
        };
        let line = Line { version: version.name, case: *case, result };
        println!("{}", line.text());
        failed |= !line.passed();
        if line.result.is_err() {
            files += present.take().map_or(0, |set| set.files());
        }
        lines.push(line);
    }
    files += present.take().map_or(0, |set| set.files());
    if failed {
        println!("      what it left is in {}", home.display());
    } else {
        let _ = fs::remove_dir_all(&home);
        // Fails, as it has to, while another version's is kept.
        let _ = fs::remove_dir(set::home(id));
    }
    files
}

/// The accidents of `--fast`, and on which versions.
const FAST_ACCIDENTS: [Case; 5] = [
    Case::Emptied,
    Case::MissingTwo,
    Case::Forgotten,
    Case::Clone,
    Case::Accident(Accident::RestartEmpty),
];
const FAST_ON: [&str; 2] = ["redis-7.0.15", "valkey-8.1.1"];

/// What was asked for.
struct Wanted {
    fast: bool,
    versions: Vec<Version>,
    cases: Vec<Case>,
    inside: Option<String>,
    corpus: Option<PathBuf>,
}

// === impl Wanted ===

impl Wanted {
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wanted = Self {
            fast: false,
            versions: Vec::new(),
            cases: Vec::new(),
            inside: None,
            corpus: None,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--fast" => {
                    wanted.fast = true;
                    wanted.cases.extend([Case::Form, Case::OutageParallel]);
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
