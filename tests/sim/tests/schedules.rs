//! The default run: one accident each to some thousand clusters.

#![allow(clippy::panic, reason = "this is a test")]

use std::collections::BTreeSet;

use sim::generate::Load;
use sim::shrink::shrink;
use sim::soak::{Asked, soak};

/// Fixed, so that a failure is the change's and not the day's; `make soak` takes others.
const SEEDS: u64 = 3000;

/// Seeds whose failure is not understood yet: the model's or the planner's. What is cut down to a link
/// that was cut for a moment is likely to be the model's, whose copies are whole or nothing. One that
/// holds again has to leave the list.
const OPEN: [u64; 1] = [1585];

#[test]
fn all_schedules_hold() {
    let asked = Asked { load: Load::One, go_on: true, ..Asked::schedules(0, SEEDS) };
    let soaked = soak(asked, |_| ());
    println!("{} schedules, {:.0} a second, {:#?}", soaked.schedules, soaked.rate(), soaked.counts);
    assert_eq!(soaked.schedules, SEEDS);
    let open = |seed: u64| OPEN.contains(&seed);
    if let Some(failure) = soaked.failures.iter().find(|f| !open(f.schedule.seed)) {
        let seed = failure.schedule.seed;
        panic!("{}\nrepeat it: make soak SEED={seed} ONE=1", shrink(failure.clone(), None, 100));
    }
    let failed: BTreeSet<u64> = soaked.failures.iter().map(|f| f.schedule.seed).collect();
    assert_eq!(failed, BTreeSet::from(OPEN), "one that was open holds now: take it off the list");
}
