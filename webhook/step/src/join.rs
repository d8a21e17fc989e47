//! A guest joins its cluster: a server that started with an id of its own and without slots.
//!
//! Guarantees: it meets only a server that is a pod of this set and has just named its own id; it
//! becomes the replica of a master that owns slots and is alive, never takes slots, and does
//! nothing while slots belong to somebody who is failing: the shard that lost its master has to
//! elect first, or the newcomer would go where it is not missed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cluster::id::NodeId;
use cluster::nodes::NodesConf;
use cluster::planner::Answer;
use cluster::protocol::{Mark, View};
use cluster::server::{Credential, ServerConfig};

use crate::disk;
use crate::redis::{self, Client};

const TIMEOUT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(100);

/// Leaves the birth mark for the id that the server has chosen: a copy of this disk must be known as
/// one.
pub(crate) fn leave_mark(
    server: &mut Client,
    config: &ServerConfig,
    view: &View,
) -> Result<(), String> {
    let named = server.text(&["CLUSTER", "MYID"])?;
    let node_id = named.parse().map_err(|_| format!("the server's id is {named:?}"))?;
    let (namespace, name, salt) =
        (view.namespace.clone(), view.set().to_owned(), view.plan.salt.clone());
    disk::write_mark(config, &Mark { namespace, name, salt, node_id }).map_err(|e| e.to_string())
}

/// Meets the cluster and becomes a replica where one is missed most. Returns its own id and its
/// master's; `None` if there is nobody to meet.
pub(crate) fn join(
    server: &mut Client,
    config: &ServerConfig,
    view: &View,
    deadline: Instant,
) -> Result<Option<(NodeId, NodeId)>, String> {
    let Some(at) = host(config, view) else { return Ok(None) };
    println!("mooring: meeting the cluster at {at}");
    let (ip, port) = (at.ip().to_string(), at.port().to_string());
    server.text(&["CLUSTER", "MEET", &ip, &port])?;
    loop {
        let nodes = nodes(server)?;
        if let Some(master) = missed_most(&nodes) {
            // Refused while the master's own greeting is still to come.
            if server.text(&["CLUSTER", "REPLICATE", master.as_str()]).is_ok() {
                let me = nodes.myself().map(|n| n.id);
                return Ok(me.map(|me| (me, master)));
            }
        }
        if Instant::now() >= deadline {
            return Err("met the cluster, but found no master that needs a replica".to_owned());
        }
        thread::sleep(PAUSE);
    }
}

/// A member of the cluster that has said who it is just now.
fn host(config: &ServerConfig, view: &View) -> Option<SocketAddr> {
    let running = view.pods.iter().filter(|(name, pod)| **name != view.pod && pod.running);
    let candidates: BTreeSet<SocketAddr> = running
        .flat_map(|(name, pod)| {
            let member = view.members.get(name);
            let ports = member.map_or_else(|| config.ports(), |m| m.ports);
            let ips = member.map_or(&pod.ips, |m| &m.ips);
            ips.iter().filter_map(move |ip| Some(SocketAddr::new(*ip, ports.client()?)))
        })
        .collect();
    first_that_knows_owners(candidates, &config.credentials)
}

/// Asks all at once: however many addresses are dead, they cost the time of one.
fn first_that_knows_owners(
    candidates: BTreeSet<SocketAddr>,
    credentials: &[Credential],
) -> Option<SocketAddr> {
    let (send, receive) = mpsc::channel();
    for at in candidates {
        let (send, credentials) = (send.clone(), credentials.to_vec());
        thread::spawn(move || {
            if knows_owners(at, &credentials) {
                let _ = send.send(at);
            }
        });
    }
    drop(send);
    // Connecting, logging in, and one question each for the id and for the cluster.
    receive.recv_timeout(6 * TIMEOUT).ok()
}

/// Guests that know each other have no cluster yet.
fn knows_owners(at: SocketAddr, credentials: &[Credential]) -> bool {
    let Answer::Node(id) = redis::probe(at, credentials, TIMEOUT) else { return false };
    let known = Client::connect(at, credentials, TIMEOUT).and_then(|mut c| nodes(&mut c));
    known.is_ok_and(|nodes| {
        let owners = nodes.nodes().any(|n| !n.slots.is_empty());
        nodes.myself().is_some_and(|me| me.id == id) && nodes.nodes().count() > 1 && owners
    })
}

/// The living slot owner with the fewest living replicas; `None` while any slots are not covered
/// by a living owner, or greetings are still under way.
fn missed_most(nodes: &NodesConf) -> Option<NodeId> {
    let me = nodes.myself()?.id;
    let mut replicas: BTreeMap<NodeId, u32> = nodes
        .nodes()
        .filter(|n| n.is_master() && !n.slots.is_empty() && n.answers())
        .map(|n| (n.id, 0))
        .collect();
    let covered: u32 = nodes
        .nodes()
        .filter(|n| replicas.contains_key(&n.id))
        .flat_map(|n| &n.slots)
        .map(|range| range.count())
        .sum();
    if covered != u32::from(cluster::slot::SLOTS) {
        return None;
    }
    for node in nodes.nodes().filter(|n| n.answers()).filter(|n| n.id != me) {
        if let Some(count) = node.master.and_then(|m| replicas.get_mut(&m)) {
            *count += 1;
        }
    }
    replicas.into_iter().min_by_key(|(_, count)| *count).map(|(id, _)| id)
}

