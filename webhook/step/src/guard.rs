//! `step guard`: what post-start leaves undone when its time is over, done as soon as it can be.
//!
//! Post-start starts it only where something is left: a server that loads for long, a replica that
//! does not find its master or whose master does not come, a guest that nobody has met, members that
//! do not find each other. It ends when nothing is left.
//!
//! Guarantees: it outlives the hook and ends with its container; whom it tells anything has just
//! named its id; it asks seldom, and after some hours no more.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cluster::id::NodeId;
use cluster::planner::Answer;
use cluster::protocol::{Report, View};
use cluster::server::{Credential, ServerConfig};
use cluster::upkeep::{Health, Standing};

use crate::redis::{self, Client};
use crate::registry::Registry;
use crate::settings::{self, Settings};
use crate::succeed::{self, Told};
use crate::{address, hook, join, secret};

/// How long it goes on.
const LATE: Duration = Duration::from_secs(6 * 3600);
/// Between two rounds, at first and in the end.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// How long one round may wait for a guest to be taken in, or for a succession.
const ROUND: Duration = Duration::from_secs(30);
/// For one question to another member.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Whether something is left to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Left {
    Nothing,
    Something,
}

/// Starts `step guard`, which outlives the hook.
pub(crate) fn later() {
    let started = Command::new(Path::new(settings::TOOLS).join("step"))
        .arg("guard")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    if let Err(e) = started {
        eprintln!("mooring: post-start: nobody goes on after it: {e}");
    }
}

/// Goes on until nothing is left.
pub(crate) fn run() -> Result<(), String> {
    let deadline = Instant::now() + LATE;
    let settings = Settings::from_tools()?;
    let config = settings.container.server_config()?;
    let mut server = wait_for_server(&config, deadline)?;
    let (look, _) = secret::look(&mut server, &config, deadline);
    let settle = |server: &mut Client| {
        secret::settle(server, &config, settings.secret.as_ref(), look, || None)
    };
    settle(&mut server)?;
    let registry = Registry::new(&settings, settings.hook_token.clone()).ok();
    let service = settings.service_name();
    let mut told = Told::default();
    let mut pause = PAUSES.0;
    while Instant::now() < deadline {
        let left = round(&mut server, &config, registry.as_ref(), service.as_deref(), &mut told);
        match left {
            Ok(Left::Nothing) => return settle(&mut server),
            Ok(Left::Something) => {}
            // It may have been restarted in its container: then there is a post-start again.
            Err(_) => {
                if let Ok(again) = hook::local(&config, Duration::from_secs(1)) {
                    server = again;
                }
            }
        }
        thread::sleep(pause);
        pause = (pause * 5 / 4).min(PAUSES.1);
    }
    Ok(())
}

fn wait_for_server(config: &ServerConfig, deadline: Instant) -> Result<Client, String> {
    loop {
        match hook::local(config, Duration::from_secs(1))
            .and_then(|mut server| server.text(&["PING"]).map(|_| server))
        {
            Ok(server) => return Ok(server),
            Err(why) if hook::is_for_good(&why) => return Err(why),
            Err(why) if Instant::now() >= deadline => return Err(why),
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn round(
    server: &mut Client,
    config: &ServerConfig,
    registry: Option<&Registry>,
    service: Option<&str>,
    told: &mut Told,
) -> Result<Left, String> {
    let standing = standing(server)?;
    if standing.is_settled() {
        return Ok(Left::Nothing);
    }
    redial(server, &standing)?;
    for (id, at) in standing.unlinked() {
        if let Err(why) = call(at, id, &config.credentials) {
            eprintln!("mooring: guard: {why}");
        }
    }
    let view = registry.and_then(|registry| Some((registry, registry.view().ok()?)));
    let Some((registry, view)) = view else {
        let ips = service.map(|name| address::resolve(name, TIMEOUT)).unwrap_or_default();
        meet(server, config, &standing, standing.places_by_name(&ips), None)?;
        return Ok(Left::Something);
    };
    if standing.is_guest() {
        join::leave_mark(server, config, &view)?;
        if let Ok(Some((me, master))) = join::join(server, config, &view, Instant::now() + ROUND) {
            let text = format!("joined as a replica of {master}");
            let report = Report { node_id: Some(me), ..Report::normal("Joined", &text) };
            registry.report(&report).map_err(|e| e.to_string())?;
        }
        return Ok(Left::Something);
    }
    meet(server, config, &standing, standing.places(&view), Some(&view))?;
    follow(server, &standing, &view)?;
    succeed::run(server, config, registry, Instant::now() + ROUND, told);
    Ok(Left::Something)
}

/// Whether a server serves in its cluster.
pub(crate) fn health(server: &mut Client) -> Result<Health, String> {
    let cluster = server.text(&["CLUSTER", "INFO"])?;
    Ok(Health::read(&cluster, &server.text(&["INFO", "replication"])?))
}

/// How a server stands in its cluster.
pub(crate) fn standing(server: &mut Client) -> Result<Standing, String> {
    let nodes = server.text(&["CLUSTER", "NODES"])?;
    let cluster = server.text(&["CLUSTER", "INFO"])?;
    let replication = server.text(&["INFO", "replication"])?;
    Standing::read(&nodes, &cluster, &replication)
}

/// Has a replica look where its master is now, if it dials somewhere else.
pub(crate) fn redial(server: &mut Client, standing: &Standing) -> Result<(), String> {
    let Some(master) = standing.redials() else { return Ok(()) };
    println!("mooring: the master is not at {:?}; replicating again", standing.dials);
    server.text(&["CLUSTER", "REPLICATE", master.as_str()]).map(|_| ())
}

/// Has a replica follow whoever owns its shard, where its master does not any more.
fn follow(server: &mut Client, standing: &Standing, view: &View) -> Result<(), String> {
    let Some(owner) = standing.owner_instead(view) else { return Ok(()) };
    println!("mooring: the master has no slots any more; {owner} owns them, and is followed");
    server.text(&["CLUSTER", "REPLICATE", owner.as_str()]).map(|_| ())
}

/// The same for another member, if it is the one that it is taken for.
fn call(at: SocketAddr, id: NodeId, credentials: &[Credential]) -> Result<(), String> {
    let mut replica = Client::connect(at, credentials, TIMEOUT)?;
    let standing = standing(&mut replica)?;
    if standing.nodes.myself().map(|me| me.id) != Some(id) {
        return Err(format!("the server at {at} is not {id}"));
    }
    redial(&mut replica, &standing)
}

/// Meets members that it knows and does not reach, where they say that they are.
fn meet(
    server: &mut Client,
    config: &ServerConfig,
    standing: &Standing,
    places: BTreeSet<SocketAddr>,
    view: Option<&View>,
) -> Result<(), String> {
    for at in places {
        let Answer::Node(id) = redis::probe(at, &config.credentials, TIMEOUT) else { continue };
        if standing.meets(at, id, view) {
            let (ip, port) = (at.ip().to_string(), at.port().to_string());
            server.text(&["CLUSTER", "MEET", &ip, &port])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
