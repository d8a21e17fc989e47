//! The clock and what is to happen.
//!
//! Guarantees: events come in the order of their time, and those of one time in the order in which
//! they were put in, so that a run depends on its seed alone.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Events by time, in milliseconds.
#[derive(Debug)]
pub struct Queue<E> {
    now: u64,
    sequence: u64,
    heap: BinaryHeap<Entry<E>>,
}

#[derive(Debug)]
struct Entry<E> {
    at: u64,
    sequence: u64,
    event: E,
}

// === impl Queue ===

impl<E> Queue<E> {
    /// An empty one, at time 0.
    pub fn new() -> Self {
        Self { now: 0, sequence: 0, heap: BinaryHeap::new() }
    }

    /// The time of the event that came last.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Puts an event in, `delay` milliseconds from now.
    pub fn after(&mut self, delay: u64, event: E) {
        self.sequence += 1;
        self.heap.push(Entry { at: self.now + delay, sequence: self.sequence, event });
    }

    /// The next event up to then; without one the clock is at that time.
    pub fn pop_until(&mut self, until: u64) -> Option<E> {
        if self.heap.peek().is_some_and(|next| next.at <= until) {
            return self.pop();
        }
        self.now = until;
        None
    }

    /// The next event; the clock is then at its time.
    pub fn pop(&mut self) -> Option<E> {
        let Entry { at, event, .. } = self.heap.pop()?;
        self.now = at;
        Some(event)
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Entry ===

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first.
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl<E> Eq for Entry<E> {}
