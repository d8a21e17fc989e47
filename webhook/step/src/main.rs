//! The step: what runs in a member's pod before its server starts, after it, and before it stops.
//!
//! It gathers facts and carries out actions; every decision about the cluster is made by the pure
//! crate `cluster`. Exit codes: 0, go on; 1, one sentence on standard error says what is wrong and
//! what to do; 2, the command line is not one of its own.

use std::process::ExitCode;

mod address;
mod disk;
#[cfg(test)]
mod fake;
mod guard;
mod hook;
mod init;
mod inspect;
mod join;
mod post_start;
mod pre_stop;
mod redis;
mod registry;
mod secret;
mod settings;
mod succeed;

const USAGE: &str = "\
usage: step init
       step post-start [--sleep SECONDS] [-- COMMAND ...]
       step pre-stop [--sleep SECONDS] [-- COMMAND ...]
       step guard
       step --version";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let first = arguments.first().and_then(|a| a.to_str()).unwrap_or_default();
    let result = match first {
        "init" if arguments.len() == 1 => init::run(),
        "post-start" | "pre-stop" => match hook::Arguments::parse(&arguments[1..]) {
            Ok(user) if first == "post-start" => post_start::run(&user),
            Ok(user) => pre_stop::run(&user),
            Err(why) => return usage(&why),
        },
        "guard" if arguments.len() == 1 => guard::run(),
        "--version" => {
            println!("step {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        _ => return usage("no such command"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("mooring: {why}");
            ExitCode::FAILURE
        }
    }
}

fn usage(why: &str) -> ExitCode {
    eprintln!("step: {why}\n{USAGE}");
    ExitCode::from(2)
}
