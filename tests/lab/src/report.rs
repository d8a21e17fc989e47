//! `out/NAME.json` and the table: what was measured, what was asked for, and whether it holds.
//!
//! Guarantees: the table shows exactly the rows of the file. A row of correctness that does not hold
//! is a failure; a row of time that misses its bound says so and fails nothing, since machines are
//! noisy.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::clock;

/// The rows of one command.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    name: String,
    version: String,
    date: String,
    machine: Machine,
    rows: Vec<Row>,
}

/// The machine that measured.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    cpus: usize,
    memory_gib: f64,
    kernel: String,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    id: String,
    what: String,
    value: f64,
    unit: &'static str,
    bound: Option<f64>,
    holds: bool,
    #[serde(skip)]
    rule: Rule,
}

/// What is asked of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// At least this, or the run has failed.
    AtLeast(f64),
    /// Exactly this, or the run has failed.
    Exactly(f64),
    /// Nothing.
    Told,
    /// At most this; a miss is said and fails nothing.
    Within(f64),
}

// === impl Report ===

impl Report {
    /// An empty report of this command.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            date: clock::rfc3339(clock::now()),
            machine: Machine::this(),
            rows: Vec::new(),
        }
    }

    /// Adds a figure.
    pub fn add(&mut self, id: &str, what: &str, value: f64, unit: &'static str, rule: Rule) {
        let (bound, holds) = match rule {
            Rule::AtLeast(bound) => (Some(bound), value >= bound),
            Rule::Exactly(bound) => (Some(bound), (value - bound).abs() < 1e-9),
            Rule::Told => (None, true),
            Rule::Within(bound) => (Some(bound), value <= bound),
        };
        let value = (value * 1000.0).round() / 1000.0;
        let (id, what) = (id.to_owned(), what.to_owned());
        self.rows.push(Row { id, what, value, unit, bound, holds, rule });
    }

    /// Adds a number of seconds.
    pub fn seconds(&mut self, id: &str, what: &str, value: f64, rule: Rule) {
        self.add(id, what, value, "s", rule);
    }

    /// Adds a count.
    pub fn count(&mut self, id: &str, what: &str, value: u64, rule: Rule) {
        #[expect(clippy::cast_precision_loss, reason = "counts of one run")]
        self.add(id, what, value as f64, "", rule);
    }

    /// A figure that was added before.
    pub fn value(&self, id: &str) -> Option<f64> {
        self.rows.iter().rfind(|row| row.id == id).map(|row| row.value)
    }

    /// The rows of correctness that do not hold.
    pub fn failures(&self) -> Vec<&str> {
        let failed = |row: &&Row| !row.holds && !matches!(row.rule, Rule::Within(_));
        self.rows.iter().filter(failed).map(|row| row.id.as_str()).collect()
    }

    /// The table.
    pub fn table(&self) -> String {
        let width = |len: fn(&Row) -> usize| self.rows.iter().map(len).max().unwrap_or_default();
        let (ids, whats) = (width(|row| row.id.len()), width(|row| row.what.chars().count()));
        let mut table = String::new();
        for row in &self.rows {
            let value = match row.unit {
                "s" => format!("{:.2} s", row.value),
                unit => format!("{} {unit}", row.value),
            };
            let bound = match row.rule {
                Rule::AtLeast(bound) => format!("at least {bound}"),
                Rule::Exactly(bound) => format!("{bound} asked"),
                Rule::Told => String::new(),
                Rule::Within(bound) => format!("at most {bound}"),
            };
            let mark = match (row.holds, row.rule) {
                (true, Rule::Told) => "",
                (true, _) => "ok",
                (false, Rule::Within(_)) => "missed",
                (false, _) => "FAILED",
            };
            let line = format!(
                "  {:whats$}  {value:>10}  {bound:>14}  {mark:6}  {:ids$}",
                row.what, row.id
            );
            // Writing to a String cannot fail.
            let _ = writeln!(table, "{}", line.trim_end());
        }
        table
    }

    /// Writes `out/NAME.json` below `root`; where it is.
    pub fn write(&self, root: &Path) -> Result<PathBuf> {
        let path = root.join("out").join(format!("{}.json", self.name));
        fs::create_dir_all(root.join("out")).context("cannot make out/")?;
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

// === impl Machine ===

impl Machine {
    fn this() -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib: f64 = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))
            .and_then(|kib| kib.parse().ok())
            .unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpus: std::thread::available_parallelism().map_or(0, Into::into),
            memory_gib: (kib / 1024.0 / 102.4).round() / 10.0,
            kernel: kernel.trim().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_correctness_fails() {
        let mut report = Report::new("test");
        report.seconds("slow", "time that misses", 4.0, Rule::Within(3.5));
        report.count("lost", "acknowledged writes lost", 0, Rule::Exactly(0.0));
        report.count("acknowledged", "writes", 20_000, Rule::AtLeast(10_000.0));
        report.seconds("told", "a figure", 1.23456, Rule::Told);
        assert_eq!(report.failures(), Vec::<&str>::new());
        assert!(report.table().contains("missed"));
        report.count("gone", "lost", 1, Rule::Exactly(0.0));
        assert_eq!(report.failures(), ["gone"]);
        assert_eq!((report.value("slow"), report.value("none")), (Some(4.0), None));
        let json: Value = serde_json::to_value(&report).unwrap();
        assert_eq!(json["rows"][0]["holds"], false);
        assert_eq!(json["rows"][3]["bound"], Value::Null);
        assert_eq!(json["rows"][3]["value"], 1.235);
        assert!(json["machine"]["cpus"].as_u64().unwrap() > 0);
    }
}
