//! What a running server says of itself and its cluster, and making a replica a master.
//!
//! Guarantees: nobody is promoted who has not just named its id; what a server does not say is
//! not made up.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use cluster::id::NodeId;
use cluster::nodes::NodesConf;
use cluster::planner::{How, Inspected, Inspection, Link};
use cluster::resp::Reply;
use cluster::server::Credential;

use crate::redis::{Client, field};

/// Asks whoever is at an address.
pub(crate) fn inspect(at: SocketAddr, credentials: &[Credential], timeout: Duration) -> Inspected {
    if TcpStream::connect_timeout(&at, timeout).is_err() {
        return Inspected::Nobody;
    }
    match Client::connect(at, credentials, timeout).and_then(|mut server| read(&mut server)) {
        Ok(inspection) => Inspected::Node(Box::new(inspection)),
        Err(_) => Inspected::Unclear,
    }
}

fn read(server: &mut Client) -> Result<Inspection, String> {
    let nodes = server.text(&["CLUSTER", "NODES"])?;
    let nodes = NodesConf::parse(nodes.as_bytes()).map_err(|e| e.to_string())?;
    let replication = server.text(&["INFO", "replication"])?;
    let number = |name: &str| field(&replication, name).and_then(|v| v.parse().ok());
    let replica = field(&replication, "role") == Some("slave");
    let offset = number(if replica { "slave_repl_offset" } else { "master_repl_offset" });
    let keys = match server.ask(&["DBSIZE"])? {
        Reply::Integer(n) => n > 0,
        other => return Err(format!("DBSIZE says {other:?}")),
    };
    let link = replica.then(|| match field(&replication, "master_link_status") {
        Some("up") => Link::Up,
        _ => Link::Down,
    });
    Ok(Inspection { nodes, offset: offset.unwrap_or(0), link, keys })
}

/// Makes the replica at an address a master, if it is who it has to be.
pub(crate) fn force(
    at: SocketAddr,
    id: NodeId,
    how: How,
    credentials: &[Credential],
) -> Result<(), String> {
    let mut server = Client::connect(at, credentials, Duration::from_secs(1))?;
    let named = server.text(&["CLUSTER", "MYID"])?;
    if named != id.as_str() {
        return Err(format!("the server at {at} is {named} and not {id}"));
    }
    let word = match how {
        How::Vote => "FORCE",
        How::Record => "TAKEOVER",
    };
    server.text(&["CLUSTER", "FAILOVER", word]).map(|_| ())
}
