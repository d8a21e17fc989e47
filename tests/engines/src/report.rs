//! The table, and the same as a file.
//!
//! Guarantees: a case that did not end has rows, too, and they do not hold; what is not of the cases
//! that were run stays in the file, unless it is another commit's.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cases::Case;
use crate::set::{Control, Measured};

/// All slots have to be writable this soon after the last server's start; a miss is said and
/// fails nothing.
pub(crate) const BOUND_SECONDS: f64 = 2.6;

/// And at most so many times as late as without Mooring.
const BOUND_RATIO: f64 = 1.1;

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
        let shows =
            |m: &Measured| !matches!(m.control, Some(Control::Loses(0) | Control::Returns(0)));
        self.result.as_ref().is_ok_and(|m| m.lost == 0 && shows(m))
    }

    /// As a row of the table.
    pub(crate) fn text(&self) -> String {
        let (version, case) = (self.version, self.case.name());
        let verdict = if self.passed() { "ok  " } else { "FAIL" };
        match &self.result {
            Ok(Measured { control: Some(Control::Open(why)), .. }) => {
                format!("open {version:<13} {case:<20} {why}")
            }
            Ok(Measured { seconds, lost, whole, control: Some(control), .. }) => format!(
                "{verdict} {version:<13} {case:<20} {seconds:>6.2} s {lost:>6} lost, whole after \
                 {whole:>5.2} s, without Mooring {}",
                match control {
                    Control::Loses(n) | Control::MayLose(n) => format!("{n} lost"),
                    Control::Returns(n) => format!("on {n} servers again"),
                    Control::Unlinked => "a replica without its master".to_owned(),
                    Control::Hangs | Control::Open(_) => "never writable".to_owned(),
                }
            ),
            Ok(Measured { seconds, lost, whole, unknown, told, hand, control: None }) => {
                let late = if *seconds > BOUND_SECONDS { "  (late)" } else { "" };
                let hand = hand.map(|s| format!(", by hand {s:.2} s")).unwrap_or_default();
                format!(
                    "{verdict} {version:<13} {case:<20} {seconds:>6.2} s {lost:>6} lost, whole \
                     after {whole:>5.2} s, {unknown:>2} addresses unknown at the start, {told} told \
                     to follow{hand}{late}"
                )
            }
            Err(why) => format!("{verdict} {version:<13} {case:<20} {why}"),
        }
    }

    fn rows(&self) -> Vec<Value> {
        if let Ok(Measured { control: Some(control), .. }) = &self.result {
            return self.accident(*control);
        }
        let id = |what: &str| format!("{}.{}.{what}", self.version, self.case.name());
        let measured = self.result.as_ref().ok();
        let why = self.result.as_ref().err().map(|why| format!(": {why}")).unwrap_or_default();
        let seconds = measured.map(|m| (m.seconds * 1000.0).round() / 1000.0);
        let ratio = measured.and_then(|m| Some((m.seconds / m.hand? * 1000.0).round() / 1000.0));
        let ratio = ratio.map(|ratio| {
            json!({
                "id": id("ratio"),
                "what": "seconds, by that of files that know every address, started without Mooring",
                "value": ratio,
                "unit": "ratio",
                "bound": BOUND_RATIO,
                "holds": ratio <= BOUND_RATIO,
            })
        });
        let rows = [
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
        ];
        rows.into_iter().chain(ratio).collect()
    }
}

// === impl Line, of accidents ===

