//! Cuts a failing schedule down to the events that it takes.
//!
//! Guarantees: what is left fails by the same invariant.

use crate::mutation::Mutation;
use crate::run::{Failure, run};
use crate::schedule::Schedule;
use crate::trace::Trace;

/// The smaller failure; at most `runs` schedules are tried.
pub fn shrink(mut failure: Failure, mutation: Option<Mutation>, mut runs: u32) -> Failure {
    loop {
        let before = failure.schedule.clone();
        for smaller in candidates(&before) {
            if runs == 0 {
                return failure;
            }
            runs -= 1;
            let violation = run(&smaller, mutation, Trace::Silent).violation;
            let same = violation.filter(|v| v.invariant == failure.violation.invariant);
            if let Some(violation) = same {
                failure = Failure { schedule: smaller, violation };
                break;
            }
        }
        if failure.schedule == before {
            return failure;
        }
    }
}

/// Without an event, then with a shorter one, then with a shorter pause.
fn candidates(schedule: &Schedule) -> impl Iterator<Item = Schedule> + '_ {
    let count = schedule.events.len();
    let without = (0..count).rev().map(|i| {
        let mut smaller = schedule.clone();
        smaller.events.remove(i);
        smaller
    });
    let shorter = (0..count).filter_map(|i| {
        let mut smaller = schedule.clone();
        let fate = &mut smaller.events[i].1;
        let lasts = fate.lasts();
        *fate = fate.lasting(lasts / 2);
        (lasts > 1000).then_some(smaller)
    });
    let sooner = (1..count).filter_map(|i| {
        let mut smaller = schedule.clone();
        let pause = smaller.events[i].0 - smaller.events[i - 1].0;
        smaller.events[i..].iter_mut().for_each(|(at, _)| *at -= pause / 2);
        (pause > 200).then_some(smaller)
    });
    without.chain(shorter).chain(sooner)
}
