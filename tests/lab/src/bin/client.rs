//! `client serve` writes to a cluster and counts; `client ask QUESTION` asks it; `client noop` ends
//! at once (the init container of the floor).

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;
use mooring_lab::client::{Judge, Options, control};
use tokio::task::LocalSet;

fn main() -> Result<()> {
    let mut args = lexopt::Parser::from_env();
    match args.next()? {
        Some(Value(command)) if command == "serve" => serve(args),
        Some(Value(command)) if command == "ask" => {
            let question = args.value()?.string()?;
            println!("{}", control::ask(&question)?);
            Ok(())
        }
        Some(Value(command)) if command == "noop" => Ok(()),
        _ => bail!(
            "usage: client serve [--service NAME] [--port PORT] [--slots N] (password from the \
             environment, REDIS_PASSWORD), client ask QUESTION, client noop"
        ),
    }
}

fn serve(mut args: lexopt::Parser) -> Result<()> {
    let password = std::env::var("REDIS_PASSWORD").ok().filter(|password| !password.is_empty());
    let mut options = Options { service: "redis".to_owned(), port: 6379, slots: 16, password };
    while let Some(arg) = args.next()? {
        match arg {
            Long("service") => options.service = args.value()?.string()?,
            Long("port") => options.port = args.value()?.parse()?,
            Long("slots") => options.slots = args.value()?.parse()?,
            _ => return Err(arg.unexpected().into()),
        }
    }
    // One thread: the servers need the others.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    LocalSet::new().block_on(&runtime, async { control::serve(Judge::start(options)).await })
}