impl Line {
    /// What is lost with Mooring's part, and what without it. Where Mooring has none the row says
    /// what is open, and has no figure.
    fn accident(&self, control: Control) -> Vec<Value> {
        let id = |what: &str| format!("{}.{}.{what}", self.version, self.case.name());
        let measured = self.result.as_ref().ok();
        let (open, bound) = match control {
            Control::Open(why) => (Some(format!("not tried: {why}")), None),
            _ => (None, Some(0)),
        };
        let what = |text: &str| open.clone().unwrap_or_else(|| text.to_owned());
        let figure = |value: Option<Value>| value.filter(|_| open.is_none());
        let hangs = json!({
            "id": id("control.writable"),
            "what": "whether all slots are writable again without Mooring's part",
            "value": 0,
            "unit": "",
            "bound": 0,
            "holds": true,
        });
        let mut rows = vec![
            json!({
                "id": id("lost"),
                "what": what("keys written before and not there after"),
                "value": figure(measured.map(|m| json!(m.lost))),
                "unit": "keys",
                "bound": bound,
                "holds": measured.is_some_and(|m| m.lost == 0),
            }),
            json!({
                "id": id("seconds"),
                "what": what("from the accident until all slots are writable"),
                "value": figure(measured.map(|m| json!((m.seconds * 1000.0).round() / 1000.0))),
                "unit": "s",
                "bound": null,
                "holds": measured.is_some(),
            }),
            json!({
                "id": id("control.lost"),
                "what": what("the shard's keys that its replica loses without Mooring's part"),
                "value": control.lost(),
                "unit": "keys",
                "bound": null,
                "holds": !matches!(control, Control::Loses(0)),
            }),
        ];
        let instead = match control {
            Control::Hangs => Some(hangs),
            Control::Returns(n) => Some(json!({
                "id": id("control.returned"),
                "what": "servers that have the forgotten node again without Mooring's part",
                "value": n,
                "unit": "servers",
                "bound": null,
                "holds": n > 0,
            })),
            Control::Unlinked => Some(json!({
                "id": id("control.unlinked"),
                "what": "replicas without their master for good without Mooring's part",
                "value": 1,
                "unit": "replicas",
                "bound": null,
                "holds": true,
            })),
            _ => None,
        };
        if let (Some(instead), Some(last)) = (instead, rows.last_mut()) {
            *last = instead;
        }
        rows
    }
}

// === impl Control ===

impl Control {
    fn lost(self) -> Option<usize> {
        match self {
            Self::Loses(n) | Self::MayLose(n) => Some(n),
            Self::Hangs | Self::Returns(_) | Self::Unlinked | Self::Open(_) => None,
        }
    }
}

/// What cases came to, as one process tells it to another.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// How many files of real servers were read and written back.
    pub(crate) files: usize,
    lines: Vec<Value>,
}

// === impl Ended ===

impl Ended {
    /// One case more.
    pub(crate) fn add(&mut self, line: &Line) {
        self.lines.push(json!({
            "of": format!("{}.{}.", line.version, line.case.name()),
            "text": line.text(),
            "passed": line.passed(),
            "rows": line.rows(),
        }));
    }

    /// All of another process.
    pub(crate) fn extend(&mut self, other: Self) {
        self.files += other.files;
        self.lines.extend(other.lines);
    }

    /// How many there are.
    pub(crate) fn cases(&self) -> usize {
        self.lines.len()
    }

    /// How many are not as they have to be.
    pub(crate) fn failed(&self) -> usize {
        self.lines.iter().filter(|line| line["passed"] != true).count()
    }

    /// The table and the summary.
    pub(crate) fn print(&self) {
        for line in &self.lines {
            println!("{}", line["text"].as_str().unwrap_or_default());
        }
        println!("{} nodes.conf of real servers read and written back byte for byte", self.files);
        println!("{} passed, {} failed", self.cases() - self.failed(), self.failed());
    }

    /// Hands it over.
    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let text = json!({"files": self.files, "lines": self.lines}).to_string();
        fs::write(path, text).map_err(|e| format!("{} can not be written: {e}", path.display()))
    }

    /// What was handed over; nothing, if the process ended before.
    pub(crate) fn read(path: &Path) -> Self {
        let value: Value = fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let files = value["files"].as_u64().and_then(|n| usize::try_from(n).ok());
        let lines = value["lines"].as_array().cloned();
        Self { files: files.unwrap_or(0), lines: lines.unwrap_or_default() }
    }
}

/// Puts the rows of these cases into out/engines.json, in the place of their rows from before.
pub(crate) fn merge(commit: &Value, ended: &Ended) -> Result<(), String> {
    let prefixes = ended.lines.iter().filter_map(|line| line["of"].as_str().map(str::to_owned));
    let rows = ended.lines.iter().filter_map(|line| line["rows"].as_array()).flatten().cloned();
    let (prefixes, rows): (Vec<_>, Vec<_>) = (prefixes.collect(), rows.collect());
    bench::merge(Path::new("."), "engines", commit, &prefixes, &rows).map(|_| ())
}
