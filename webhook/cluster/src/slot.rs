//! Hash slots: 16384 of them, and sets of them as the engines write them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many hash slots a cluster has.
pub const SLOTS: u16 = 16384;

/// One hash slot, below [`SLOTS`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Slot(u16);

/// Slots from `start` to `end`, both included; `start <= end`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(into = "(u16, u16)", try_from = "(u16, u16)")]
pub struct SlotRange {
    start: Slot,
    end: Slot,
}

/// The number is not a slot, or the range runs backwards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SlotError;

// === impl Slot ===

impl Slot {
    /// The slot of that number.
    pub fn new(n: u16) -> Result<Self, SlotError> {
        if n < SLOTS { Ok(Self(n)) } else { Err(SlotError) }
    }

    /// Its number.
    pub fn number(self) -> u16 {
        self.0
    }
}

// === impl SlotRange ===

impl SlotRange {
    /// The range from `start` to `end`, both included.
    pub fn new(start: u16, end: u16) -> Result<Self, SlotError> {
        let range = Self { start: Slot::new(start)?, end: Slot::new(end)? };
        if start <= end { Ok(range) } else { Err(SlotError) }
    }

    /// Reads `N` or `A-B` as nodes.conf and CLUSTER NODES write them.
    pub fn parse(text: &str) -> Result<Self, SlotError> {
        let number = |s: &str| -> Result<u16, SlotError> {
            let plain = !s.is_empty() && s.len() <= 5 && s.bytes().all(|b| b.is_ascii_digit());
            if plain { s.parse().map_err(|_| SlotError) } else { Err(SlotError) }
        };
        match text.split_once('-') {
            Some((start, end)) => Self::new(number(start)?, number(end)?),
            None => number(text).and_then(|n| Self::new(n, n)),
        }
    }

    /// The first slot.
    pub fn start(self) -> Slot {
        self.start
    }

    /// The last slot.
    pub fn end(self) -> Slot {
        self.end
    }

    /// How many slots it holds; at least 1.
    pub fn count(self) -> u32 {
        u32::from(self.end.0 - self.start.0) + 1
    }

    /// Whether the two have a slot in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// Whether two owners have a slot in common.
pub fn overlap(some: &[SlotRange], others: &[SlotRange]) -> bool {
    some.iter().any(|range| others.iter().any(|other| other.overlaps(*range)))
}

/// Whether an owner has all of these. Both are as the engines write them: no range goes on where
/// another one ends.
pub fn covers(all: &[SlotRange], part: &[SlotRange]) -> bool {
    part.iter().all(|p| all.iter().any(|s| s.start <= p.start && p.end <= s.end))
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.start == self.end {
            write!(f, "{}", self.start.0)
        } else {
            write!(f, "{}-{}", self.start.0, self.end.0)
        }
    }
}

impl From<SlotRange> for (u16, u16) {
    fn from(range: SlotRange) -> Self {
        (range.start.0, range.end.0)
    }
}

impl TryFrom<(u16, u16)> for SlotRange {
    type Error = SlotError;

    fn try_from((start, end): (u16, u16)) -> Result<Self, SlotError> {
        Self::new(start, end)
    }
}

// === impl SlotError ===

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("slots are N or A-B with 0 <= A <= B <= 16383")
    }
}

impl std::error::Error for SlotError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_as_they_print() {
        for text in ["0", "16383", "0-16383", "5461-10922"] {
            assert_eq!(SlotRange::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "-", "1-", "-1", "16384", "2-1", "0-16384", "+1", "000001", "1-2-3"] {
            assert_eq!(SlotRange::parse(bad), Err(SlotError), "{bad}");
        }
    }

    #[test]
    fn slots_of_two_owners_are_compared() {
        let slots = |text: &str| -> Vec<SlotRange> {
            text.split_whitespace().map(|range| SlotRange::parse(range).unwrap()).collect()
        };
        for (all, part, shared, whole) in [
            ("0-9 20-29", "20", true, true),
            ("0-9 20-29", "5-9 25-29", true, true),
            ("0-9 20-29", "9-20", true, false),
            ("0-9", "10", false, false),
            ("0-9", "", false, true),
            ("", "0", false, false),
        ] {
            let (all, part) = (slots(all), slots(part));
            assert_eq!((overlap(&all, &part), covers(&all, &part)), (shared, whole));
            assert_eq!(overlap(&part, &all), shared);
        }
    }
}
