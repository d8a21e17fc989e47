//! What is written to a set and read of it, and what its servers say of themselves.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use cluster::nodes::{Flag, NodesConf};
use cluster::resp::{self, Reply};

use super::{Measured, PATIENCE, Set, Shape};
use crate::client::{self, Client};
use crate::keys::Owners;
use crate::member::{Member, Outcome};

/// How often the hooks look after their servers.
const HOOKS: Duration = Duration::from_secs(2);

// === impl Set ===

impl Set {
    /// Writes a key into every slot and waits until the replicas have them, and until everybody
    /// has handed its log to the system: an engine that waits for its disk answers before it does,
    /// by up to 2 s. Returns the name.
    pub(crate) fn fill(&mut self) -> Result<String, String> {
        self.write_until(keeps_all)
    }

    /// Writes a key into every slot and waits until those who took them have handed their logs to the
    /// system, whether they have replicas or not. Returns the name.
    pub(crate) fn write_to_disk(&mut self) -> Result<String, String> {
        self.write_until(has_logged)
    }

    /// Writes a key into every slot and waits until this is true of every server. Returns the name.
    fn write_until(
        &mut self,
        holds: fn(SocketAddr) -> Result<(), String>,
    ) -> Result<String, String> {
        let (_, name) = self.write_all()?;
        let began = Instant::now();
        while let Err(why) = self.addresses().into_iter().try_for_each(holds) {
            if began.elapsed() > PATIENCE {
                return Err(why);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(name)
    }

    /// Waits until every slot has a master that takes writes.
    pub(crate) fn wait_for_masters(&mut self, patience: Duration) -> Result<(), String> {
        self.writes += 1;
        let name = format!("k{}", self.writes);
        self.keys.write_all(&self.addresses(), &name, &name, patience).map(|_| ())
    }

    /// A key's value, wherever it is.
    pub(crate) fn read(&self, key: &str) -> Result<Option<String>, String> {
        for at in self.addresses() {
            match Client::connect(at, Duration::from_secs(5))?.ask(&["GET", key])? {
                Reply::Error(e) if e.starts_with("MOVED") => {}
                Reply::Error(e) => return Err(format!("{at} says {e}")),
                reply => return Ok(reply.text()),
            }
        }
        Err(format!("nobody has the slot of {key}"))
    }

    /// After a start: waits for all slots, then counts the keys of `name`; without a name, those
    /// that have just been written.
    pub(crate) fn measure(
        &mut self,
        outcomes: &[Outcome],
        name: Option<&str>,
    ) -> Result<Measured, String> {
        let last = outcomes.iter().filter_map(|o| o.started).max().ok_or("nobody was started")?;
        let ((owners, until), written) = self.write_all().map_err(|why| {
            let said = outcomes.iter().flat_map(|o| &o.reports);
            let said = said.map(|(reason, message)| format!("; {reason}: {message}"));
            format!("{why}; the steps said{}", said.collect::<String>())
        })?;
        let name = name.unwrap_or(&written);
        let (lost, first) = self.keys.missing(&owners, name, name)?;
        if let Some(first) = first {
            println!("      lost: {first}");
        }
        let seconds = until.saturating_duration_since(last).as_secs_f64();
        let told = self.wait_until_whole()?;
        let whole = last.elapsed().as_secs_f64();
        let unknown = outcomes.iter().map(|o| o.unknown).sum();
        Ok(Measured { seconds, lost, whole, unknown, told, ..Measured::NOTHING })
    }

    /// The first member whose server says that it is a master.
    pub(crate) fn a_master(&self) -> Result<usize, String> {
        let there = self.members.iter().enumerate().filter(|(_, m)| m.is_there());
        for (n, member) in there {
            if is_master(member)? {
                return Ok(n);
            }
        }
        Err("no server says that it is a master".to_owned())
    }

    /// The members whose servers say so.
    pub(crate) fn masters(&self) -> Result<Vec<usize>, String> {
        let mut masters = Vec::new();
        for (n, member) in self.members.iter().enumerate().filter(|(_, m)| m.is_there()) {
            if is_master(member)? {
                masters.push(n);
            }
        }
        Ok(masters)
    }

    /// Waits until these servers take a write for every slot; when that was.
    pub(crate) fn writable_at(
        &mut self,
        servers: &[SocketAddr],
        patience: Duration,
    ) -> Result<Instant, String> {
        self.writes += 1;
        let name = format!("k{}", self.writes);
        self.keys.write_all(servers, &name, &name, patience).map(|(_, at)| at)
    }

    /// How many keys of `name` are gone.
    pub(crate) fn lost(&mut self, name: &str) -> Result<usize, String> {
        let ((owners, _), _) = self.write_all()?;
        Ok(self.keys.missing(&owners, name, name)?.0)
    }

    /// Writes a key into every slot: its owners, and the name of the keys.
    pub(crate) fn write_all(&mut self) -> Result<((Owners, Instant), String), String> {
        self.writes += 1;
        let name = format!("k{}", self.writes);
        let found = self.keys.write_all(&self.addresses(), &name, &name, PATIENCE);
        match found {
            Ok(found) => Ok((found, name)),
            Err(why) => Err(self.with_the_dead(&why)),
        }
    }

    /// Waits until every member knows all the others as healthy and every replica has its master, and
    /// does meanwhile what the pods' hooks do: how often that was needed.
    pub(crate) fn wait_until_whole(&mut self) -> Result<usize, String> {
        let began = Instant::now();
        let (mut told, mut hooks) = (0, began);
        loop {
            let addresses = self.addresses();
            let Err(why) = addresses.iter().try_for_each(|at| whole(*at, self.shape)) else {
                return Ok(told);
            };
            let dead = self.members.iter_mut().any(Member::has_died);
            if dead || began.elapsed() > PATIENCE {
                return Err(self.with_the_dead(&format!("the cluster does not heal: {why}")));
            }
            if hooks.elapsed() > HOOKS {
                hooks = Instant::now();
                for at in addresses {
                    // A server that is dead or loads is found by the others' view of it.
                    told += usize::from(client::follow_master(at).unwrap_or_default());
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn is_master(member: &Member) -> Result<bool, String> {
    let mut client = Client::connect(member.address(), Duration::from_secs(5))?;
    Ok(client.info("replication")?.get("role").is_some_and(|role| role == "master"))
}

/// Whether a node's log is written, and a master's replicas have all that it has.
fn keeps_all(at: SocketAddr) -> Result<(), String> {
    has_logged(at)?;
    let mut client = Client::connect(at, Duration::from_secs(5))?;
    let said = client.text(&["INFO", "replication"])?;
    let field = |name: &str| resp::field(&said, name);
    let offset = field("master_repl_offset").and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    match resp::copiers(&said).iter().map(|c| c.offset).min() {
        // A ping or two of the replication itself may have come since; a write is longer.
        Some(has) if has + 28 < offset => Err(format!("a replica of {at} is behind")),
        None if field("role") == Some("master") => {
            Err(format!("the master at {at} has no replica"))
        }
        _ => Ok(()),
    }
}

/// Whether a node has handed its log to the system.
fn has_logged(at: SocketAddr) -> Result<(), String> {
    let mut client = Client::connect(at, Duration::from_secs(5))?;
    match client.info("persistence")?.get("aof_buffer_length").is_some_and(|n| n != "0") {
        true => Err(format!("{at} does not write its log")),
        false => Ok(()),
    }
}

/// Whether a node sees a whole cluster.
fn whole(at: SocketAddr, shape: Shape) -> Result<(), String> {
    let mut client = Client::connect(at, Duration::from_secs(1))?;
    let nodes = client.text(&["CLUSTER", "NODES"])?;
    let conf = NodesConf::parse(nodes.as_bytes()).map_err(|e| e.to_string())?;
    let bad = [Flag::Failing, Flag::PossiblyFailing, Flag::Handshake, Flag::NoAddress];
    if let Some(node) = conf.nodes().find(|n| bad.iter().any(|flag| n.flags.contains(flag))) {
        return Err(format!("{at} says: {node}"));
    }
    let (all, masters) = (
        conf.nodes().count(),
        conf.nodes().filter(|n| n.is_master() && !n.slots.is_empty()).count(),
    );
    if (all, masters) != (usize::from(shape.members()), usize::from(shape.shards)) {
        return Err(format!("{at} knows {all} nodes, {masters} of them masters"));
    }
    let said = client.info("replication")?;
    let is = |name: &str, value: &str| said.get(name).is_some_and(|v| v == value);
    if is("role", "slave") && !is("master_link_status", "up") {
        return Err(format!("{at} has no link to its master"));
    }
    if is("role", "master") && !is("connected_slaves", &shape.replicas.to_string()) {
        return Err(format!("{at} is a master without its replicas"));
    }
    Ok(())
}
