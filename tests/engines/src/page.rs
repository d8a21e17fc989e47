//! The figures of docs/accidents.md, written from out/engines.json and out/safety.json into the
//! regions that the page marks.
//!
//! Guarantees: what is between the marks comes from the files alone, with their date and commit; a
//! file that is not there leaves its region as it is. The committed page's regions have the form that
//! is written here, with a row for every accident.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::cases::{CASES, Case};
use figures::Figures;

mod figures;

const PAGE: &str = "docs/accidents.md";
const END: &str = "<!-- end -->";

/// A marked region of the page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Region {
    Engines,
    Safety,
}

// === impl Region ===

impl Region {
    fn name(self) -> &'static str {
        match self {
            Self::Engines => "engines",
            Self::Safety => "safety",
        }
    }

    fn begin(self) -> String {
        format!("<!-- from out/{}.json by `make accidents` -->", self.name())
    }

    /// What is between the marks.
    fn inside(self, page: &str) -> Result<&str, String> {
        let inside = page.split_once(&self.begin()).and_then(|(_, rest)| rest.split_once(END));
        inside
            .map(|(inside, _)| inside)
            .ok_or_else(|| format!("{PAGE} does not mark a region with {}", self.begin()))
    }

    fn replaced(self, page: &str, text: &str) -> Result<String, String> {
        let old = self.inside(page)?;
        let (begin, end) = (self.begin(), END);
        let old = format!("{begin}{old}{end}");
        Ok(page.replacen(&old, &format!("{begin}\n{text}{end}"), 1))
    }

    fn text(self, report: &Value) -> Result<String, String> {
        match self {
            Self::Engines => Figures::of(report).map(|figures| figures.to_string()),
            Self::Safety => safety(report),
        }
    }
}

/// Writes what the files say into the page.
pub(crate) fn write() -> Result<(), String> {
    let mut page = fs::read_to_string(PAGE).map_err(|e| format!("{PAGE} can not be read: {e}"))?;
    for region in [Region::Engines, Region::Safety] {
        let path = Path::new("out").join(format!("{}.json", region.name()));
        match bench::report(&path)? {
            Some(report) => page = region.replaced(&page, &region.text(&report)?)?,
            None => println!("{} is not there: its figures stay as they are", path.display()),
        }
    }
    fs::write(PAGE, page).map_err(|e| format!("{PAGE} can not be written: {e}"))
}

/// The cases that the page has a row for.
fn listed() -> impl Iterator<Item = Case> {
    CASES.into_iter().filter(|case| matches!(case, Case::Outage(_) | Case::Accident(_)))
}

/// When, and of what.
fn head(report: &Value) -> Result<String, String> {
    let text = |name: &str| report[name].as_str().map(str::to_owned);
    let date = text("date").ok_or("the figures have no date")?;
    let day = date.split('T').next().unwrap_or_default();
    let of = text("commit").map(|commit| format!(", commit {commit}")).unwrap_or_default();
    Ok(format!("Measured on {day} on {} CPUs{of}.", report["machine"]["cpus"]))
}

/// Its rows as they are.
fn safety(report: &Value) -> Result<String, String> {
    let mut text = head(report)? + "\n\n| what | figure |\n|---|---|\n";
    for row in report["rows"].as_array().into_iter().flatten() {
        let (Some(what), Some(value)) = (row["what"].as_str(), row["value"].as_f64()) else {
            continue;
        };
        let unit = row["unit"].as_str().unwrap_or_default();
        let failed = if row["holds"] == true { "" } else { " **(not as asked)**" };
        let what = what.trim().replace('|', "\\|");
        text += &format!("| {what} | {} |\n", format!("{value} {unit}").trim().to_owned() + failed);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page() -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_pages_figures_have_the_form_that_is_written() {
        let page = page();
        let text = Region::Engines.inside(&page).unwrap().trim_start();
        let figures: Figures = text.parse().unwrap();
        assert_eq!(figures.to_string(), text);
        let cases: Vec<&str> = figures.cases().collect();
        assert_eq!(cases, listed().map(Case::name).collect::<Vec<_>>());
    }

    #[test]
    fn the_pages_figures_of_kubernetes_have_the_form_that_is_written() {
        let page = page();
        let text = Region::Safety.inside(&page).unwrap().trim();
        let mut lines = text.lines();
        let head = lines.next().unwrap();
        if head == "Not measured yet." {
            return assert_eq!(lines.next(), None);
        }
        assert!(head.starts_with("Measured on ") && head.ends_with('.'), "{head}");
        assert_eq!([lines.next(), lines.next()], [Some(""), Some("| what | figure |")]);
        assert_eq!(lines.next(), Some("|---|---|"));
        let figure = |line: &str| {
            let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
            cells.rsplit_once(" | ")?.1.split(' ').next()?.parse::<f64>().ok()
        };
        assert!(lines.all(|line| figure(line).is_some()));
    }

    #[test]
    fn a_region_is_replaced_and_nothing_else() {
        let page = format!("a\n{}\nold\n{END}\nb\n", Region::Safety.begin());
        let report = json!({
            "date": "2026-01-02T03:04:05Z", "commit": "abc", "machine": {"cpus": 2},
            "rows": [{"what": "  lost", "value": 0.0, "unit": "keys", "holds": true}],
        });
        let text = Region::Safety.text(&report).unwrap();
        let written = Region::Safety.replaced(&page, &text).unwrap();
        let expected = "Measured on 2026-01-02 on 2 CPUs, commit abc.\n\n\
            | what | figure |\n|---|---|\n| lost | 0 keys |\n";
        assert_eq!(written, format!("a\n{}\n{expected}{END}\nb\n", Region::Safety.begin()));
        assert!(Region::Engines.replaced(&page, &text).is_err());
    }
}
