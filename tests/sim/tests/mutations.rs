//! The simulator can fail: a planner with one rule broken on purpose is caught, by the invariant
//! that the rule is there for. The same schedule holds with the rule in place.

#![allow(clippy::panic, reason = "helpers of tests fail as tests do")]

use sim::engine::Family;
use sim::invariants::Invariant;
use sim::mutation::Mutation;
use sim::run::run;
use sim::schedule::{Config, Fate, Schedule};
use sim::soak::{Asked, soak};
use sim::trace::Trace;

/// So many schedules at most: a rule that is broken has to show soon.
const SEEDS: u64 = 400;

#[track_caller]
fn caught(mutation: Mutation, by: Invariant) {
    caught_within(SEEDS, mutation, by);
}

#[track_caller]
fn caught_within(seeds: u64, mutation: Mutation, by: Invariant) {
    let asked = Asked { go_on: true, mutation: Some(mutation), ..Asked::schedules(0, seeds) };
    let soaked = soak(asked, |_| ());
    let mut caught = soaked.failures.iter().filter(|f| f.violation.invariant == by);
    let holds = |schedule| run(schedule, None, Trace::Silent).violation.is_none();
    if !caught.any(|failure| holds(&failure.schedule)) {
        let others: Vec<_> = soaked.failures.iter().map(|f| f.violation.invariant).collect();
        panic!("{mutation:?} alone is not caught by {by:?} but by {others:?}");
    }
}

#[test]
fn an_empty_master_that_starts_at_once() {
    caught(Mutation::EmptyStartsAtOnce, Invariant::EmptyOwner);
}

#[test]
fn one_epoch_for_all() {
    caught(Mutation::SameEpoch, Invariant::TwoOwners);
}

/// Random schedules seldom come to it: a master's machine is off, its replica is elected, then all
/// others end, and the old master is the first to start, and alone for a while.
#[test]
fn a_stale_master_that_is_not_told() {
    let off = Fate::LoseNode { set: 0, pod: 0, ms: 40_000 };
    let alone = Fate::Block { set: 0, pod: 1, ms: 30_000 };
    let events = vec![(60_000, off), (79_000, alone), (80_000, Fate::DeleteAll { set: 0 })];
    let config = Config::usual(Family::Redis8);
    let schedules = (0..20).map(|seed| Schedule { seed, config, events: events.clone() });
    let mut caught = 0;
    for schedule in schedules {
        assert_eq!(run(&schedule, None, Trace::Silent).violation, None);
        let broken = run(&schedule, Some(Mutation::NoStepDown), Trace::Silent).violation;
        caught += usize::from(broken.is_some_and(|v| v.invariant == Invariant::StaleWrite));
    }
    assert_eq!(caught, 20);
}

#[test]
fn a_set_whose_past_is_not_seen() {
    caught(Mutation::NoPast, Invariant::SecondCluster);
}

#[test]
fn a_copy_that_is_not_renamed() {
    caught(Mutation::NoMark, Invariant::Merged);
}

/// A member is away while all others forget a node; then all are restarted.
#[test]
fn a_forgotten_node_that_comes_back_from_a_file() {
    let away = Fate::Block { set: 0, pod: 4, ms: 6_000 };
    let events = vec![
        (60_000, away),
        (60_100, Fate::Delete { set: 0, pod: 4 }),
        (63_000, Fate::Forget { set: 0 }),
        (80_000, Fate::DeleteAll { set: 0 }),
    ];
    for family in Family::ALL {
        let schedule = Schedule { seed: 1, config: Config::usual(family), events: events.clone() };
        assert_eq!(run(&schedule, None, Trace::Silent).violation, None);
        let broken = run(&schedule, Some(Mutation::ForgottenHidden), Trace::Silent).violation;
        let caught = broken.is_some_and(|v| v.invariant == Invariant::Forgotten);
        assert!(caught, "{family:?}");
    }
}

#[test]
fn an_answer_that_never_comes() {
    caught(Mutation::LoseFacts, Invariant::EndlessStep);
}

#[test]
fn two_addresses_the_wrong_way_round() {
    // Most heal: a member that finds somebody else at an address says so.
    caught_within(5 * SEEDS, Mutation::AddressesSwapped, Invariant::LostWrite);
}

#[test]
fn a_member_that_nobody_is_told_of() {
    caught(Mutation::EntryHidden, Invariant::Stuck);
}
