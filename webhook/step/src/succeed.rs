//! The shell of [`cluster::succession`]: what it asks for is asked of this pod's server, of the
//! other members and of the registry.
//!
//! Guarantees: it decides nothing, never fails the hook, and ends at the deadline; whoever does
//! not answer costs a bounded time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use cluster::planner::{Inspected, Millis};
use cluster::protocol::Report;
use cluster::resp::Reply;
use cluster::server::{Credential, ServerConfig};
use cluster::succession::{Action, Fact, Own, Setup, Succession};

use crate::hook;
use crate::inspect;
use crate::redis::Client;
use crate::registry::Registry;

/// How long another member may take to answer each question.
const TIMEOUT: Duration = Duration::from_millis(500);
/// So often in a row the own server may fail to say what it is.
const FAILURES: u32 = 10;

/// What was said last: nothing is said twice in a row.
#[derive(Debug, Default)]
pub(crate) struct Told(Option<Report>);

/// Makes this server the master of its shard if it has to be.
pub(crate) fn run(
    server: &mut Client,
    config: &ServerConfig,
    registry: &Registry,
    deadline: Instant,
    told: &mut Told,
) {
    let began = Instant::now();
    let millis = |d: Duration| Millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    let now = || millis(began.elapsed());
    let mut machine = Succession::new(Setup {
        node_timeout: node_timeout(server, config),
        deadline: millis(deadline.saturating_duration_since(began)),
    });
    let mut failures = 0;
    loop {
        let fact = match machine.poll(now()) {
            Action::End => return,
            Action::Wait(until) => {
                thread::sleep(Duration::from_millis(until.0.saturating_sub(now().0).min(1_000)));
                continue;
            }
            Action::Look => {
                let own = look(server);
                match &own {
                    Ok(_) => failures = 0,
                    Err(why) => {
                        failures += 1;
                        if failures > FAILURES {
                            eprintln!(
                                "mooring: post-start: the server does not say what it is: {why}"
                            );
                            return;
                        }
                        if let Ok(again) = hook::local(config, Duration::from_secs(1)) {
                            *server = again;
                        }
                    }
                }
                Fact::Looked(own.map(Box::new))
            }
            Action::View => Fact::Viewed(registry.view().map(Box::new).map_err(|e| e.to_string())),
            Action::Inspect(at) => Fact::Inspected(ask_all(at, &config.credentials)),
            Action::Propose(proposal) => {
                println!("mooring: proposing {proposal:?}");
                Fact::Proposed(registry.propose(&proposal).map(Box::new).map_err(|e| e.why))
            }
            Action::Promote(how) => {
                println!("mooring: becoming the master of this shard, by {how:?}");
                if let Err(why) = inspect::promote(server, how) {
                    eprintln!("mooring: post-start: CLUSTER FAILOVER, by {how:?}: {why}");
                }
                continue;
            }
            Action::Report(report) if told.0.as_ref() == Some(&report) => continue,
            Action::Report(report) => {
                println!("mooring: {}: {}", report.reason, report.message);
                if let Err(why) = registry.report(&report) {
                    eprintln!("mooring: post-start: {why}");
                }
                told.0 = Some(report);
                continue;
            }
        };
        machine.observe(now(), fact);
    }
}

/// As the server has it; where it does not say, as its configuration does.
fn node_timeout(server: &mut Client, config: &ServerConfig) -> Millis {
    let said = match server.ask(&["CONFIG", "GET", "cluster-node-timeout"]) {
        Ok(Reply::Array(Some(pair))) => pair.get(1).and_then(Reply::text),
        _ => None,
    };
    Millis(said.and_then(|v| v.parse().ok()).unwrap_or(config.node_timeout_ms))
}

fn look(server: &mut Client) -> Result<Own, String> {
    let nodes = server.text(&["CLUSTER", "NODES"])?;
    let cluster = server.text(&["CLUSTER", "INFO"])?;
    let info = server.text(&["INFO", "server"])? + &server.text(&["INFO", "replication"])?;
    let size = server.ask(&["DBSIZE"])?;
    Own::read(&nodes, &cluster, &info, &size, &server.ask(&["TIME"])?)
}

/// All at once.
fn ask_all(at: BTreeSet<SocketAddr>, credentials: &[Credential]) -> Vec<Inspected> {
    let asked: Vec<_> = at
        .into_iter()
        .map(|at| {
            let credentials = credentials.to_vec();
            thread::spawn(move || inspect::inspect(at, &credentials, TIMEOUT))
        })
        .collect();
    asked.into_iter().map(|a| a.join().unwrap_or(Inspected::Unclear)).collect()
}
