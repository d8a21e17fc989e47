//! Commands that run side by side, with a line now and then that says how far they are.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const LOOK: Duration = Duration::from_millis(100);
/// Quick jobs say nothing.
const TELL: Duration = Duration::from_secs(10);

/// A command with a name, and where it writes what it says.
#[derive(Debug)]
pub struct Job {
    name: String,
    command: Command,
}

/// A job that runs.
#[derive(Debug)]
struct Running {
    name: String,
    child: Child,
    log: std::path::PathBuf,
    printed: std::path::PathBuf,
    done: bool,
}

impl Job {
    /// A command to run.
    pub fn new(name: &str, command: Command) -> Self {
        Self { name: name.to_owned(), command }
    }
}

/// Runs all of them at once; what each printed, in their order. If one fails, the end of its log is
/// the error, after the others have ended.
pub fn run(jobs: Vec<Job>, logs: &Path) -> Result<Vec<String>> {
    fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let mut running = Vec::new();
    for mut job in jobs {
        let log = logs.join(format!("{}.log", job.name.replace(' ', "-")));
        let printed = log.with_extension("out");
        let child = job
            .command
            .stdin(Stdio::null())
            .stdout(File::create(&printed)?)
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot run {:?}", job.command.get_program()))?;
        running.push(Running { name: job.name, child, log, printed, done: false });
    }
    let begin = Instant::now();
    let mut told = begin;
    let mut failed = Vec::new();
    while running.iter().any(|job| !job.done) {
        thread::sleep(LOOK);
        for job in running.iter_mut().filter(|job| !job.done) {
            if let Some(status) = job.child.try_wait()? {
                job.done = true;
                if !status.success() {
                    failed.push(format!("{} failed:\n{}", job.name, tail(&job.log, 15)));
                } else if begin.elapsed() > TELL {
                    println!(
                        "         {} is built after {} s",
                        job.name,
                        begin.elapsed().as_secs()
                    );
                }
            }
        }
        if told.elapsed() > TELL {
            told = Instant::now();
            for job in running.iter().filter(|job| !job.done) {
                let last = tail(&job.log, 1);
                let lines = fs::read_to_string(&job.log).unwrap_or_default().lines().count();
                println!(
                    "         building {} ({} s, {lines} lines of log): {last}",
                    job.name,
                    begin.elapsed().as_secs()
                );
            }
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    running
        .iter()
        .map(|job| fs::read_to_string(&job.printed).context("cannot read what a job printed"))
        .collect()
}

fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(name: &str, script: &str) -> Job {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Job::new(name, command)
    }

    #[test]
    fn all_run_and_failures_are_told() {
        let logs = std::env::temp_dir().join(format!("mooring-lab-jobs-{}", std::process::id()));
        let printed = run(vec![sh("one", "echo 1"), sh("two", "echo 2; echo x >&2")], &logs);
        assert_eq!(printed.unwrap(), ["1\n", "2\n"]);
        let error = run(vec![sh("good", "true"), sh("bad", "echo why >&2; false")], &logs);
        assert_eq!(error.unwrap_err().to_string(), "bad failed:\nwhy");
        fs::remove_dir_all(logs).unwrap();
    }
}
