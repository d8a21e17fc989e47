//! Configurations of all kinds, read by Mooring and by real servers.
//!
//! Every server that is here is asked: see [`Program::all`]. Without one, this fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::cell::Cell;

use config_tests::check::{Agreed, compare};
use config_tests::generate::Case;
use config_tests::server::Program;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Compares `cases` configurations in all.
fn compare_all(cases: u32) {
    let programs = Program::all().unwrap_or_else(|why| panic!("{why}"));
    let each = cases.div_ceil(u32::try_from(programs.len()).unwrap()).max(8);
    for program in programs {
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
        outcome.unwrap_or_else(|e| panic!("{e}"));
        assert!(runs > 0, "no server ran, so nothing was compared");
    }
}

#[test]
fn servers_and_mooring_read_the_same() {
    compare_all(60);
}

#[test]
#[ignore = "some minutes: 3000 servers"]
fn servers_and_mooring_read_the_same_at_length() {
    compare_all(3000);
}
