//! Runs schedules until one fails, or for so many, or for so long; or one of them, with a trace.

use std::process::ExitCode;
use std::time::Duration;

use sim::generate::{self, Load};
use sim::mutation::Mutation;
use sim::run::{Failure, run};
use sim::shrink::shrink;
use sim::soak::{Asked, soak};
use sim::trace::Trace;

const USAGE: &str = "usage: soak [--schedules N] [--seconds N] [--from SEED] [--go-on] [--quiet]
       soak --seed N [--quiet] [--whole]
  either with --one, for one accident in each schedule,
  or with --mutation NAME, for a rule that is broken on purpose";

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Words {
    schedules: Option<u64>,
    seconds: Option<u64>,
    from: u64,
    seed: Option<u64>,
    go_on: bool,
    quiet: bool,
    whole: bool,
    load: Load,
    mutation: Option<Mutation>,
}

fn main() -> ExitCode {
    let words = match Words::read(std::env::args().skip(1)) {
        Ok(words) => words,
        Err(why) => {
            eprintln!("soak: {why}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let holds = match words.seed {
        Some(seed) => replay(seed, words),
        None => all(words),
    };
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// === impl Words ===

impl Words {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} takes a value"));
            let mut number = || -> Result<u64, String> {
                value()?.parse().map_err(|_| format!("{word} takes a number"))
            };
            match word.as_str() {
                "--schedules" => asked.schedules = Some(number()?),
                "--seconds" => asked.seconds = Some(number()?),
                "--from" => asked.from = number()?,
                "--seed" => asked.seed = Some(number()?),
                "--go-on" => asked.go_on = true,
                "--quiet" => asked.quiet = true,
                "--whole" => asked.whole = true,
                "--one" => asked.load = Load::One,
                "--mutation" => asked.mutation = Some(mutation(&value()?)?),
                other => return Err(format!("{other} is not known")),
            }
        }
        Ok(asked)
    }
}

fn mutation(name: &str) -> Result<Mutation, String> {
    let found = Mutation::ALL.into_iter().find(|m| format!("{m:?}") == name);
    found.ok_or_else(|| format!("there is no mutation {name}: {:?}", Mutation::ALL))
}

/// One schedule, with everything that happens in it; of one that fails, what is left of it when it
/// is cut down.
fn replay(seed: u64, words: Words) -> bool {
    let schedule = generate::schedule(seed, words.load);
    let trace = if words.quiet { Trace::Silent } else { Trace::Shown };
    let outcome = run(&schedule, words.mutation, Trace::Silent);
    let Some(violation) = outcome.violation else {
        run(&schedule, words.mutation, trace);
        println!("{schedule}all holds: {:?}", outcome.counts);
        return true;
    };
    let whole = Failure { schedule, violation };
    let smaller =
        if words.whole { whole.clone() } else { shrink(whole.clone(), words.mutation, 400) };
    run(&smaller.schedule, words.mutation, trace);
    println!("{whole}\ncut down:\n{smaller}");
    false
}

/// Many schedules.
fn all(words: Words) -> bool {
    let by_default = if words.seconds.is_some() { u64::MAX } else { 10_000 };
    let asked = Asked {
        from: words.from,
        schedules: words.schedules.unwrap_or(by_default),
        time: words.seconds.map_or(Duration::MAX, Duration::from_secs),
        go_on: words.go_on,
        load: words.load,
        mutation: words.mutation,
    };
    let soaked = soak(asked, |failure| {
        let seed = failure.schedule.seed;
        if words.quiet {
            println!("seed {seed}: {}", failure.violation);
        } else {
            println!("{}", shrink(failure.clone(), words.mutation, 200));
            println!("repeat it: make soak SEED={seed}\n");
        }
    });
    println!("{:#?}", soaked.counts);
    println!(
        "{} schedules, {} events, {:.0} schedules a second; {} failed",
        soaked.schedules,
        soaked.counts.events,
        soaked.rate(),
        soaked.failures.len()
    );
    soaked.failures.is_empty()
}
