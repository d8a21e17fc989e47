//! Slots in units: half a shard's range of the first plan is moved and owned as one.
//!
//! Guarantees: units cover all slots once; a set of units prints as the ranges that engines write.

use std::fmt;

use cluster::plan::Plan;
use cluster::slot::SlotRange;

/// The units of a world.
#[derive(Clone, Debug)]
pub struct Units {
    ranges: Vec<SlotRange>,
}

/// Some of them.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct UnitSet(pub u32);

/// One of them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Unit(pub u8);

// === impl Units ===

impl Units {
    /// Two units for each shard.
    pub fn new(shards: u32) -> Self {
        let plan = Plan {
            salt: String::new(),
            shards,
            replicas_per_shard: 0,
            generation: 1,
            sets: Vec::new(),
        };
        let mut ranges = Vec::new();
        for shard in 0..shards {
            let Some(range) = plan.slots(shard) else { continue };
            let (start, end) = (range.start().number(), range.end().number());
            let middle = start + (end - start) / 2;
            ranges.extend(SlotRange::new(start, middle));
            ranges.extend(SlotRange::new(middle + 1, end));
        }
        Self { ranges }
    }

    /// How many there are.
    pub fn count(&self) -> u8 {
        self.ranges.len() as u8
    }

    /// All of them.
    pub fn all(&self) -> UnitSet {
        UnitSet((1u32 << self.ranges.len()) - 1)
    }

    /// Each one.
    pub fn each(&self) -> impl Iterator<Item = Unit> + use<> {
        (0..self.count()).map(Unit)
    }

    /// The units that begin in these ranges.
    pub fn of(&self, ranges: &[SlotRange]) -> UnitSet {
        let mut set = UnitSet::default();
        for unit in self.each() {
            let start = self.ranges[usize::from(unit.0)].start();
            if ranges.iter().any(|r| r.start() <= start && start <= r.end()) {
                set.insert(unit);
            }
        }
        set
    }

    /// As ranges, neighbours joined.
    pub fn ranges(&self, set: UnitSet) -> Vec<SlotRange> {
        let mut out: Vec<SlotRange> = Vec::new();
        for unit in set.each() {
            let range = self.ranges[usize::from(unit.0)];
            let before = out.last().filter(|l| l.end().number() + 1 == range.start().number());
            let joined = before.map(|l| SlotRange::new(l.start().number(), range.end().number()));
            match joined {
                Some(Ok(joined)) => {
                    out.pop();
                    out.push(joined);
                }
                _ => out.push(range),
            }
        }
        out
    }
}

// === impl UnitSet ===

impl UnitSet {
    /// Adds one.
    pub fn insert(&mut self, unit: Unit) {
        self.0 |= 1 << unit.0;
    }

    /// Takes others away.
    pub fn remove(&mut self, others: Self) {
        self.0 &= !others.0;
    }

    /// Adds others.
    pub fn add(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// Those in both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it is one of them.
    pub fn has(self, unit: Unit) -> bool {
        self.0 >> unit.0 & 1 == 1
    }

    /// Each one.
    pub fn each(self) -> impl Iterator<Item = Unit> {
        (0..32).map(Unit).filter(move |unit| self.has(*unit))
    }
}

impl fmt::Debug for UnitSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.each().map(|unit| unit.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_print_as_the_plans_ranges() {
        let units = Units::new(3);
        let all: Vec<_> = units.ranges(UnitSet(0b11)).iter().map(ToString::to_string).collect();
        assert_eq!(all, ["0-5461"]);
        for set in (0..64).map(UnitSet) {
            assert_eq!(units.of(&units.ranges(set)), set);
        }
    }
}
