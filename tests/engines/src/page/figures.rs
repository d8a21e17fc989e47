//! The table of accidents: a row for each case, over all versions.
//!
//! Guarantees: what is written can be read, and is the same when it is written again; a case that
//! failed on some version says on which.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::{head, listed};
use crate::versions::VERSIONS;

const COLUMNS: &str = "| case | versions | keys lost | seconds until all slots are writable | \
                       without Mooring |\n|---|---|---|---|---|\n";
const NONE: &str = "–";

/// The table, and the line above it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figures {
    head: String,
    rows: Vec<Row>,
}

/// One case.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    case: String,
    /// How many versions have a figure.
    versions: usize,
    /// Those on which Mooring has no answer.
    open: Vec<String>,
    /// Those on which it is not as it has to be.
    failed: Vec<String>,
    lost: u64,
    seconds: Option<Seconds>,
    without: Without,
}

/// The fastest and the slowest version.
#[derive(Clone, Debug, PartialEq)]
struct Seconds {
    least: (f64, String),
    most: (f64, String),
}

/// What the control came to, from the least to the most of all versions.
#[derive(Clone, Debug, PartialEq)]
enum Without {
    /// There is none.
    Nothing,
    Lost(u64, u64),
    Hangs,
    Unlinked,
    Returns(u64, u64),
    /// The start by hand takes so much of the time, in thousandths.
    ByHand(u64, u64),
}

// === impl Figures ===

impl Figures {
    /// Of the rows of out/engines.json.
    pub(super) fn of(report: &Value) -> Result<Self, String> {
        let rows = report["rows"].as_array().ok_or("out/engines.json has no rows")?;
        let known = |row: &Value| Some((row["id"].as_str()?.to_owned(), row.clone()));
        let rows: BTreeMap<String, Value> = rows.iter().filter_map(known).collect();
        let rows = listed().map(|case| Row::of(case.name(), &rows)).collect();
        Ok(Self { head: head(report)?, rows })
    }

    #[cfg(test)]
    pub(super) fn cases(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|row| row.case.as_str())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{COLUMNS}", self.head)?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl FromStr for Figures {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (head, rows) = text.split_once("\n\n").ok_or("nothing is above the table")?;
        let rows = rows.strip_prefix(COLUMNS).ok_or("the columns are others")?;
        let rows = rows.lines().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { head: head.to_owned(), rows })
    }
}

// === impl Row ===

impl Row {
    fn of(case: &str, rows: &BTreeMap<String, Value>) -> Self {
        let row = |version: &str, what: &str| rows.get(&format!("{version}.{case}.{what}"));
        let value = |version: &str, what: &str| row(version, what)?["value"].as_f64();
        let mut this = Self {
            case: case.to_owned(),
            versions: 0,
            open: Vec::new(),
            failed: Vec::new(),
            lost: 0,
            seconds: None,
            without: Without::Nothing,
        };
        for name in VERSIONS.map(|version| version.name) {
            let Some(lost) = row(name, "lost") else { continue };
            let prefix = format!("{name}.{case}.");
            let broken = |what: &str| row(name, what).is_some_and(|row| row["holds"] != true);
            if broken("lost") || broken("control.lost") || broken("control.returned") {
                this.failed.push(name.to_owned());
            } else if lost["value"].is_null() {
                this.open.push(name.to_owned());
                continue;
            }
            this.versions += 1;
            this.lost += lost["value"].as_u64().unwrap_or(0);
            if let Some(seconds) = value(name, "seconds") {
                this.seconds = Some(Seconds::with(this.seconds.take(), seconds, name));
            }
            let control =
                rows.range(prefix.clone()..).take_while(|(id, _)| id.starts_with(&prefix));
            for (id, row) in control {
                let n = row["value"].as_f64();
                if let (Some(what), Some(n)) = (id.strip_prefix(&prefix), n) {
                    this.without = this.without.with(what, n);
                }
            }
        }
        this
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |what: &str, names: &[String]| match names {
            [] => String::new(),
            names => format!("; {what} on {}", names.join(", ")),
        };
        let (open, failed) = (named("open", &self.open), named("failed", &self.failed));
        let seconds = self.seconds.as_ref().map_or(NONE.to_owned(), Seconds::to_string);
        let (case, versions, lost) = (&self.case, self.versions, self.lost);
        let lost = if versions == 0 { NONE.to_owned() } else { lost.to_string() };
        write!(f, "| `{case}` | {versions}{open}{failed} | {lost} | {seconds} | {} |", self.without)
    }
}

