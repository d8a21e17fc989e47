//! What the client pod answers to the driver, as JSON.

use serde::{Deserialize, Serialize};

use crate::timeline::{At, Gaps};

/// `status` and `wait`: what the probes saw since a mark.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Status {
    /// The client's clock.
    pub now: At,
    /// Since when.
    pub since: At,
    /// Writes acknowledged since the client started, of all slots.
    pub acknowledged: u64,
    /// Writes that failed since then.
    pub failed: u64,
    /// Slots that were never written.
    pub unwritten: u64,
    /// The gaps of all probe slots together.
    pub gaps: Gaps,
    /// Microseconds for which all slots have taken all writes.
    pub calm: u64,
    /// The gaps as an ordinary cluster client saw them (the redis crate's, by the Service's name).
    pub ordinary: Gaps,
    /// Each slot.
    pub slots: Vec<Slot>,
    /// Nodes to which there is a connection.
    pub connected: Vec<String>,
    /// The last error, for people.
    pub last_error: String,
}

/// One probe slot.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Slot {
    /// Its number.
    pub slot: u16,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes that failed.
    pub failed: u64,
    /// Its gaps.
    pub gaps: Gaps,
}

/// `verify`: every acknowledged write, read back.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Verified {
    /// How many were read.
    pub acknowledged: u64,
    /// How many of them are gone or have another value.
    pub lost: u64,
    /// Some of the lost keys.
    pub examples: Vec<String>,
}

/// `sweep`: one write in each of the 16384 slots.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Sweep {
    /// Slots that took it.
    pub written: u64,
    /// Slots that did not.
    pub failed: u64,
    /// How long it took, in microseconds.
    pub took: u64,
}

impl Status {
    /// Whether every probe slot has been written, and without interruption for `calm` microseconds.
    pub fn recovered(&self, calm: u64) -> bool {
        self.unwritten == 0 && self.calm >= calm
    }
}
