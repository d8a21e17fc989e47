//! Somebody else's cluster, with another password, at addresses that the set had.
//!
//! Guarantees: nothing of Mooring has a part in it; its servers end with the value.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use cluster::resp::Reply;

use crate::client::Client;
use crate::ground;
use crate::keys::SLOTS;
use crate::set::Set;

const PASSWORD: &str = "foreign";
const PORT: u16 = 6379;
const PATIENCE: Duration = Duration::from_secs(20);
/// What its keys begin with.
const PREFIX: &str = "foreign-";

/// Three masters without replicas.
pub(crate) struct Foreign {
    servers: Vec<Child>,
    at: Vec<SocketAddr>,
}

// === impl Foreign ===

impl Foreign {
    /// Makes it at these nodes, and waits until it has taken its keys.
    pub(crate) fn make(set: &Set, nodes: [u8; 3], home: &Path) -> Result<Self, String> {
        let mut foreign = Self { servers: Vec::new(), at: Vec::new() };
        let port = PORT.to_string();
        for node in nodes {
            let dir = home.join(format!("foreign-{node}"));
            std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            let words = [
                ["--port", port.as_str()],
                ["--cluster-enabled", "yes"],
                ["--cluster-config-file", "nodes.conf"],
                ["--cluster-node-timeout", "5000"],
                ["--protected-mode", "no"],
                ["--requirepass", PASSWORD],
                ["--masterauth", PASSWORD],
            ];
            foreign.servers.push(set.stranger(node, &words.concat(), &dir)?);
            foreign.at.push(SocketAddr::new(ground::address(node), PORT));
        }
        let first = foreign.at.first().map(|at| at.ip().to_string()).unwrap_or_default();
        for (n, at) in foreign.at.iter().enumerate() {
            let mut client = within(|| open(*at))?;
            client.text(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()])?;
            let third = SLOTS.div_ceil(3);
            let slots = (n * third..SLOTS.min((n + 1) * third)).map(|s| s.to_string());
            let slots: Vec<String> = slots.collect();
            let words = ["CLUSTER", "ADDSLOTS"].into_iter();
            client.text(&words.chain(slots.iter().map(String::as_str)).collect::<Vec<_>>())?;
            if n > 0 {
                client.text(&["CLUSTER", "MEET", &first, &port])?;
            }
        }
        within(|| foreign.is_apart())?;
        for at in &foreign.at {
            let mut client = open(*at)?;
            for n in 0..100 {
                // Whoever has the slot takes it.
                client.ask(&["SET", &format!("{PREFIX}{n}"), "theirs"])?;
            }
        }
        match foreign.keys()? {
            100 => Ok(foreign),
            n => Err(format!("the foreign cluster has taken {n} keys of 100")),
        }
    }

    /// Whether it knows its own three, sees itself whole, and has its own keys and no others.
    pub(crate) fn is_apart(&self) -> Result<(), String> {
        for at in &self.at {
            let text = open(*at)?.text(&["CLUSTER", "INFO"])?;
            for fact in ["cluster_state:ok", "cluster_known_nodes:3"] {
                if !text.contains(fact) {
                    return Err(format!("the foreign node at {at} does not say {fact}"));
                }
            }
        }
        Ok(())
    }

    /// How many keys it has.
    pub(crate) fn keys(&self) -> Result<i64, String> {
        let mut all = 0;
        for at in &self.at {
            match open(*at)?.ask(&["DBSIZE"])? {
                Reply::Integer(n) => all += n,
                other => return Err(format!("DBSIZE of {at}: {other:?}")),
            }
        }
        Ok(all)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Whether one of the set's servers has a foreign key.
pub(crate) fn has_foreign_keys(at: SocketAddr) -> Result<bool, String> {
    match Client::connect(at, Duration::from_secs(5))?.ask(&["KEYS", &format!("{PREFIX}*")])? {
        Reply::Array(Some(keys)) => Ok(!keys.is_empty()),
        other => Err(format!("KEYS of {at}: {other:?}")),
    }
}

fn open(at: SocketAddr) -> Result<Client, String> {
    let mut client = Client::open(at, Duration::from_secs(5))?;
    client.log_in(PASSWORD)?;
    Ok(client)
}

fn within<T>(mut what: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let began = Instant::now();
    loop {
        match what() {
            Err(_) if began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(50)),
            other => return other,
        }
    }
}