impl FromStr for Row {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let fault = || format!("this is no row: {line}");
        let inner =
            line.strip_prefix("| `").and_then(|l| l.strip_suffix(" |")).ok_or_else(fault)?;
        let cells: Vec<&str> = inner.split(" | ").collect();
        let [case, versions, lost, seconds, without] = cells[..] else { return Err(fault()) };
        let mut parts = versions.split("; ");
        let count = parts.next().and_then(|n| n.parse().ok()).ok_or_else(fault)?;
        let (mut open, mut failed) = (Vec::new(), Vec::new());
        for part in parts {
            let (what, names) = part.split_once(" on ").ok_or_else(fault)?;
            let names = names.split(", ").map(str::to_owned);
            match what {
                "open" => open.extend(names),
                "failed" => failed.extend(names),
                _ => return Err(fault()),
            }
        }
        Ok(Self {
            case: case.strip_suffix('`').ok_or_else(fault)?.to_owned(),
            versions: count,
            open,
            failed,
            lost: if lost == NONE { 0 } else { lost.parse().map_err(|_| fault())? },
            seconds: if seconds == NONE { None } else { Some(seconds.parse()?) },
            without: without.parse()?,
        })
    }
}

// === impl Seconds ===

impl Seconds {
    fn with(all: Option<Self>, seconds: f64, version: &str) -> Self {
        let one = (seconds, version.to_owned());
        let Some(all) = all else { return Self { least: one.clone(), most: one } };
        Self {
            least: if one.0 < all.least.0 { one.clone() } else { all.least },
            most: if one.0 > all.most.0 { one } else { all.most },
        }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((least, fastest), (most, slowest)) = (&self.least, &self.most);
        write!(f, "{least:.2} ({fastest}) to {most:.2} ({slowest})")
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(cell: &str) -> Result<Self, String> {
        let one = |text: &str| {
            let (seconds, version) = text.strip_suffix(')')?.split_once(" (")?;
            Some((seconds.parse().ok()?, version.to_owned()))
        };
        let both = cell.split_once(" to ").and_then(|(a, b)| Some((one(a)?, one(b)?)));
        let (least, most) = both.ok_or_else(|| format!("these are no seconds: {cell}"))?;
        Ok(Self { least, most })
    }
}

// === impl Without ===

impl Without {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    fn with(self, what: &str, value: f64) -> Self {
        let n = value.round() as u64;
        let thousandths = (value * 1000.0).round() as u64;
        match (what, self) {
            // Some versions heal.
            ("control.unlinked", _) | ("control.lost", Self::Unlinked) => Self::Unlinked,
            ("control.lost", Self::Lost(a, b)) => Self::Lost(a.min(n), b.max(n)),
            ("control.lost", _) => Self::Lost(n, n),
            ("control.returned", Self::Returns(a, b)) => Self::Returns(a.min(n), b.max(n)),
            ("control.returned", _) => Self::Returns(n, n),
            ("control.writable", _) => Self::Hangs,
            ("ratio", Self::ByHand(a, b)) => Self::ByHand(a.min(thousandths), b.max(thousandths)),
            ("ratio", _) => Self::ByHand(thousandths, thousandths),
            (_, same) => same,
        }
    }
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str(NONE),
            Self::Hangs => f.write_str("never writable"),
            Self::Unlinked => f.write_str(UNLINKED),
            Self::Lost(a, b) => write!(f, "{} lost", span(a, b)),
            Self::Returns(a, b) => write!(f, "back on {} servers", span(a, b)),
            Self::ByHand(a, b) => {
                write!(f, "ratio to a start by hand {}", span(&ratio(*a), &ratio(*b)))
            }
        }
    }
}

