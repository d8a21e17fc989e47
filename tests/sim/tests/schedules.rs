//! The default run: one accident each to some thousand clusters, and several on top of each other to
//! some hundred.

#![allow(clippy::panic, reason = "this is a test")]

use sim::generate::Load;
use sim::shrink::shrink;
use sim::soak::{Asked, soak};

/// From where on and how many. Fixed, so that a failure is the change's and not the day's;
/// `make soak` takes others.
const ONE: (u64, u64) = (0, 3000);
const SEVERAL: (u64, u64) = (7_000_000, 600);

#[test]
fn all_schedules_with_one_accident_hold() {
    hold(Load::One, ONE);
}

#[test]
fn schedules_with_several_accidents_hold() {
    hold(Load::Many, SEVERAL);
}

#[track_caller]
fn hold(load: Load, (from, seeds): (u64, u64)) {
    let soaked = soak(Asked { load, go_on: true, ..Asked::schedules(from, seeds) }, |_| ());
    println!("{} schedules, {:.0} a second, {:#?}", soaked.schedules, soaked.rate(), soaked.counts);
    assert_eq!(soaked.schedules, seeds);
    if let Some(failure) = soaked.failures.first() {
        let seed = failure.schedule.seed;
        let one = if load == Load::One { " ONE=1" } else { "" };
        panic!("{}\nrepeat it: make soak SEED={seed}{one}", shrink(failure.clone(), None, 100));
    }
}
