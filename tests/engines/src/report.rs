//! The table, and the same as a file.
//!
//! Guarantees: a case that did not end has rows, too, and they do not hold.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::cases::Case;
use crate::set::Measured;

/// All slots have to be writable this soon after the last server's start; a miss is said and
/// fails nothing.
pub(crate) const BOUND_SECONDS: f64 = 2.6;

/// What a case came to.
pub(crate) struct Line {
    /// Of which version.
    pub(crate) version: &'static str,
    /// Which case.
    pub(crate) case: Case,
    /// The figures, or why there are none.
    pub(crate) result: Result<Measured, String>,
}

// === impl Line ===

impl Line {
    /// Whether it is as it has to be.
    pub(crate) fn passed(&self) -> bool {
        self.result.as_ref().is_ok_and(|m| m.lost == 0)
    }

    /// As a row of the table.
    pub(crate) fn text(&self) -> String {
        let (version, case) = (self.version, self.case.name());
        let verdict = if self.passed() { "ok  " } else { "FAIL" };
        match &self.result {
            Ok(Measured { seconds, lost, whole, unknown, told }) => {
                let late = if *seconds > BOUND_SECONDS { "  (late)" } else { "" };
                format!(
                    "{verdict} {version:<13} {case:<16} {seconds:>6.2} s {lost:>6} lost, whole \
                     after {whole:>5.2} s, {unknown:>2} addresses unknown at the start, {told} told \
                     to follow{late}"
                )
            }
            Err(why) => format!("{verdict} {version:<13} {case:<16} {why}"),
        }
    }

    fn rows(&self) -> [Value; 3] {
        let id = |what: &str| format!("{}.{}.{what}", self.version, self.case.name());
        let measured = self.result.as_ref().ok();
        let why = self.result.as_ref().err().map(|why| format!(": {why}")).unwrap_or_default();
        let seconds = measured.map(|m| (m.seconds * 1000.0).round() / 1000.0);
        [
            json!({
                "id": id("seconds"),
                "what": "from the last server's start until all slots are writable",
                "value": seconds,
                "unit": "s",
                "bound": BOUND_SECONDS,
                "holds": seconds.is_some_and(|s| s <= BOUND_SECONDS),
            }),
            json!({
                "id": id("whole"),
                "what": "from the last server's start until everybody sees a whole cluster",
                "value": measured.map(|m| (m.whole * 1000.0).round() / 1000.0),
                "unit": "s",
                "bound": null,
                "holds": self.result.is_ok(),
            }),
            json!({
                "id": id("lost"),
                "what": format!("keys written before and not there after{why}"),
                "value": measured.map(|m| m.lost),
                "unit": "keys",
                "bound": 0,
                "holds": self.passed(),
            }),
        ]
    }
}

/// Writes out/engines.json.
pub(crate) fn write(lines: &[Line]) -> Result<(), String> {
    let rows: Vec<Value> = lines.iter().flat_map(Line::rows).collect();
    let report = json!({
        "name": "engines",
        "version": env!("CARGO_PKG_VERSION"),
        "date": date(),
        "machine": {
            "cpus": std::thread::available_parallelism().map_or(0, usize::from),
            "memory_gib": memory_gib(),
            "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        },
        "rows": rows,
    });
    let path = Path::new("out/engines.json");
    let text = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
    fs::create_dir_all("out")
        .and_then(|()| fs::write(path, text + "\n"))
        .map_err(|e| format!("{} can not be written: {e}", path.display()))
}

fn date() -> String {
    let said = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    said.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

fn memory_gib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|t| t.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    kib.div_ceil(1 << 20)
}
