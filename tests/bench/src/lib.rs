//! Rows of measurements in `out/NAME.json`, which several commands may write to.
//!
//! Guarantees: rows of other ids stay as they are; the file is replaced as a whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name, by which it is replaced.
    pub id: String,
    /// What it says, for people.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit; empty for counts.
    pub unit: &'static str,
    /// What is asked of it.
    pub rule: Rule,
}

/// What is asked of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Nothing.
    Told,
    /// At most this; a miss is said and fails nothing, since machines are noisy.
    Within(f64),
    /// Exactly this, or the run has failed.
    Exactly(f64),
}

// === impl Row ===

impl Row {
    /// Whether it is as asked.
    pub fn holds(&self) -> bool {
        match self.rule {
            Rule::Told => true,
            Rule::Within(bound) => self.value <= bound,
            Rule::Exactly(bound) => (self.value - bound).abs() < 1e-9,
        }
    }

    /// Whether the run has failed by it.
    pub fn fails(&self) -> bool {
        !self.holds() && matches!(self.rule, Rule::Exactly(_))
    }

    fn json(&self) -> Value {
        let bound = match self.rule {
            Rule::Told => None,
            Rule::Within(bound) | Rule::Exactly(bound) => Some(bound),
        };
        json!({
            "id": self.id,
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "bound": bound,
            "holds": self.holds(),
        })
    }
}

/// Puts rows into `out/NAME.json` below `root`, in the place of those with the same ids; gives the
/// file's path.
///
/// # Errors
/// If the file is there and holds something else, or can not be written.
pub fn record(root: &Path, name: &str, rows: &[Row]) -> Result<PathBuf, String> {
    let mut all = earlier(&root.join("out").join(format!("{name}.json")))?;
    for row in rows {
        match all.iter_mut().find(|old| old["id"] == row.id.as_str()) {
            Some(old) => *old = row.json(),
            None => all.push(row.json()),
        }
    }
    write(root, name, &all)
}

/// Puts rows into `out/NAME.json` below `root`, in the place of all whose ids begin with one of
/// `instead_of`. Rows of another commit than this one go: they would pass for its own. Gives the file's
/// path.
///
/// # Errors
/// If the file is there and holds something else, or can not be written.
pub fn merge(
    root: &Path,
    name: &str,
    commit: &Value,
    instead_of: &[String],
    rows: &[Value],
) -> Result<PathBuf, String> {
    let path = root.join("out").join(format!("{name}.json"));
    let same = report(&path)?.is_none_or(|earlier| earlier["commit"] == *commit);
    let mut all = if same { earlier(&path)? } else { Vec::new() };
    let goes = |id: &str| instead_of.iter().any(|prefix| id.starts_with(prefix));
    all.retain(|row| !row["id"].as_str().is_some_and(goes));
    all.extend_from_slice(rows);
    write_as_of(root, name, commit, &all)
}

/// Writes `out/NAME.json` below `root` with these rows and no others; gives the file's path.
///
/// # Errors
/// If it can not be written.
pub fn write(root: &Path, name: &str, rows: &[Value]) -> Result<PathBuf, String> {
    write_as_of(root, name, &commit(), rows)
}

fn write_as_of(root: &Path, name: &str, commit: &Value, rows: &[Value]) -> Result<PathBuf, String> {
    let dir = root.join("out");
    let path = dir.join(format!("{name}.json"));
    let report = json!({
        "name": name,
        "version": env!("CARGO_PKG_VERSION"),
        "date": date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs())),
        "commit": commit,
        "machine": machine(),
        "rows": rows,
    });
    let failed = |e: std::io::Error| format!("{} can not be written: {e}", path.display());
    fs::create_dir_all(&dir).map_err(failed)?;
    let temporary = path.with_extension("json.tmp");
    fs::write(&temporary, format!("{report:#}\n")).map_err(failed)?;
    fs::rename(&temporary, &path).map_err(failed)?;
    Ok(path)
}

fn earlier(path: &Path) -> Result<Vec<Value>, String> {
    let Some(report) = report(path)? else { return Ok(Vec::new()) };
    report["rows"].as_array().cloned().ok_or_else(|| no_rows(path))
}

/// A file of rows, if it is there.
///
/// # Errors
/// If it can not be read, or holds something else.
pub fn report(path: &Path) -> Result<Option<Value>, String> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|_| no_rows(path)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("{} can not be read: {e}", path.display())),
    }
}

fn no_rows(path: &Path) -> String {
    format!("{} holds no rows of measurements: delete it and measure again", path.display())
}

