//! When a slot took writes and when it did not: pure arithmetic over what a probe saw.
//!
//! Guarantees: a gap is a span between two acknowledged writes of one slot in which a write failed,
//! or that is longer than [`STALL`] (a probe that stood still proves nothing). A slot's time of
//! recovery is the end of its last gap, so an early success that breaks again never counts.

use serde::{Deserialize, Serialize};

/// Between two acknowledged writes this much is taken for a gap, whatever the reason.
pub const STALL: u64 = 1_000_000;

/// A point in time: microseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct At(pub u64);

/// An acknowledged write: key number `n`, and when the answer was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ack {
    /// Number of the key.
    pub n: u64,
    /// When.
    pub at: At,
}

/// What a probe saw of one slot, in order of time.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    acks: Vec<Ack>,
    failures: Vec<At>,
}

/// A span without acknowledged writes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Gap {
    /// The last acknowledged write before it; none if there was none.
    pub from: Option<At>,
    /// The first one after it; none while it lasts.
    pub until: Option<At>,
}

/// The gaps of one or more slots since a mark, in short.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Gaps {
    /// How many.
    pub count: u64,
    /// How many last still.
    pub open: u64,
    /// When the last one ended, of those that ended.
    pub last_end: Option<At>,
    /// The longest, in microseconds, as far as it lies after the mark.
    pub longest: u64,
}

// === impl At ===

impl At {
    /// Seconds from `earlier` to this; negative if it is not earlier.
    pub fn since(self, earlier: Self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "seconds of one run")]
        let micros = self.0.abs_diff(earlier.0) as f64 / 1e6;
        if self < earlier { -micros } else { micros }
    }
}

// === impl Timeline ===

impl Timeline {
    /// A write was acknowledged.
    pub fn acknowledge(&mut self, n: u64, at: At) {
        self.acks.push(Ack { n, at });
    }

    /// A write failed: an error, a broken connection, or no answer in time.
    pub fn fail(&mut self, at: At) {
        self.failures.push(at);
    }

    /// All acknowledged writes.
    pub fn acks(&self) -> &[Ack] {
        &self.acks
    }

    /// How many writes failed.
    pub fn failures(&self) -> usize {
        self.failures.len()
    }

    /// The gaps that end after `since`, the one at the end (if it lasts at `now`) included.
    pub fn gaps(&self, since: At, now: At) -> Vec<Gap> {
        let first = self.acks.partition_point(|ack| ack.at <= since);
        let mut before = first.checked_sub(1).and_then(|i| self.acks.get(i)).map(|ack| ack.at);
        let mut gaps = Vec::new();
        for ack in self.acks.iter().skip(first) {
            if self.interrupted(before, ack.at) {
                gaps.push(Gap { from: before, until: Some(ack.at) });
            }
            before = Some(ack.at);
        }
        if self.interrupted(before, now) {
            gaps.push(Gap { from: before, until: None });
        }
        gaps
    }

    fn interrupted(&self, from: Option<At>, until: At) -> bool {
        let start = from.unwrap_or_default();
        let next = self.failures.partition_point(|at| *at <= start);
        let failed = self.failures.get(next).is_some_and(|at| *at <= until);
        failed || from.is_some_and(|from| until.0.saturating_sub(from.0) > STALL)
    }
}

// === impl Gaps ===

impl Gaps {
    /// The gaps of all these slots together.
    pub fn of<'a>(slots: impl IntoIterator<Item = &'a Timeline>, since: At, now: At) -> Self {
        let mut all = Self::default();
        for gap in slots.into_iter().flat_map(|slot| slot.gaps(since, now)) {
            all.count += 1;
            all.open += u64::from(gap.until.is_none());
            all.last_end = all.last_end.max(gap.until);
            let from = gap.from.unwrap_or_default().max(since);
            all.longest = all.longest.max(gap.until.unwrap_or(now).0.saturating_sub(from.0));
        }
        all
    }

    /// For how many microseconds every slot has taken every write since the mark; 0 while one does
    /// not.
    pub fn calm(&self, since: At, now: At) -> u64 {
        if self.open > 0 {
            return 0;
        }
        now.0.saturating_sub(self.last_end.unwrap_or_default().max(since).0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `a` is an acknowledged write, `x` a failed one, `.` neither; one letter each 100 ms.
    fn timeline(text: &str) -> Timeline {
        let mut timeline = Timeline::default();
        for (i, letter) in (1u64..).zip(text.chars()) {
            match letter {
                'a' => timeline.acknowledge(i, At(i * 100_000)),
                'x' => timeline.fail(At(i * 100_000)),
                _ => {}
            }
        }
        timeline
    }

    fn at(i: u64) -> At {
        At(i * 100_000)
    }

    #[test]
    fn no_gap_without_failures() {
        assert_eq!(timeline("aaaaaa").gaps(at(0), at(7)), []);
        assert_eq!(Gaps::of([&timeline("aaaa")], at(1), at(5)).calm(at(1), at(5)), 400_000);
    }

    #[test]
    fn the_last_gap_counts() {
        let slot = timeline("aaxxaaxa");
        let gap = |from, until| Gap { from: Some(at(from)), until: Some(at(until)) };
        assert_eq!(slot.gaps(at(0), at(9)), [gap(2, 5), gap(6, 8)]);
        assert_eq!(slot.gaps(at(5), at(9)), [gap(6, 8)]);
        let gaps = Gaps::of([&slot], at(3), at(9));
        assert_eq!(gaps, Gaps { count: 2, open: 0, last_end: Some(at(8)), longest: 200_000 });
    }

    #[test]
    fn a_gap_that_lasts_is_no_calm() {
        let (well, broken) = (timeline("aaaaa"), timeline("aaxxx"));
        let gaps = Gaps::of([&well, &broken], at(0), at(6));
        assert_eq!((gaps.open, gaps.calm(at(0), at(6))), (1, 0));
        assert_eq!(gaps.longest, 400_000);
    }

    #[test]
    fn before_the_first_write_is_a_gap() {
        assert_eq!(timeline("xxxa").gaps(at(0), at(5)), [Gap { from: None, until: Some(at(4)) }]);
        // A slot that nobody has tried yet is not known to take writes, but nothing failed either.
        assert_eq!(timeline("").gaps(at(0), at(5)), []);
    }

    #[test]
    fn a_probe_that_stood_still_proves_nothing() {
        let slot = timeline("a............a");
        assert_eq!(slot.gaps(at(0), at(14)).len(), 1);
        assert_eq!(timeline("a").gaps(at(0), at(14)), [Gap { from: Some(at(1)), until: None }]);
    }

    #[test]
    fn times_are_signed() {
        assert!((At(1_500_000).since(At(0)) - 1.5).abs() < 1e-9);
        assert!((At(0).since(At(1_500_000)) + 1.5).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn after_the_last_gap_every_write_is_acknowledged(text in "[ax.]{0,60}") {
            let slot = timeline(&text);
            let now = at(text.len() as u64 + 1);
            let gaps = Gaps::of([&slot], at(0), now);
            let end = gaps.last_end.unwrap_or(at(0));
            let failed_later = text.char_indices().any(|(i, c)| c == 'x' && at(i as u64 + 1) > end);
            prop_assert!(!failed_later || gaps.open == 1);
            prop_assert!(gaps.calm(at(0), now) <= now.0);
        }
    }
}
