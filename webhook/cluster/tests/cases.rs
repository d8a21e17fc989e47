//! docs/cases.md against the tests: every case, input and shape has a row, and every test that a
//! row names is there.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PLANNER: &str = "webhook/cluster/src/planner";
const HERE: &str = "webhook/cluster/tests";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One row of a table: the heading that it stands under, and its cells by their columns' names.
struct Row {
    heading: String,
    cells: Vec<(String, String)>,
}

impl Row {
    fn all() -> Vec<Self> {
        let text = fs::read_to_string(root().join("docs/cases.md")).unwrap();
        let (mut heading, mut names, mut rows) = (String::new(), None, Vec::new());
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                title.clone_into(&mut heading);
            }
            let Some(inner) = line.strip_prefix("| ").and_then(|l| l.strip_suffix(" |")) else {
                // The line of dashes keeps the table going.
                names = names.filter(|_| line.starts_with("|-"));
                continue;
            };
            let cells: Vec<_> = inner.split(" | ").map(str::to_owned).collect();
            match &names {
                None => names = Some(cells),
                Some(names) => {
                    assert_eq!(names.len(), cells.len(), "{line}");
                    let cells = names.iter().cloned().zip(cells).collect();
                    rows.push(Self { heading: heading.clone(), cells });
                }
            }
        }
        rows
    }

    fn cell(&self, name: &str) -> Option<&str> {
        self.cells.iter().find(|(column, _)| column == name).map(|(_, cell)| cell.as_str())
    }

    fn first(&self) -> &str {
        &self.cells[0].1
    }

    /// What is in backticks in the column of tests.
    fn tests(&self) -> Vec<&str> {
        self.cell("test").unwrap_or_default().split('`').skip(1).step_by(2).collect()
    }
}

/// The folder or file that a name in the document stands for.
fn place(name: &str) -> PathBuf {
    let below = match name {
        "planner" => PLANNER.to_owned() + "/tests",
        "weigh.rs" | "doubt.rs" => format!("{PLANNER}/tests/{name}"),
        "cut_off.rs" => format!("{HERE}/nodes_conf/{name}"),
        _ if name.starts_with("step/") => name.replacen("step/", "webhook/step/src/", 1),
        _ if name.contains('/') => name.to_owned(),
        _ => format!("{HERE}/{name}"),
    };
    root().join(below)
}

/// All source of a module: its file, and those of the folder of the same name.
fn module(path: &Path) -> String {
    let file = path.with_extension("rs");
    let mut text = fs::read_to_string(&file).unwrap_or_default();
    let mut folders = vec![path.with_extension("")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|e| e == "rs") => {
                    text += &fs::read_to_string(path).unwrap();
                }
                _ => {}
            }
        }
    }
    assert!(!text.is_empty(), "{} is no module", file.display());
    text
}

/// Whether a module has this test; `TEST::case_02_a_name` is one case of it.
fn has(module: &str, test: &str) -> bool {
    let (test, case) = test.split_once("::").map_or((test, None), |(t, case)| (t, Some(case)));
    let is_it = |block: &&str| {
        let begins = |line: &str| line.trim_start().trim_start_matches("async ").starts_with("fn ");
        let head = block.lines().find(|line| begins(line)).unwrap_or_default();
        let name = head.split("fn ").nth(1).unwrap_or_default();
        name.split('(').next() == Some(test)
    };
    let Some(block) = module.split("\n\n").find(is_it) else { return false };
    let is_test = ["#[test]", "#[rstest]", "#[tokio::test"].iter().any(|a| block.contains(a));
    let Some(case) = case.and_then(|c| c.strip_prefix("case_")) else {
        return is_test && case.is_none();
    };
    let (number, name) = case.split_once('_').unwrap();
    let nth = block.split("#[case::").nth(number.parse().unwrap());
    is_test && nth.is_some_and(|attribute| attribute.split('(').next() == Some(name))
}

#[test]
fn every_test_that_a_case_names_is_there() {
    let mut missing = Vec::new();
    for row in Row::all() {
        // A name without a file is of the file before it, and a case of the test before it.
        let (mut source, mut test) = (String::new(), String::new());
        for named in row.tests() {
            let found = match named.split_once("::") {
                // The end-to-end cases bear names of their own.
                Some(("condition", case)) => {
                    module(&root().join("tests/lab/src/e2e/conditions")).contains(case)
                }
                Some(("safety", case)) => module(&root().join("tests/lab/src/e2e/safety"))
                    .contains(&format!("safety::{case}")),
                Some(("engines", case)) => ["cases", "accidents"].iter().any(|file| {
                    let source = module(&root().join("tests/engines/src").join(file));
                    source.contains(&format!("\"{case}\""))
                }),
                Some((file, rest)) => {
                    source = module(&place(file));
                    rest.split("::").next().unwrap_or_default().clone_into(&mut test);
                    has(&source, rest)
                }
                None if named.starts_with("case_") => has(&source, &format!("{test}::{named}")),
                None if named.contains(['/', '.']) => place(named).exists(),
                None => {
                    named.clone_into(&mut test);
                    has(&source, named)
                }
            };
            if !found {
                missing.push(format!("{}: {named}", row.first()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_case_input_and_shape_has_a_row_with_tests_and_an_outcome() {
    let rows = Row::all();
    let firsts = |heading: &str| -> Vec<&str> {
        let rows = rows.iter().filter(|row| row.heading.starts_with(heading));
        rows.map(Row::first).collect()
    };
    let numbered = |group: &str, last: u32| -> Vec<String> {
        (1..=last).map(|n| format!("{group}-{n:02}")).collect()
    };
    assert_eq!(firsts("Addresses"), numbered("IP", 23));
    assert_eq!(firsts("Configuration and"), numbered("CF", 13));
    assert_eq!(firsts("Deleted"), numbered("RE", 10));
    assert_eq!(firsts("Passwords"), ["SE-05", "SE-08", "SE-09"]);
    let distinct = |heading: &str| firsts(heading).into_iter().collect::<BTreeSet<_>>().len();
    assert_eq!((distinct("State files"), distinct("Configurations")), (23, 16));

    let shapes = fs::read_dir(root().join(HERE).join("shapes")).unwrap().flatten();
    let names =
        shapes.filter_map(|e| e.file_name().to_str()?.strip_suffix(".yaml").map(str::to_owned));
    let names: BTreeSet<_> = names.collect();
    let listed = firsts("Shapes").into_iter().map(|cell| cell.trim_matches('`').to_owned());
    assert_eq!((listed.collect::<BTreeSet<_>>(), names.len()), (names, 14));

    for row in &rows {
        assert!(!row.tests().is_empty(), "{}: no test", row.first());
        assert!(row.cell("outcome").is_some_and(|o| !o.trim().is_empty()), "{}", row.first());
    }
}

#[test]
fn a_test_is_missed_that_is_not_there() {
    let source = "#[test]\nfn one() {}\n\n#[rstest]\n#[case::first(1)]\n#[case::second(2)]\n\
                  fn many(#[case] n: u8) {}\n\nfn helper() {}\n";
    let there = ["one", "many", "many::case_01_first", "many::case_2_second"];
    assert!(there.iter().all(|test| has(source, test)));
    let not = ["two", "helper", "on", "many::case_02_first", "many::case_03_third", "one::x"];
    assert!(not.iter().all(|test| !has(source, test)));
}
