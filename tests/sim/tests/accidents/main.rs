//! The model against real servers: accidents that were measured on thirteen versions of Redis and
//! Valkey, replayed in the model without Mooring's part. Each has to end as it did there.
//!
//! Times are those of the measurements, with what the model's clock leaves open on both sides: its
//! servers look every 100 ms and messages take 1 to 3 ms.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use sim::engine::Family;

mod forces;
mod lab;
mod outages;
mod strangers;

/// All families, one after the other.
fn each(test: impl Fn(Family)) {
    Family::ALL.into_iter().for_each(test);
}

/// A measured range, with the tolerance.
#[track_caller]
fn took(time: u64, from: u64, to: u64) {
    const TOLERANCE: u64 = 200;
    let range = from.saturating_sub(TOLERANCE)..=to + TOLERANCE;
    assert!(range.contains(&time), "{time} ms, measured were {from} to {to}");
}
