//! What `step post-start` does about a missing master, on a real server: the shell of
//! [`cluster::succession`].

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cluster::planner::{Inspected, Millis};
use cluster::succession::{Action, Fact, Own, Setup, Succession};

use crate::client::{self, Client};
use crate::member::Common;
use crate::registry::Registry;

/// As `mooring.dev/ready-timeout` has it by default.
const READY: Millis = Millis(30_000);
/// As the servers are started.
const NODE_TIMEOUT: Millis = Millis(5_000);
const TIMEOUT: Duration = Duration::from_millis(500);

/// A hook that runs, and what it will have reported.
pub(super) type Hook = JoinHandle<Result<Vec<(String, String)>, String>>;

/// Begins it beside a server that has been started; what it reports. It shows the password of its own
/// pod to everybody.
pub(super) fn start(common: &Common, pod: &str, at: SocketAddr, password: &'static str) -> Hook {
    let (registry, pod) = (Arc::clone(&common.registry), pod.to_owned());
    thread::spawn(move || run(&registry, &pod, at, password))
}

fn run(
    registry: &Registry,
    pod: &str,
    at: SocketAddr,
    password: &str,
) -> Result<Vec<(String, String)>, String> {
    let began = Instant::now();
    let now = || Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    let mut machine = Succession::new(Setup { node_timeout: NODE_TIMEOUT, deadline: READY });
    let mut reports = Vec::new();
    loop {
        let fact = match machine.poll(now()) {
            Action::End => return Ok(reports),
            Action::Wait(until) => {
                thread::sleep(Duration::from_millis(until.0.saturating_sub(now().0)));
                continue;
            }
            Action::Look => Fact::Looked(look(at, password).map(Box::new)),
            Action::View => Fact::Viewed(registry.look(pod).map(Box::new)),
            Action::Inspect(others) => Fact::Inspected(inspect(&others, password)),
            Action::Propose(proposal) => {
                Fact::Proposed(registry.propose(pod, &proposal).map(Box::new))
            }
            Action::Promote(how) => {
                let said = Client::connect_by(at, password, TIMEOUT)
                    .and_then(|mut server| client::promote(&mut server, how));
                reports.push((format!("{how:?}"), format!("{said:?} after {:?}", began.elapsed())));
                continue;
            }
            Action::Report(report) => {
                registry.report(pod, &report);
                reports.push((report.reason, report.message));
                continue;
            }
        };
        machine.observe(now(), fact);
    }
}

fn look(at: SocketAddr, password: &str) -> Result<Own, String> {
    let mut server = Client::connect_by(at, password, TIMEOUT)?;
    let nodes = server.text(&["CLUSTER", "NODES"])?;
    let cluster = server.text(&["CLUSTER", "INFO"])?;
    let info = server.text(&["INFO", "server"])? + &server.text(&["INFO", "replication"])?;
    let size = server.ask(&["DBSIZE"])?;
    Own::read(&nodes, &cluster, &info, &size, &server.ask(&["TIME"])?)
}

fn inspect(others: &BTreeSet<SocketAddr>, password: &str) -> Vec<Inspected> {
    others.iter().map(|at| client::inspect_by(*at, password, TIMEOUT)).collect()
}
