//! `e2e`: the cases of [`mooring_lab::e2e`] on a test Kubernetes of their own.

use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::prelude::*;
use mooring_lab::e2e::{self, Suite};
use mooring_lab::ground::{Engine, Ground};
use mooring_lab::report::{Report, Rule};
use mooring_lab::stage::{self, Teller};

const USAGE: &str = "usage: e2e [--safety] [--instance NAME] [--as-is] [--keep] [--list] [WORD]...";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let (mut suite, mut instance, mut words) = (Suite::default(), None, Vec::new());
    let (mut as_is, mut keep, mut list) = (false, false, false);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("safety") => suite = Suite::Safety,
            Long("instance") => instance = Some(args.value()?.string()?),
            Long("as-is") => as_is = true,
            Long("keep") => keep = true,
            Long("list") => list = true,
            Short('h') | Long("help") => {
                println!("{USAGE}");
                return Ok(true);
            }
            Value(word) => words.push(word.string()?),
            _ => bail!("{}; {USAGE}", arg.unexpected()),
        }
    }
    if list {
        suite.cases().iter().for_each(|case| println!("{}", case.name));
        return Ok(true);
    }
    let mut ground = Ground::find(instance.as_deref().unwrap_or(suite.name()))?;
    let tell = Teller::new();
    if as_is {
        ground.learn_servers()?;
        stage::wait_for_mooring(&ground)?;
    } else {
        stage::set(&mut ground, &Engine::ALL, &tell)?;
    }
    let mut report = Report::new(suite.name());
    let failed = e2e::run(&ground, &mut report, suite, &words);
    report.seconds("run.seconds", "the whole run", tell.seconds(), Rule::Told);
    report.write(&ground.root)?;
    if let (Some(instance), false, 0) = (&ground.instance, keep || as_is, failed) {
        ground.script("tests/kube/down", &[instance])?;
    }
    Ok(failed == 0)
}
