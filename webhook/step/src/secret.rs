//! The cluster's own replication secret, and the look before a server may be copied: what
//! post-start does of [`cluster::secret`].
//!
//! Guarantees: it needs no registry, and ends in time; the user is set only after the look; whom
//! it tells anything has just named its id. What it could not do the next member's post-start does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use cluster::id::NodeId;
use cluster::nodes::{Flag, Node, NodesConf};
use cluster::planner::{How, Inspected};
use cluster::protocol::Report;
use cluster::resp::Reply;
use cluster::secret::gate::{self, Gate};
use cluster::secret::{
    self, Copying, Hash, Party, Presence, ReplicationSecret, Server, Source, Stand, accept,
};
use cluster::server::{Credential, ServerConfig};

use crate::inspect;
use crate::redis::Client;

/// For one question to another member.
const TIMEOUT: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_millis(50);
/// For all that follows the look.
const PATIENCE: Duration = Duration::from_secs(4);
/// A round that sets, one that shows, one that takes the older one away, and what somebody else
/// does meanwhile.
const ROUNDS: usize = 6;
/// In larger clusters only the own shard is looked after: each member's start would ask everybody.
const ALL_AT_MOST: usize = 64;

/// Whether this server may be copied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Look {
    /// It may.
    Open,
    /// A replica has what this server has lost, and could not be made master.
    Shut,
}

/// Looks whether this server came back without what a replica of it still has, and has that one
/// made master first. What there is to report comes with it.
pub(crate) fn look(
    server: &mut Client,
    config: &ServerConfig,
    deadline: Instant,
) -> (Look, Option<Report>) {
    let until = deadline.min(Instant::now() + Duration::from_millis(gate::PATIENCE_MS));
    let mut told: Option<NodeId> = None;
    let mut first = true;
    loop {
        let step = inspect::read(server).map(|me| {
            let mates = ask(gate::replicas(&me), &config.credentials);
            gate::look(&me, &mates)
        });
        let why = match step {
            Ok(Gate::Open) => {
                let report = told.map(|heir| {
                    let message = format!(
                        "the server was started again without its data; {heir}, which has them, \
                         was made master"
                    );
                    Report::warning("Promoted", &message)
                });
                return (Look::Open, report);
            }
            Ok(Gate::Promote { at, id }) => {
                // Its answer says nothing, and a second one would only delay the first.
                if told.is_none() {
                    println!("mooring: making {id} at {at} a master: it has the data");
                    match inspect::force(at, id, How::Vote, &config.credentials) {
                        Ok(()) => told = Some(id),
                        Err(why) => eprintln!("mooring: post-start: {why}"),
                    }
                }
                format!("{id} to be elected")
            }
            Ok(Gate::Wait(what)) => what,
            Err(why) if Instant::now() >= until => {
                eprintln!("mooring: post-start: {why}");
                return (Look::Shut, None);
            }
            Err(_) => {
                thread::sleep(PAUSE);
                continue;
            }
        };
        if std::mem::take(&mut first) {
            println!("mooring: this server is empty: waiting for {why}");
        }
        if Instant::now() >= until {
            let message = format!(
                "the server was started again without its data, and whether a replica has them \
                 could not be settled ({why}); it is not copied. If one of its replicas has the \
                 data: CLUSTER FAILOVER FORCE on that one; if none has: restart this pod"
            );
            return (Look::Shut, Some(Report::warning("NotPromoted", &message)));
        }
        thread::sleep(PAUSE);
    }
}

/// Sets the user of this server, and has the members of its cluster show the secret wherever all
/// of a shard accept it. `newest` asks the registry.
pub(crate) fn settle(
    server: &mut Client,
    config: &ServerConfig,
    kept: Option<&ReplicationSecret>,
    look: Look,
    newest: impl FnOnce() -> Option<ReplicationSecret>,
) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    // Before anybody else is asked: until then nobody can copy this server.
    if let Some(kept) = kept {
        set_own(server, look, [kept.hash()])?;
    }
    let newest = newest();
    for _ in 0..ROUNDS {
        let (own, mut others) = around(server, config)?;
        let shown = others.iter().filter_map(|(party, _)| shows(party)).collect::<BTreeSet<_>>();
        let (secret, source) = match (&newest, kept) {
            (Some(secret), _) => (secret.clone(), Source::Registry),
            (None, Some(kept)) => (kept.clone(), Source::Kept),
            // The registry was away when the pod was made: the others know.
            (None, None) => match shown.first() {
                Some(secret) => (secret.clone(), Source::Kept),
                None => return Ok(()),
            },
        };
        let hashes = shown.iter().map(ReplicationSecret::hash).chain([secret.hash()]);
        set_own(server, look, hashes)?;
        let mut parties: Vec<Party> = others.iter().map(|(party, _)| party.clone()).collect();
        if let Some((id, shard)) = own {
            let presence = Presence::Says(secret::read(server)?);
            parties.push(Party { id, shard, presence, keys: inspect::keys(server)? });
        }
        let actions = secret::plan(&parties, &secret, source);
        if actions.is_empty() || Instant::now() >= until {
            return Ok(());
        }
        for action in actions {
            let other = others.iter_mut().find(|(party, _)| party.id == action.id);
            let told = match other {
                Some((_, Some(client))) => secret::tell(client, &action.commands),
                Some((_, None)) => continue,
                None => secret::tell(server, &action.commands),
            };
            // Somebody who stops answering must not keep the rest from it.
            if let Err(why) = told {
                eprintln!("mooring: post-start: {}: {why}", action.id);
            }
        }
    }
    Ok(())
}

