//! Runs schedules until one fails, or for so many, or for so long.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench::{Row, Rule, record};
use sim::generate;
use sim::invariants::Counts;
use sim::run::{Failure, run};
use sim::shrink::shrink;
use sim::trace::Trace;

const USAGE: &str = "usage: soak [--schedules N | --seconds N] [--from SEED] [--go-on]
       soak --seed N [--quiet] [--whole]";

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    schedules: Option<u64>,
    seconds: Option<u64>,
    from: u64,
    seed: Option<u64>,
    go_on: bool,
    quiet: bool,
    whole: bool,
}

fn main() -> ExitCode {
    let asked = match Asked::read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("soak: {why}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let result = match asked.seed {
        Some(seed) => replay(seed, asked),
        None => soak(asked),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("soak: {why}");
            ExitCode::FAILURE
        }
    }
}

// === impl Asked ===

impl Asked {
    fn read(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self::default();
        let mut words = words;
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words.next().and_then(|n| n.parse().ok());
                value.ok_or_else(|| format!("{word} takes a number"))
            };
            match word.as_str() {
                "--schedules" => asked.schedules = Some(number()?),
                "--seconds" => asked.seconds = Some(number()?),
                "--from" => asked.from = number()?,
                "--seed" => asked.seed = Some(number()?),
                "--go-on" => asked.go_on = true,
                "--quiet" => asked.quiet = true,
                "--whole" => asked.whole = true,
                other => return Err(format!("{other} is not known")),
            }
        }
        Ok(asked)
    }
}

/// One schedule, with everything that happens in it; of one that fails, what is left of it when it
/// is cut down.
fn replay(seed: u64, asked: Asked) -> Result<bool, String> {
    let schedule = generate::schedule(seed);
    let trace = if asked.quiet { Trace::Silent } else { Trace::Shown };
    let outcome = run(&schedule, None, Trace::Silent);
    let Some(violation) = outcome.violation else {
        run(&schedule, None, trace);
        println!("{schedule}all holds: {:?}", outcome.counts);
        return Ok(true);
    };
    let whole = Failure { schedule, violation };
    let smaller = if asked.whole { whole.clone() } else { shrink(whole.clone(), None, 400) };
    run(&smaller.schedule, None, trace);
    println!("{}{}\n", whole.schedule, whole.violation);
    println!("cut down:\n{}{}", smaller.schedule, smaller.violation);
    Ok(false)
}

/// Many schedules.
fn soak(asked: Asked) -> Result<bool, String> {
    let began = Instant::now();
    let mut counts = Counts::default();
    let (mut done, mut failed) = (0u64, 0u64);
    let limit = Duration::from_secs(asked.seconds.unwrap_or(u64::MAX >> 20));
    let schedules =
        asked.schedules.unwrap_or(if asked.seconds.is_some() { u64::MAX } else { 10_000 });
    let mut told = Instant::now();
    while done < schedules && began.elapsed() < limit {
        let schedule = generate::schedule(asked.from + done);
        let outcome = run(&schedule, None, Trace::Silent);
        done += 1;
        counts.add(&outcome.counts);
        if let Some(violation) = outcome.violation {
            failed += 1;
            let whole = Failure { schedule, violation };
            if asked.quiet {
                println!("seed {}: {}", whole.schedule.seed, whole.violation);
            } else {
                let smaller = shrink(whole, None, 200);
                println!("{}{}\n", smaller.schedule, smaller.violation);
            }
            if !asked.go_on {
                break;
            }
        }
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            println!("{done} schedules, {failed} failed");
        }
    }
    let rate = done as f64 / began.elapsed().as_secs_f64();
    println!(
        "{done} schedules, {} events, {rate:.0} schedules a second; {failed} failed\n{counts:#?}",
        counts.events
    );
    let row = |id: &str, what: &str, value: f64, rule| Row {
        id: format!("simulator.{id}"),
        what: what.to_owned(),
        value,
        unit: "",
        rule,
    };
    let rows = [
        row("schedules_per_second", "schedules a second", rate.round(), Rule::Told),
        row("failed", "schedules that failed", failed as f64, Rule::Exactly(0.0)),
    ];
    let path = record(Path::new("."), "core", &rows)?;
    println!("  in {}", path.display());
    Ok(failed == 0)
}