/// The newest commit that changed what is built, so that a commit of documents changes nothing, and
/// `-dirty` if something is built that is in none; null where git does not say.
pub fn commit() -> Value {
    let sources = ["*.rs", "*.toml", "Cargo.lock", "tests/engines/fetch"];
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-C", concat!(env!("CARGO_MANIFEST_DIR"), "/../..")]).args(words).arg("--");
        let output = git.args(sources).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let (Some(commit), Some(changed)) =
        (git(&["log", "-1", "--format=%h"]), git(&["status", "--porcelain"]))
    else {
        return Value::Null;
    };
    let dirty = if changed.is_empty() { "" } else { "-dirty" };
    json!(format!("{}{dirty}", commit.trim()))
}

fn machine() -> Value {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = kib(&meminfo, "MemTotal:").unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "rounded to a tenth of a GiB")]
    let memory = (kib as f64 / 1024.0 / 102.4).round() / 10.0;
    json!({
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_gib": memory,
        "kernel": kernel.trim(),
    })
}

/// A number of KiB from a file of `/proc`, as in `VmHWM:     2048 kB`.
pub fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Seconds since 1970 as RFC 3339, by the calendar of 400 years.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since the first of March of the year 0, so that leap days come last.
    let since = days + 719_468;
    let (era, day) = (since / 146_097, since % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The rows as a table.
pub fn table(rows: &[Row]) -> String {
    let width = |len: fn(&Row) -> usize| rows.iter().map(len).max().unwrap_or(0);
    let (ids, whats) = (width(|r| r.id.len()), width(|r| r.what.len()));
    let line = |row: &Row| {
        let figure = format!("{} {}", row.value, row.unit);
        let (asked, mark) = match (row.rule, row.holds()) {
            (Rule::Told, _) => (String::new(), ""),
            (Rule::Within(bound), true) => (format!("at most {bound}"), "ok"),
            (Rule::Within(bound), false) => (format!("at most {bound}"), "missed"),
            (Rule::Exactly(bound), true) => (format!("{bound} asked"), "ok"),
            (Rule::Exactly(bound), false) => (format!("{bound} asked"), "FAILED"),
        };
        let line = format!("  {:whats$}  {figure:>12}  {asked:>14}  {mark:6}  ", row.what);
        format!("{line}{:ids$}", row.id).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, value: f64, rule: Rule) -> Row {
        Row { id: id.to_owned(), what: "a figure".to_owned(), value, unit: "ms", rule }
    }

    #[test]
    fn rows_of_other_commands_stay() {
        let root = std::env::temp_dir().join(format!("mooring-bench-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        record(&root, "t", &[row("a", 1.0, Rule::Told), row("b", 2.0, Rule::Within(1.0))]).unwrap();
        let path = record(&root, "t", &[row("b", 0.5, Rule::Within(1.0))]).unwrap();
        let report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(report["rows"].as_array().unwrap().len(), 2);
        assert_eq!(
            (&report["rows"][0]["id"], &report["rows"][0]["bound"]),
            (&json!("a"), &json!(null))
        );
        assert_eq!(
            (&report["rows"][1]["value"], &report["rows"][1]["holds"]),
            (&json!(0.5), &json!(true))
        );
        fs::write(&path, "something else").unwrap();
        assert!(record(&root, "t", &[]).unwrap_err().contains("delete it"));
    }

    #[test]
    fn a_part_replaces_its_own_rows_and_those_of_another_commit() {
        let root = std::env::temp_dir().join(format!("mooring-merge-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let row = |id: &str, value: u8| json!({"id": id, "value": value});
        let ids = |path: &Path| -> Vec<String> {
            let rows = earlier(path).unwrap();
            rows.iter()
                .map(|row| format!("{}={}", row["id"].as_str().unwrap(), row["value"]))
                .collect()
        };
        let both = [row("a.form.lost", 1), row("a.form.old", 1), row("a.form-100.lost", 1)];
        merge(&root, "t", &json!("one"), &[], &both).unwrap();
        let again = ["a.form.".to_owned()];
        let path = merge(&root, "t", &json!("one"), &again, &[row("a.form.lost", 2)]).unwrap();
        assert_eq!(ids(&path), ["a.form-100.lost=1", "a.form.lost=2"]);
        merge(&root, "t", &json!("another"), &[], &[row("b", 3)]).unwrap();
        assert_eq!(ids(&path), ["b=3"]);
    }

    #[test]
    fn only_correctness_fails() {
        assert!(!row("slow", 2.0, Rule::Within(1.0)).fails());
        assert!(row("wrong", 2.0, Rule::Exactly(1.0)).fails());
        assert!(table(&[row("slow", 2.0, Rule::Within(1.0))]).contains("missed"));
    }

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(4_102_444_799), "2099-12-31T23:59:59Z");
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(kib("VmPeak:\t  9 kB\nVmHWM:\t    2048 kB\n", "VmHWM:"), Some(2048));
        assert_eq!(kib("", "VmHWM:"), None);
    }
}
