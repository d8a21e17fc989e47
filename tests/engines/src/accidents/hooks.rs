//! What a pod's post-start does, by the same decisions: [`cluster::secret`].
//!
//! Guarantees: nothing here decides; the real hook differs in how it asks (all at once), and in
//! what it says.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use cluster::nodes::{Flag, Node, NodesConf};
use cluster::planner::{Answer, How};
use cluster::resp::Reply;
use cluster::secret::gate::{self, Gate};
use cluster::secret::{
    self, Copying, Party, Presence, ReplicationSecret, Source, Stand, accept, plan,
};

use crate::client::{self, Client};

const TIMEOUT: Duration = Duration::from_secs(2);
const ROUNDS: usize = 6;

/// The look before a server may be copied; whether a replica was made master.
pub(super) fn look(at: SocketAddr) -> Result<bool, String> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let me = Client::connect(at, TIMEOUT)?.inspection()?;
        let mates: Vec<_> = gate::replicas(&me)
            .into_iter()
            .map(|mate| (mate, client::inspect(mate, TIMEOUT)))
            .collect();
        match gate::look(&me, &mates) {
            Gate::Open => return Ok(told),
            Gate::Promote { at, id } if !told => {
                client::force(at, id, How::Vote)?;
                told = true;
            }
            Gate::Promote { .. } | Gate::Wait(_) => {}
        }
        if began.elapsed() > Duration::from_millis(gate::PATIENCE_MS) {
            return Err(format!("the hook still waits: {:?}", gate::look(&me, &mates)));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The secret, as the hook of the member at this address sets it.
pub(super) fn settle(
    at: SocketAddr,
    secret: &ReplicationSecret,
    source: Source,
) -> Result<(), String> {
    for _ in 0..ROUNDS {
        let parties = around(at)?;
        let shown = parties.iter().filter_map(|(_, party)| shows(party));
        let hashes: BTreeSet<_> = shown.map(|s| s.hash()).chain([secret.hash()]).collect();
        let mut own = Client::connect(at, TIMEOUT)?;
        let Stand::Ours(present) = secret::read(&mut own)? else {
            return Err(format!("{at} is left alone"));
        };
        if let Some(command) = accept(&present, &hashes) {
            secret::tell(&mut own, &[command])?;
        }
        let parties = around(at)?;
        let all: Vec<Party> = parties.iter().map(|(_, party)| party.clone()).collect();
        let actions = plan(&all, secret, source);
        if actions.is_empty() {
            return Ok(());
        }
        for action in actions {
            let found = parties.iter().find(|(_, party)| party.id == action.id);
            let (at, _) = found.ok_or("an action for nobody")?;
            secret::tell(&mut Client::connect(*at, TIMEOUT)?, &action.commands)?;
        }
    }
    Err(format!("the secret of {at} does not settle"))
}

/// Whether a server shows this secret, and takes no other.
pub(super) fn copies_with(at: SocketAddr, secret: &ReplicationSecret) -> Result<(), String> {
    let wanted = Copying { accepts: BTreeSet::from([secret.hash()]), shows: Some(secret.clone()) };
    match secret::read(&mut Client::connect(at, TIMEOUT)?)? {
        Stand::Ours(copying) if copying == wanted => Ok(()),
        other => Err(format!("{at} does not copy with the secret: {other:?}")),
    }
}

/// All members, by the word of the one at this address.
fn around(at: SocketAddr) -> Result<Vec<(SocketAddr, Party)>, String> {
    let nodes = Client::connect(at, TIMEOUT)?.text(&["CLUSTER", "NODES"])?;
    let nodes = NodesConf::parse(nodes.as_bytes()).map_err(|e| e.to_string())?;
    let shard = |node: &Node| {
        let master = node.master.unwrap_or(node.id);
        nodes.node(master).filter(|m| !m.slots.is_empty()).map(|m| m.id)
    };
    let mut parties = Vec::new();
    for node in nodes.nodes() {
        let Some(shard) = shard(node) else { continue };
        let own = node.flags.contains(&Flag::Myself).then_some(at);
        let Some(place) = own.or_else(|| node.endpoint.address()?.client()) else { continue };
        let (presence, keys) = match client::probe(place, TIMEOUT) {
            _ if node.flags.contains(&Flag::Failing) => (Presence::Gone, 0),
            Answer::Node(id) if id == node.id => {
                let mut client = Client::connect(place, TIMEOUT)?;
                let Reply::Integer(keys) = client.ask(&["DBSIZE"])? else {
                    return Err(format!("{place} does not say how many keys it has"));
                };
                let keys = u64::try_from(keys).unwrap_or(0);
                (Presence::Says(secret::read(&mut client)?), keys)
            }
            _ => (Presence::Silent, 0),
        };
        parties.push((place, Party { id: node.id, shard, presence, keys }));
    }
    Ok(parties)
}

fn shows(party: &Party) -> Option<ReplicationSecret> {
    match &party.presence {
        Presence::Says(Stand::Ours(copying)) => copying.shows.clone(),
        _ => None,
    }
}
