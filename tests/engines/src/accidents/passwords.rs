//! A rolling change of passwords, whose first pod is a replica.
//!
//! Guarantees: what post-start's gate reads of the server says all the while that it is to be held
//! (only the link does: the state of the cluster is ok), nobody is promoted, and what the user has
//! set is as it was.

use std::thread;
use std::time::{Duration, Instant};

use cluster::id::NodeId;
use cluster::nodes::NodesConf;
use cluster::secret::{self, Stand, Why};

use super::EMPTIED;
use crate::client::Client;
use crate::member::Door;
use crate::set::{Measured, SHARDS, Set};

const NEW: &str = "changed";
/// Two node timeouts: whoever is promoted because of it is promoted by then.
const WATCHED: Duration = Duration::from_secs(10);

/// Does it to a set beside this one, and takes it back.
pub(super) fn run(beside: &Set) -> Result<Measured, String> {
    let mut set = beside.beside_in("passwords", SHARDS)?;
    let outcomes = set.start_all()?;
    set.measure(&outcomes, None)?;
    let name = set.fill()?;
    let before = masters(&set)?;
    let replica = a_replica(&set)?;
    let member = set.members.get_mut(replica).ok_or("there is no such member")?;
    member.door = Door::Other(NEW);
    set.restart_in_place(replica, |_| Ok(()))?;

    let at = set.members.get(replica).ok_or("there is no such member")?.address();
    let began = Instant::now();
    let mut server = loop {
        let server = Client::open(at, EMPTIED).and_then(|mut client| {
            client.log_in(NEW)?;
            // Until its first round of the cluster's clock it does not know that it is a replica.
            let said = client.info("replication")?;
            let known = said.get("role").is_some_and(|role| role == "slave");
            known.then_some(client).ok_or_else(|| format!("{at} is no replica"))
        });
        match server {
            Ok(server) => break server,
            Err(why) if began.elapsed() > EMPTIED => return Err(why),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut ok = 0;
    let began = Instant::now();
    while began.elapsed() < WATCHED {
        let said = server.info("replication")?;
        let is = |name: &str, value: &str| said.get(name).is_some_and(|v| v == value);
        if !is("role", "slave") || is("master_link_status", "up") {
            return Err(format!("the rollout is not held: {said:?}"));
        }
        let state = server.text(&["CLUSTER", "INFO"])?;
        ok += usize::from(state.contains("cluster_state:ok"));
        thread::sleep(Duration::from_millis(100));
    }
    if ok == 0 {
        return Err("the state was never ok: it would have held the rollout as well".to_owned());
    }
    match secret::read(&mut server)? {
        Stand::HandsOff(Why::Configured | Why::Unable) => {}
        other => return Err(format!("the user's own passwords are not left alone: {other:?}")),
    }
    let after = masters(&set)?;
    if after != before {
        return Err(format!("somebody was promoted: {before:?} were masters, now {after:?}"));
    }
    set.members.get_mut(replica).ok_or("there is no such member")?.door = Door::Locked;
    let last = set.restart_in_place(replica, |_| Ok(()))?;
    let servers = set.addresses();
    let until = set.writable_at(&servers, EMPTIED)?;
    set.wait_until_whole()?;
    let whole = last.elapsed().as_secs_f64();
    let seconds = until.saturating_duration_since(last).as_secs_f64();
    Ok(Measured { seconds, whole, lost: set.lost(&name)?, ..Measured::NOTHING })
}

/// Who owns slots, by a master's word.
fn masters(set: &Set) -> Result<Vec<NodeId>, String> {
    let at = set.members.get(set.a_master()?).ok_or("there is no such member")?.address();
    let nodes = Client::connect(at, EMPTIED)?.text(&["CLUSTER", "NODES"])?;
    let nodes = NodesConf::parse(nodes.as_bytes()).map_err(|e| e.to_string())?;
    let owners = nodes.nodes().filter(|n| n.is_master() && !n.slots.is_empty());
    let mut ids: Vec<NodeId> = owners.map(|n| n.id).collect();
    ids.sort_unstable();
    Ok(ids)
}

fn a_replica(set: &Set) -> Result<usize, String> {
    for (n, at) in set.addresses().into_iter().enumerate() {
        let said = Client::connect(at, EMPTIED)?.info("replication")?;
        if said.get("role").is_some_and(|role| role == "slave") {
            return Ok(n);
        }
    }
    Err("nobody is a replica".to_owned())
}
