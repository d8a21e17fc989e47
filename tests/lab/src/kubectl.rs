//! `kubectl`, as a user calls it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How to call it: the words before its arguments.
#[derive(Clone, Debug)]
pub struct Kubectl {
    words: Vec<String>,
}

impl Kubectl {
    /// Called as these words, such as `kubectl`.
    pub fn new<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect() }
    }

    /// The command with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut words = self.words.iter();
        let mut command = Command::new(words.next().map_or("kubectl", String::as_str));
        command.args(words).args(args).stdin(Stdio::null());
        command
    }

    /// Runs another program where kubectl is run, with its credentials; what it prints.
    pub fn run_beside(&self, program: &Path, args: &[&str]) -> Result<String> {
        let words = self.words.split_last().map_or(&[][..], |(_, before)| before);
        let program = program.display().to_string();
        let mut words = words.iter().chain([&program]);
        let mut command = Command::new(words.next().unwrap_or(&program));
        command.args(words).args(args).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("cannot run {program}"))?;
        printed(&format!("{program} {}", args.join(" ")), &output)
    }

    /// Runs it, whatever comes of it.
    pub fn output(&self, args: &[&str]) -> Result<Output> {
        self.command(args).output().with_context(|| format!("cannot run {}", self.words.join(" ")))
    }

    /// Runs it; what it prints, or an error with what it complains of.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        printed(&format!("kubectl {}", args.join(" ")), &self.output(args)?)
    }

    /// Runs it with `-o json`.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.run(&[args, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).context("kubectl printed no JSON")
    }

    /// Applies a manifest, whatever comes of it.
    pub fn try_apply(&self, manifest: &str) -> Result<Output> {
        self.pipe(&["apply", "-f", "-"], manifest)
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        printed("kubectl apply", &self.try_apply(manifest)?)
    }

    /// Runs it with that input.
    pub fn pipe(&self, args: &[&str], input: &str) -> Result<Output> {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run kubectl")?;
        child.stdin.take().context("no pipe to kubectl")?.write_all(input.as_bytes())?;
        Ok(child.wait_with_output()?)
    }

    /// Runs a command in a pod's container.
    pub fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        words: &[&str],
    ) -> Result<String> {
        let args = ["exec", "-n", namespace, pod, "-c", container, "--"];
        self.run(&[&args, words].concat())
    }
}

/// What a command printed, or an error with what it complained of.
pub fn printed(what: &str, output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    bail!("{what}: {}", complaint.trim());
}
