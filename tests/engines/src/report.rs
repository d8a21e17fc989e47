//! The table, and the same as a file.
//!
//! Guarantees: a case that did not end has rows, too, and they do not hold.

use std::path::Path;

use serde_json::{Value, json};

use crate::cases::Case;
use crate::set::Measured;

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
        self.result
            .as_ref()
            .is_ok_and(|m| m.lost == 0 && m.control.is_none_or(|c| c.value == c.bound))
    }

    /// As a row of the table.
    pub(crate) fn text(&self) -> String {
        let (version, case) = (self.version, self.case.name());
        let verdict = if self.passed() { "ok  " } else { "FAIL" };
        match &self.result {
            Ok(Measured { seconds, lost, whole, unknown, told, hand, control }) => {
                let late = if *seconds > BOUND_SECONDS { "  (late)" } else { "" };
                let hand = hand.map(|s| format!(", by hand {s:.2} s")).unwrap_or_default();
                let control = control
                    .map(|c| format!(", {} {}: {}", c.what, c.word, c.value))
                    .unwrap_or_default();
                format!(
                    "{verdict} {version:<13} {case:<20} {seconds:>6.2} s {lost:>6} lost, whole \
                     after {whole:>5.2} s, {unknown:>2} addresses unknown at the start, {told} told \
                     to follow{hand}{control}{late}"
                )
            }
            Err(why) => format!("{verdict} {version:<13} {case:<20} {why}"),
        }
    }

    fn rows(&self) -> Vec<Value> {
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
        let control = measured.and_then(|m| m.control).map(|control| {
            json!({
                "id": format!("{}.{}.control.{}", self.version, self.case.name(), control.word),
                "what": format!("{}, {}", control.word, control.what),
                "value": control.value,
                "unit": "",
                "bound": control.bound,
                "holds": control.value == control.bound,
            })
        });
        rows.into_iter().chain(ratio).chain(control).collect()
    }
}

/// Writes out/engines.json.
pub(crate) fn write(lines: &[Line]) -> Result<(), String> {
    let rows: Vec<Value> = lines.iter().flat_map(Line::rows).collect();
    bench::write(Path::new("."), "engines", &rows).map(|_| ())
}