fn nodes(server: &mut Client) -> Result<NodesConf, String> {
    let text = server.text(&["CLUSTER", "NODES"])?;
    NodesConf::of_server(&text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::fake;

    fn line(digit: char, flags: &str, master: &str, link: &str, slots: &str) -> String {
        let id = digit.to_string().repeat(40);
        format!("{id} 10.0.0.{digit}:6379@16379 {flags} {master} 0 0 1 {link} {slots}\n")
    }

    fn choice(lines: &[String]) -> Option<char> {
        let nodes = NodesConf::parse(lines.concat().as_bytes()).unwrap();
        missed_most(&nodes).and_then(|id| id.as_str().chars().next())
    }

    #[test]
    fn a_guest_goes_where_a_replica_is_missed_and_waits_for_an_election() {
        let me = line('9', "myself,master", "-", "connected", "");
        let of = |digit: char| digit.to_string().repeat(40);
        let mut lines = vec![
            me,
            line('1', "master", "-", "connected", "0-8191"),
            line('2', "master", "-", "connected", "8192-16383"),
            line('3', "slave", &of('1'), "connected", ""),
        ];
        assert_eq!(choice(&lines), Some('2'));
        lines.push(line('4', "slave", &of('2'), "connected", ""));
        lines.push(line('5', "slave,fail", &of('1'), "disconnected", ""));
        lines.push(line('6', "slave", &of('1'), "connected", ""));
        assert_eq!(choice(&lines), Some('2'));
        lines[2] = line('2', "master,fail", "-", "disconnected", "8192-16383");
        assert_eq!(choice(&lines), None);
    }

    fn cluster_of(me: char) -> String {
        let role = |digit: char, rest: &str| match digit == me {
            true => format!("myself,{rest}"),
            false => rest.to_owned(),
        };
        let of = |digit: char| digit.to_string().repeat(40);
        [
            line('1', &role('1', "master"), "-", "connected", "0-8191"),
            line('2', &role('2', "master"), "-", "connected", "8192-16383"),
            line('3', &role('3', "slave"), &of('1'), "connected", ""),
        ]
        .concat()
    }

    #[test]
    fn any_number_of_dead_addresses_costs_the_time_of_one() {
        let member = fake::server(|command| match command {
            "CLUSTER MYID" => fake::bulk(&"1".repeat(40)),
            _ => fake::bulk(&cluster_of('1')),
        });
        let dead = (0..30).map(|_| fake::mute());
        let began = Instant::now();
        let all: BTreeSet<_> = dead.chain([member]).collect();
        assert_eq!(first_that_knows_owners(all, &[]), Some(member));
        let none = (0..30).map(|_| fake::mute()).collect();
        assert_eq!(first_that_knows_owners(none, &[]), None);
        assert!(began.elapsed() < 8 * TIMEOUT, "{:?}", began.elapsed());
    }

    #[test]
    fn a_pod_without_a_disk_becomes_the_replica_that_a_shard_lacks() {
        let member = fake::server(|command| match command {
            "CLUSTER MYID" => fake::bulk(&"1".repeat(40)),
            _ => fake::bulk(&cluster_of('1')),
        });
        let said = Arc::new(Mutex::new(Vec::new()));
        let own = fake::server({
            let said = Arc::clone(&said);
            move |command| {
                let mut said = said.lock().unwrap();
                if command != "CLUSTER NODES" {
                    said.push(command.to_owned());
                    return "+OK\r\n".to_owned();
                }
                let me = line('9', "myself,master", "-", "connected", "");
                let met = if said.is_empty() { String::new() } else { cluster_of('0') };
                fake::bulk(&(me + &met))
            }
        });
        let text = serde_json::json!({
            "namespace": "shop", "name": "cache", "pod": "cache-3", "ordinal": 3, "replicas": 4,
            "plan": {"salt": "s", "shards": 2, "replicasPerShard": 1, "generation": 1},
            "members": {},
            "pods": {"cache-0": {
                "uid": "u", "ips": [member.ip()], "injected": true, "running": true,
                "ready": true, "deleting": false,
            }},
        });
        let view: View = serde_json::from_value(text).unwrap();
        let mut server = Client::connect(own, &[], Duration::from_secs(1)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let joined = join(&mut server, &fake::config(member), &view, deadline).unwrap();
        let id = |digit: char| digit.to_string().repeat(40).parse::<NodeId>().unwrap();
        assert_eq!(joined, Some((id('9'), id('2'))));
        let meet = format!("CLUSTER MEET {} {}", member.ip(), member.port());
        assert_eq!(*said.lock().unwrap(), [meet, format!("CLUSTER REPLICATE {}", id('2'))]);
    }
}
