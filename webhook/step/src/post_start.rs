//! `step post-start`: once the server runs. Holds the pod un-Ready until the member is in its
//! cluster, so that a rolling restart takes the next pod only then.
//!
//! Guarantees: it ends in time, whatever happens, and never fails on its own account, since
//! a failing hook kills the container. It holds nothing up while another member is missing: then
//! there is no rolling restart to hold up, and waiting could be for ever.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use cluster::nodes::NodesConf;
use cluster::protocol::{Report, ServerSeen, View};
use cluster::server::ServerConfig;

use crate::hook::{self, Arguments};
use crate::join;
use crate::redis::{Client, field};
use crate::registry::Registry;
use crate::settings::{self, Settings};

const PAUSE: Duration = Duration::from_millis(100);

/// Runs the user's hook, then the gate.
pub(crate) fn run(user: &Arguments) -> Result<(), String> {
    user.run()?;
    if let Err(why) = gate() {
        eprintln!("mooring: post-start: {why}");
    }
    Ok(())
}

fn gate() -> Result<(), String> {
    let deadline = Instant::now() + settings::seconds("MOORING_READY_TIMEOUT", 30);
    let settings = Settings::from_tools()?;
    let config = settings.container.server_config()?;
    let registry = Registry::new(&settings, settings.hook_token.clone())?;
    let mut server = wait_for_server(&config, deadline)?;
    let pod = std::env::var("POD_NAME").unwrap_or_default();
    compare(&mut server, &config, &registry, settings.report.as_ref());
    if join::is_guest(&mut server)? {
        let view = registry.view().map_err(|e| e.to_string())?;
        let report = match join::join(&mut server, &config, &view, deadline) {
            Ok(Some((me, master))) => Report {
                node_id: Some(me),
                ..Report::normal("Joined", &format!("joined as a replica of {master}"))
            },
            Ok(None) => Report::warning("NotJoined", "no other member runs that could be met"),
            Err(why) => Report::warning("NotJoined", &why),
        };
        registry.report(&report).map_err(|e| e.to_string())?;
    }
    let mut nudged = None;
    loop {
        let health = Health::of(&mut server)?;
        if health.is_in_cluster() {
            return Ok(());
        }
        let view = registry.view().map_err(|e| e.to_string())?;
        if !all_others_run(&view, &pod) {
            return Ok(());
        }
        if nudged.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(2)) {
            nudged = Some(Instant::now());
            follow_master(&mut server, &health)?;
        }
        if Instant::now() >= deadline {
            return Err(format!("the member is not in its cluster yet: {health:?}"));
        }
        // The server is asked often, the registry seldom.
        for _ in 0..5 {
            thread::sleep(PAUSE);
            if Health::of(&mut server)?.is_in_cluster() {
                return Ok(());
            }
        }
    }
}

/// How the server sees itself.
#[derive(Debug)]
struct Health {
    cluster_ok: bool,
    replica: bool,
    link_up: bool,
    master: Option<SocketAddr>,
}

// === impl Health ===

impl Health {
    fn of(server: &mut Client) -> Result<Self, String> {
        let replication = server.text(&["INFO", "replication"])?;
        let cluster = server.text(&["CLUSTER", "INFO"])?;
        let master = (|| {
            let host = field(&replication, "master_host")?.parse().ok()?;
            Some(SocketAddr::new(host, field(&replication, "master_port")?.parse().ok()?))
        })();
        Ok(Self {
            cluster_ok: field(&cluster, "cluster_state") == Some("ok"),
            replica: field(&replication, "role") == Some("slave"),
            link_up: field(&replication, "master_link_status") == Some("up"),
            master,
        })
    }

    fn is_in_cluster(&self) -> bool {
        self.cluster_ok && (!self.replica || self.link_up)
    }
}

fn wait_for_server(config: &ServerConfig, deadline: Instant) -> Result<Client, String> {
    loop {
        let answer = hook::local(config, Duration::from_secs(1))
            .and_then(|mut server| server.text(&["PING"]).map(|_| server));
        match answer {
            Ok(server) => return Ok(server),
            // A password that is wrong now will be wrong later.
            Err(why) if why.contains("WRONGPASS") || why.contains("NOAUTH") => return Err(why),
            Err(why) if Instant::now() >= deadline => {
                return Err(format!("the server does not answer: {why}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Compares what the step read with what the server says, and tells the registry both: a repair
/// of a file that the server does not read is worse than none.
fn compare(
    server: &mut Client,
    config: &ServerConfig,
    registry: &Registry,
    decided: Option<&Report>,
) {
    let info = server.text(&["INFO", "server"]).unwrap_or_default();
    let valkey = field(&info, "valkey_version");
    let mut option = |name: &str| match server.ask(&["CONFIG", "GET", name]) {
        Ok(cluster::resp::Reply::Array(Some(pair))) => pair.get(1).and_then(|v| v.text()),
        _ => None,
    };
    let dir = option("dir");
    let file = option("cluster-config-file");
    let seen = ServerSeen {
        engine: if valkey.is_some() { "valkey" } else { "redis" }.to_owned(),
        version: valkey.or(field(&info, "redis_version")).unwrap_or_default().to_owned(),
        dir: dir.clone().unwrap_or_default(),
    };
    let read = config.nodes_conf.display();
    let real = dir.zip(file).map(|(dir, file)| std::path::Path::new(&dir).join(file));
    let report = match real {
        Some(real) if real != config.nodes_conf => Report::warning(
            "WrongFile",
            &format!(
                "the step repairs {read}, but the server keeps its cluster in {}: set the \
                 annotation mooring.dev/dir to the server's directory",
                real.display()
            ),
        ),
        _ => {
            let runs = format!("{} {} runs", seen.engine, seen.version);
            match decided {
                Some(r) => Report { message: format!("{}; {runs}", r.message), ..r.clone() },
                None => Report::normal("Started", &runs),
            }
        }
    };
    if let Err(e) = registry.report(&Report { server: Some(seen), ..report }) {
        eprintln!("mooring: post-start: {e}");
    }
}

fn all_others_run(view: &View, pod: &str) -> bool {
    let others = view.pods.iter().filter(|(name, _)| *name != pod);
    let running = others.filter(|(_, p)| p.running && !p.deleting).count();
    u32::try_from(running + 1).is_ok_and(|n| n >= view.replicas)
}

/// A replica on Redis that learned its master's new address by gossip goes on dialling the old
/// one (redis issue 14633); naming the same master again makes it look.
fn follow_master(server: &mut Client, health: &Health) -> Result<(), String> {
    // Without an address it dials nobody, and without this it would go on doing so.
    let (true, false, dialled) = (health.replica, health.link_up, health.master) else {
        return Ok(());
    };
    let nodes = server.text(&["CLUSTER", "NODES"])?;
    let Ok(nodes) = NodesConf::parse(nodes.as_bytes()) else { return Ok(()) };
    let master = nodes.myself().and_then(|me| nodes.node(me.master?));
    if let Some(master) = master
        && let Some(known) = master.endpoint.address().and_then(|a| a.client())
        && Some(known) != dialled
    {
        println!("mooring: the master is at {known} and not at {dialled:?}; replicating again");
        server.text(&["CLUSTER", "REPLICATE", master.id.as_str()])?;
    }
    Ok(())
}
