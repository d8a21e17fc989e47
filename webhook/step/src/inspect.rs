//! What a running server says of itself and its cluster, and making a replica a master.
//!
//! Guarantees: nobody is promoted who has not just named its id; what a server does not say is
//! not made up.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use cluster::id::NodeId;
use cluster::planner::{How, Inspected, Inspection, Millis};
use cluster::promote;
use cluster::resp::{self, Reply};
use cluster::server::Credential;

use crate::redis::Client;

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

/// What a server says of itself and its cluster.
pub(crate) fn read(server: &mut Client) -> Result<Inspection, String> {
    let nodes = server.text(&["CLUSTER", "NODES"])?;
    let replication = server.text(&["INFO", "replication"])?;
    let keys = i64::try_from(keys(server)?).unwrap_or(i64::MAX);
    Inspection::read(&nodes, &replication, &Reply::Integer(keys))
}

/// How many keys a server holds.
pub(crate) fn keys(server: &mut Client) -> Result<u64, String> {
    server.text(&["INFO", "keyspace"]).map(|info| resp::keys(&info))
}

/// Makes the replica at an address a master, if it is who it has to be.
pub(crate) fn force(
    at: SocketAddr,
    id: NodeId,
    how: How,
    credentials: &[Credential],
) -> Result<(), String> {
    let mut server = Client::connect(at, credentials, Duration::from_secs(1))?;
    promote::whoever_is(&mut server, id, how, pause).map_err(|why| format!("{at}: {why}"))
}

/// Makes a replica a master.
pub(crate) fn promote(server: &mut Client, how: How) -> Result<(), String> {
    promote::promote(server, how, pause)
}

fn pause(time: Millis) {
    thread::sleep(Duration::from_millis(time.0));
}