/// Makes this server accept these secrets, where the user has not said otherwise.
fn set_own(
    server: &mut Client,
    look: Look,
    hashes: impl IntoIterator<Item = Hash>,
) -> Result<(), String> {
    if look == Look::Shut {
        return Ok(());
    }
    let Stand::Ours(present) = secret::read(server)? else { return Ok(()) };
    let hashes: Vec<Hash> = hashes.into_iter().collect();
    match accept(&present, &hashes) {
        Some(command) => secret::tell(server, &[command]),
        None => Ok(()),
    }
}

/// This member and its shard, if it has one, and all other members that belong to one, each with a
/// connection if it says who it is.
#[expect(clippy::type_complexity, reason = "two halves of one answer")]
fn around(
    server: &mut Client,
    config: &ServerConfig,
) -> Result<(Option<(NodeId, NodeId)>, Vec<(Party, Option<Client>)>), String> {
    let nodes = server.text(&["CLUSTER", "NODES"])?;
    let nodes = NodesConf::of_server(&nodes).map_err(|e| e.to_string())?;
    let shard = |node: &Node| {
        let master = node.master.unwrap_or(node.id);
        nodes.node(master).filter(|m| !m.slots.is_empty()).map(|m| m.id)
    };
    let own = nodes.myself().and_then(|me| Some((me.id, shard(me)?)));
    let few = nodes.nodes().count() <= ALL_AT_MOST;
    let members = nodes.nodes().filter(|n| Some(n.id) != nodes.myself().map(|me| me.id));
    let asked: Vec<_> = members
        .filter_map(|node| Some((node, shard(node)?)))
        .filter(|(_, shard)| few || own.is_some_and(|(_, own)| own == *shard))
        .map(|(node, shard)| {
            let (id, gone) = (node.id, node.flags.contains(&Flag::Failing));
            let at = node.endpoint.address().and_then(|a| a.client());
            let credentials = config.credentials.clone();
            thread::spawn(move || {
                let found = at.filter(|_| !gone).and_then(|at| member(at, id, &credentials).ok());
                let (presence, keys, client) = match found {
                    Some((client, stand, keys)) => (Presence::Says(stand), keys, Some(client)),
                    None if gone => (Presence::Gone, 0, None),
                    None => (Presence::Silent, 0, None),
                };
                (Party { id, shard, presence, keys }, client)
            })
        })
        .collect();
    Ok((own, asked.into_iter().filter_map(|t| t.join().ok()).collect()))
}

fn member(
    at: SocketAddr,
    id: NodeId,
    credentials: &[Credential],
) -> Result<(Client, Stand, u64), String> {
    let mut client = Client::connect(at, credentials, TIMEOUT)?;
    if client.text(&["CLUSTER", "MYID"])? != id.as_str() {
        return Err(format!("{at} is somebody else"));
    }
    let stand = secret::read(&mut client)?;
    let keys = inspect::keys(&mut client)?;
    Ok((client, stand, keys))
}

fn shows(party: &Party) -> Option<ReplicationSecret> {
    match &party.presence {
        Presence::Says(Stand::Ours(Copying { shows, .. })) => shows.clone(),
        _ => None,
    }
}

/// Asks all at once.
fn ask(all: Vec<SocketAddr>, credentials: &[Credential]) -> Vec<(SocketAddr, Inspected)> {
    let asked: Vec<_> = all
        .into_iter()
        .map(|at| {
            let credentials = credentials.to_vec();
            thread::spawn(move || (at, inspect::inspect(at, &credentials, TIMEOUT)))
        })
        .collect();
    asked.into_iter().filter_map(|t| t.join().ok()).collect()
}

// === impl Client ===

impl Server for Client {
    fn ask(&mut self, words: &[&str]) -> Result<Reply, String> {
        Self::ask(self, words)
    }
}

#[cfg(test)]
mod tests;
