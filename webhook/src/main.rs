//! `mooring`: the webhook and its command line.

use clap::{Parser, Subcommand, ValueEnum};
use mooring::{cli, serve};
use tracing_subscriber::EnvFilter;

/// Keeps Redis and Valkey Cluster StatefulSets alive while pod IPs change.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How logs are written.
    #[arg(long, global = true, env = "MOORING_LOG_FORMAT", default_value = "plain")]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves admission and registry.
    Serve(serve::Options),
    /// Injects the manifests on standard input as the webhook would.
    Inject(cli::InjectOptions),
    /// Says of manifests whether they would be injected, and why not.
    Explain(cli::ExplainOptions),
    /// Prints the NetworkPolicy of the StatefulSets on standard input.
    Isolation(cli::IsolationOptions),
    /// Makes a replica the master of its shard whose master does not come back.
    Promote(cli::Promote),
    /// Keeps a node away that was forgotten while a member was down.
    Forget(cli::Forget),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Json,
    Plain,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("MOORING_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Json => logs.json().flatten_event(true).init(),
        LogFormat::Plain => logs.init(),
    }
    match arguments.command {
        Command::Serve(options) => block_on(serve::run(options)),
        Command::Promote(options) => block_on(cli::promote(&options)),
        Command::Forget(options) => block_on(cli::forget(&options)),
        Command::Inject(options) => cli::inject(&options, std::io::stdin(), std::io::stdout()),
        Command::Isolation(options) => {
            cli::isolation(&options, std::io::stdin(), std::io::stdout())
        }
        Command::Explain(options) => cli::explain(&options, std::io::stdin(), std::io::stdout()),
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // Before the first TLS connection, else rustls does not know whose cryptography to use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
