//! `e2e`: the cases of [`mooring_lab::e2e`] on a test Kubernetes of their own.

use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::prelude::*;
use mooring_lab::e2e;
use mooring_lab::ground::{Engine, Ground};
use mooring_lab::report::{Report, Rule};
use mooring_lab::stage::{self, Teller};

const USAGE: &str = "usage: e2e [--instance NAME] [--as-is] [--keep] [--list] [WORD]...";

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
    let (mut instance, mut words) = ("e2e".to_owned(), Vec::new());
    let (mut as_is, mut keep) = (false, false);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("instance") => instance = args.value()?.string()?,
            Long("as-is") => as_is = true,
            Long("keep") => keep = true,
            Long("list") => {
                e2e::all().iter().for_each(|case| println!("{}", case.name));
                return Ok(true);
            }
            Short('h') | Long("help") => {
                println!("{USAGE}");
                return Ok(true);
            }
            Value(word) => words.push(word.string()?),
            _ => bail!("{}; {USAGE}", arg.unexpected()),
        }
    }
    let mut ground = Ground::find(&instance)?;
    let tell = Teller::new();
    if as_is {
        ground.learn_servers()?;
        stage::wait_for_mooring(&ground)?;
    } else {
        stage::set(&mut ground, &Engine::ALL, &tell)?;
    }
    let mut report = Report::new("e2e");
    let failed = e2e::run(&ground, &mut report, &words);
    report.seconds("run.seconds", "the whole run", tell.seconds(), Rule::Told);
    report.write(&ground.root)?;
    if let (Some(instance), false, 0) = (&ground.instance, keep || as_is, failed) {
        ground.script("tests/kube/down", &[instance])?;
    }
    Ok(failed == 0)
}
