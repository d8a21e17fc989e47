//! Configurations of all kinds, read by Mooring and by real servers.
//!
//! The server of this machine is asked at every landing (see [`Program::installed`]), the thirteen
//! versions of the matrix by `make engines`. Without any, this fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::cell::Cell;

use config_tests::check::{Agreed, compare};
use config_tests::generate::Case;
use config_tests::server::Program;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Compares so many configurations with each program, and names all programs that differ.
fn compare_all(programs: Result<Vec<Program>, String>, each: u32) {
    let mut differences = Vec::new();
    for program in programs.unwrap_or_else(|why| panic!("{why}")) {
        let (runs, refused) = (Cell::new(0), Cell::new(0));
        let config = Config {
            cases: each,
            max_shrink_iters: 200,
            failure_persistence: None,
            ..Config::default()
        };
        let outcome = TestRunner::new(config).run(&Case::any(&program), |case| {
            let agreed = compare(&program, &case).map_err(TestCaseError::fail)?;
            let count = if agreed == Agreed::Runs { &runs } else { &refused };
            count.set(count.get() + 1);
            Ok(())
        });
        let (runs, refused) = (runs.get(), refused.get());
        println!("{}: {runs} run, {refused} stop", program.path.display());
        assert!(runs > 0 || outcome.is_err(), "no server ran, so nothing was compared");
        differences.extend(outcome.err().map(|e| e.to_string()));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[test]
fn servers_and_mooring_read_the_same() {
    compare_all(Program::installed(), 60);
}

#[test]
#[ignore = "needs the thirteen versions: 'make engines'"]
fn thirteen_versions_and_mooring_read_the_same() {
    let programs = Program::matrix();
    assert_eq!(programs.as_ref().map(Vec::len), Ok(13), "{programs:?}");
    compare_all(programs, cases());
}

/// How many for each version: `CASES`, or as many as take a few seconds.
fn cases() -> u32 {
    std::env::var("CASES").map_or(60, |n| n.parse().unwrap())
}
