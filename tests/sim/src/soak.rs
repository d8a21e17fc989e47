//! Many schedules, on all processors.
//!
//! Guarantees: seeds are taken in their order, each once; which ones fail does not depend on how
//! many processors there are.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::generate::{self, Load};
use crate::invariants::Counts;
use crate::mutation::Mutation;
use crate::run::{Failure, run};
use crate::trace::Trace;

/// How many schedules are to be run.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The first seed.
    pub from: u64,
    /// So many at most.
    pub schedules: u64,
    /// For so long at most.
    pub time: Duration,
    /// Whether those after a failure are run, too.
    pub go_on: bool,
    /// How much goes wrong in each.
    pub load: Load,
    /// A rule that is broken on purpose.
    pub mutation: Option<Mutation>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Soaked {
    /// How many were run.
    pub schedules: u64,
    /// How long it took.
    pub time: Duration,
    /// What happened in them.
    pub counts: Counts,
    /// Those that failed, by seed.
    pub failures: Vec<Failure>,
}

/// Runs them; `tell` hears of every failure at once.
pub fn soak(asked: Asked, tell: impl Fn(&Failure) + Sync) -> Soaked {
    let began = Instant::now();
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let all = Mutex::new(Soaked::default());
    let work = || {
        let mut own = Soaked::default();
        while !over.load(Ordering::Relaxed) && began.elapsed() < asked.time {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= asked.schedules {
                break;
            }
            let schedule = generate::schedule(asked.from + number, asked.load);
            let outcome = run(&schedule, asked.mutation, Trace::Silent);
            own.schedules += 1;
            own.counts.add(&outcome.counts);
            if let Some(violation) = outcome.violation {
                let failure = Failure { schedule, violation };
                tell(&failure);
                own.failures.push(failure);
                over.fetch_or(!asked.go_on, Ordering::Relaxed);
            }
        }
        if let Ok(mut all) = all.lock() {
            all.schedules += own.schedules;
            all.counts.add(&own.counts);
            all.failures.append(&mut own.failures);
        }
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(work);
        }
    });
    let mut soaked = all.into_inner().unwrap_or_default();
    soaked.time = began.elapsed();
    soaked.failures.sort_by_key(|failure| failure.schedule.seed);
    soaked
}

// === impl Asked ===

impl Asked {
    /// So many from a seed on, until one fails.
    pub fn schedules(from: u64, schedules: u64) -> Self {
        let load = Load::default();
        Self { from, schedules, time: Duration::MAX, go_on: false, load, mutation: None }
    }
}

// === impl Soaked ===

impl Soaked {
    /// Schedules a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn rate(&self) -> f64 {
        self.schedules as f64 / self.time.as_secs_f64().max(0.001)
    }
}
