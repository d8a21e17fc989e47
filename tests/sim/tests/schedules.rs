//! The default run: one accident each to some thousand clusters.

#![allow(clippy::panic, reason = "this is a test")]

use sim::generate::Load;
use sim::shrink::shrink;
use sim::soak::{Asked, soak};

/// Fixed, so that a failure is the change's and not the day's; `make soak` takes others.
const SEEDS: u64 = 3000;

#[test]
fn all_schedules_hold() {
    let asked = Asked { load: Load::One, go_on: true, ..Asked::schedules(0, SEEDS) };
    let soaked = soak(asked, |_| ());
    println!("{} schedules, {:.0} a second, {:#?}", soaked.schedules, soaked.rate(), soaked.counts);
    assert_eq!(soaked.schedules, SEEDS);
    if let Some(failure) = soaked.failures.first() {
        let seed = failure.schedule.seed;
        panic!("{}\nrepeat it: make soak SEED={seed} ONE=1", shrink(failure.clone(), None, 100));
    }
}