const UNLINKED: &str = "a replica without its master";

fn span<T: PartialEq + fmt::Display>(least: &T, most: &T) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

fn ratio(thousandths: u64) -> String {
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

impl FromStr for Without {
    type Err = String;

    fn from_str(cell: &str) -> Result<Self, String> {
        let between = |before: &str, after: &str| {
            let span = cell.strip_prefix(before)?.strip_suffix(after)?;
            let (a, b) = span.split_once(" to ").unwrap_or((span, span));
            let n = |text: &str| text.replace('.', "").parse().ok();
            Some((n(a)?, n(b)?))
        };
        let lost = || between("", " lost").map(|(a, b)| Self::Lost(a, b));
        let returns = || between("back on ", " servers").map(|(a, b)| Self::Returns(a, b));
        let by_hand = || between("ratio to a start by hand ", "").map(|(a, b)| Self::ByHand(a, b));
        match cell {
            NONE => Ok(Self::Nothing),
            "never writable" => Ok(Self::Hangs),
            UNLINKED => Ok(Self::Unlinked),
            _ => lost()
                .or_else(returns)
                .or_else(by_hand)
                .ok_or_else(|| format!("this is no control: {cell}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_says_what_failed() {
        let row =
            |id: &str, value: Value, holds: bool| json!({"id": id, "value": value, "holds": holds});
        let report = json!({
            "date": "2026-01-02T03:04:05Z", "commit": null, "machine": {"cpus": 2},
            "rows": [
                row("redis-5.0.6.clone.lost", Value::Null, true),
                row("redis-7.0.15.clone.lost", json!(0), true),
                row("redis-7.0.15.clone.seconds", json!(18.0), true),
                row("redis-7.0.15.clone.control.lost", json!(5462), true),
                row("valkey-9.1.2.clone.lost", json!(7), false),
                row("valkey-9.1.2.clone.seconds", json!(2.5), true),
                row("valkey-9.1.2.clone.control.lost", json!(5461), true),
                row("redis-7.0.15.outage-parallel.lost", json!(0), true),
                row("redis-7.0.15.outage-parallel.seconds", json!(2.1), true),
                row("redis-7.0.15.outage-parallel.ratio", json!(0.987), true),
                row("redis-7.0.15.missing-two.lost", json!(0), true),
                row("redis-7.0.15.missing-two.control.writable", json!(0), true),
            ],
        });
        let text = Figures::of(&report).unwrap().to_string();
        let line = |case: &str| {
            let found = text.lines().find(|line| line.starts_with(&format!("| `{case}` |")));
            found.unwrap().to_owned()
        };
        assert!(text.starts_with("Measured on 2026-01-02 on 2 CPUs.\n\n| case |"), "{text}");
        assert_eq!(
            line("clone"),
            "| `clone` | 2; open on redis-5.0.6; failed on valkey-9.1.2 | 7 | \
             2.50 (valkey-9.1.2) to 18.00 (redis-7.0.15) | 5461 to 5462 lost |"
        );
        assert!(line("outage-parallel").ends_with("| ratio to a start by hand 0.987 |"));
        assert_eq!(line("missing-two"), "| `missing-two` | 1 | 0 | – | never writable |");
        assert_eq!(line("stale"), "| `stale` | 0 | – | – | – |");
        assert_eq!(text.parse::<Figures>().unwrap().to_string(), text);
        assert!(text.replace("5461 to", "some to").parse::<Figures>().is_err());
    }
}
