//! `step pre-stop`: before the server stops. A master with a healthy replica hands over, so that
//! clients see a pause of a moment instead of a failure.
//!
//! A replica whose master is being deleted as well stops after it: what that one acknowledges until
//! its end is then on a second disk, should the first one not come back. So does a master that has just
//! handed over, since the next pod to be deleted may be its heir's.
//!
//! Guarantees: it ends in time. It never hands over to a replica whose pod is being deleted too:
//! in a total outage half a hand-over makes two masters, and the writes of one are thrown away.
//! Where that can not be known (the registry is away), it does not hand over.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use cluster::nodes::NodesConf;
use cluster::protocol::View;
use cluster::resp;
use cluster::server::ServerConfig;

use crate::disk::age::{self, Note};
use crate::hook::{self, Arguments};
use crate::redis::{Client, field};
use crate::registry::Registry;
use crate::settings::{self, Settings};

/// `kubectl delete pod --all` deletes one pod after another: by then it has reached all.
const SETTLE: Duration = Duration::from_millis(250);
/// The same on a busy machine: so long a master that has handed over sees whether its heir stays. Nobody
/// waits for it but the rollout.
const SETTLE_AFTER: Duration = Duration::from_secs(1);
/// How long the former master may take to be linked to its heir.
const LINK_PATIENCE: Duration = Duration::from_secs(2);

/// Hands over, then runs the user's own hook.
pub(crate) fn run(user: &Arguments) -> Result<(), String> {
    let owned_until = match hand_over() {
        Ok(Done { told, owned_until }) => {
            println!("mooring: pre-stop: {told}");
            owned_until
        }
        Err(why) => {
            eprintln!("mooring: pre-stop: {why}");
            None
        }
    };
    if let Err(why) = write_down(owned_until) {
        eprintln!("mooring: pre-stop: what this server holds was not written down: {why}");
    }
    user.run()
}

/// What was done before the stop.
struct Done {
    /// In one sentence.
    told: String,
    /// Until when this server was the master that it has handed over, in milliseconds since 1970: so new
    /// are its data, if it meets its heir no more.
    owned_until: Option<u64>,
}

impl From<String> for Done {
    fn from(told: String) -> Self {
        Self { told, owned_until: None }
    }
}

/// How far this server's data go, for whoever has to know after an outage who has the newest.
fn write_down(owned_until: Option<u64>) -> Result<(), String> {
    let config = Settings::from_tools()?.container.server_config()?;
    let mut server = hook::local(&config, Duration::from_secs(1))?;
    let info = server.text(&["INFO", "server"])? + &server.text(&["INFO", "replication"])?;
    let note = note(&info, age::now()).ok_or("INFO does not say its offset")?;
    let unlinked = note.linked_at.is_none() && field(&info, "role") == Some("slave");
    let note = match owned_until.filter(|_| unlinked) {
        Some(until) => Note { linked_at: Some(until), ..note },
        None if unlinked => age::as_before(&config, note),
        None => note,
    };
    age::leave(&config, &note).map_err(|e| e.to_string())
}

/// What INFO says, at this moment in milliseconds since 1970.
fn note(info: &str, at: u64) -> Option<Note> {
    let number = |name: &str| field(info, name)?.parse::<u64>().ok();
    if field(info, "role") != Some("slave") {
        return Some(Note { at, offset: number("master_repl_offset")?, linked_at: None });
    }
    let linked_at = match field(info, "master_link_status") {
        Some("up") => Some(at),
        // -1 if it never was; on 5.0 and 6.0 the seconds since 1970.
        _ => number("master_link_down_since_seconds")
            .filter(|down| number("uptime_in_seconds").is_some_and(|up| *down <= up))
            .map(|down| at.saturating_sub(down.saturating_mul(1000))),
    };
    Some(Note { at, offset: number("slave_repl_offset")?, linked_at })
}

fn hand_over() -> Result<Done, String> {
    let began = Instant::now();
    let deadline = began + settings::seconds("MOORING_HAND_OVER_TIMEOUT", 8);
    let settings = Settings::from_tools()?;
    let config = settings.container.server_config()?;
    let mut server = hook::local(&config, Duration::from_secs(1))?;
    let nodes = server.text(&["CLUSTER", "NODES"])?;
    let nodes = NodesConf::of_server(&nodes).map_err(|e| e.to_string())?;
    let me = nodes.myself().ok_or("CLUSTER NODES does not name this node")?;
    if me.master.is_some() {
        let registry = Registry::new(&settings, settings.hook_token.clone())?;
        return outlast_master(&mut server, &registry, began, deadline).map(Done::from);
    }
    if me.slots.is_empty() {
        return Ok("a master without slots: nothing to hand over".to_owned().into());
    }
    let mut heirs = Heir::all(&server.text(&["INFO", "replication"])?);
    if heirs.is_empty() {
        return Ok("no replica is online: nobody to hand over to".to_owned().into());
    }
    let registry = Registry::new(&settings, settings.hook_token.clone())?;
    let view = || registry.view().map_err(|e| e.to_string());
    heirs.retain({
        let view = view()?;
        move |heir| heir.stays(&view)
    });
    thread::sleep(SETTLE.saturating_sub(began.elapsed()));
    let view = view()?;
    let Some(heir) = heirs.iter().filter(|h| h.stays(&view)).max_by_key(|h| h.offset) else {
        return Ok("every replica's pod is being deleted too: not handing over".to_owned().into());
    };
    promote(heir, &nodes, &config)?;
    while Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
        let replication = server.text(&["INFO", "replication"])?;
        if field(&replication, "role") == Some("slave") && file_says_replica(&config) {
            let ms = began.elapsed().as_millis();
            let owned_until = Some(age::now());
            thread::sleep(SETTLE_AFTER);
            let now = outlast(&mut server, &registry, heir.at.ip(), Link::Comes, deadline)?;
            let told = format!("handed over to {} after {ms} ms; {now}", heir.at);
            return Ok(Done { told, owned_until });
        }
    }
    Err(format!("{} was not promoted in time", heir.at))
}

/// A replica: see [`outlast`].
fn outlast_master(
    server: &mut Client,
    registry: &Registry,
    began: Instant,
    deadline: Instant,
) -> Result<String, String> {
    let Some(master) = linked_to(&server.text(&["INFO", "replication"])?) else {
        return Ok("a replica without its master: nobody to wait for".to_owned());
    };
    thread::sleep(SETTLE.saturating_sub(began.elapsed()));
    outlast(server, registry, master, Link::Up, deadline)
}

/// Whether a replica was linked to its master when it began to wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Link {
    Comes,
    Up,
}

/// Waits for the end of a master whose pod is being deleted too. The engines send what they owe
/// their replicas before they end (`prepareForShutdown`), and from 7.0 on wait for it to arrive.
fn outlast(
    server: &mut Client,
    registry: &Registry,
    master: IpAddr,
    link: Link,
    deadline: Instant,
) -> Result<String, String> {
    let began = Instant::now();
    let view = registry.view().map_err(|e| e.to_string())?;
    if !view.pods.values().any(|p| p.deleting && p.ips.contains(&master)) {
        return Ok("the master stays: nobody to wait for".to_owned());
    }
    let mut was_linked = link == Link::Up;
    while Instant::now() < deadline {
        let linked = linked_to(&server.text(&["INFO", "replication"])?) == Some(master);
        if !linked && (was_linked || began.elapsed() > LINK_PATIENCE) {
            let ms = began.elapsed().as_millis();
            return Ok(format!("the master, which is being deleted too, has ended after {ms} ms"));
        }
        was_linked |= linked;
        thread::sleep(Duration::from_millis(20));
    }
    Err("the master, which is being deleted too, has not ended in time".to_owned())
}

/// Where the master is that this replica copies now.
fn linked_to(replication: &str) -> Option<IpAddr> {
    let up = field(replication, "master_link_status") == Some("up");
    field(replication, "master_host").filter(|_| up)?.parse().ok()
}

/// A replica that may take over.
#[derive(Debug, Eq, PartialEq)]
struct Heir {
    at: SocketAddr,
    offset: u64,
}

// === impl Heir ===

impl Heir {
    /// The replicas that are online.
    fn all(replication: &str) -> Vec<Self> {
        let online = resp::copiers(replication).into_iter().filter(|c| c.online);
        online.map(|c| Self { at: c.at, offset: c.offset }).collect()
    }

    /// Whether its pod is one of this set's, runs, and is not being deleted.
    fn stays(&self, view: &View) -> bool {
        let pod = view.pods.values().find(|p| p.ips.contains(&self.at.ip()) && p.running);
        pod.is_some_and(|p| !p.deleting)
    }
}

/// Makes the heir ask for the hand-over, once it is certain who it is.
fn promote(heir: &Heir, nodes: &NodesConf, config: &ServerConfig) -> Result<(), String> {
    let me = nodes.myself().map(|n| n.id);
    let mut server = Client::connect(heir.at, &config.credentials, Duration::from_secs(1))?;
    let id = server.text(&["CLUSTER", "MYID"])?;
    let node = id.parse().ok().and_then(|id| nodes.node(id));
    if node.is_none_or(|n| n.master != me) {
        return Err(format!("the server at {} is not a replica of this one", heir.at));
    }
    server.text(&["CLUSTER", "FAILOVER"]).map(|_| ()).map_err(|e| format!("{}: {e}", heir.at))
}

/// The role has to be on the disk as well: after an outage the file is all that is left of it.
fn file_says_replica(config: &ServerConfig) -> bool {
    let file = std::fs::read(&config.nodes_conf).ok();
    let conf = file.and_then(|bytes| NodesConf::parse(&bytes).ok());
    conf.is_some_and(|c| c.myself().is_some_and(|me| me.master.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replicas_that_are_online_are_heirs() {
        let info = "role:master\r\nconnected_slaves:2\r\n\
            slave0:ip=10.0.0.4,port=6379,state=online,offset=42,lag=0\r\n\
            slave1:ip=10.0.0.5,port=6379,state=wait_bgsave,offset=0,lag=0\r\n\
            slave_expires_tracked_keys:0\r\n";
        let at = "10.0.0.4:6379".parse().unwrap();
        assert_eq!(Heir::all(info), [Heir { at, offset: 42 }]);
    }

    #[test]
    fn a_master_is_waited_for_while_it_is_copied() {
        let info =
            |link| format!("role:slave\r\nmaster_host:10.0.0.4\r\nmaster_link_status:{link}\r\n");
        assert_eq!(linked_to(&info("up")), "10.0.0.4".parse().ok());
        assert_eq!(linked_to(&info("down")), None);
        assert_eq!(linked_to("role:master\r\n"), None);
    }

    #[test]
    fn a_replica_writes_down_how_long_it_has_followed_its_master() {
        let at = 1_790_000_000_000;
        let of = |link: &str| {
            let info = format!(
                "uptime_in_seconds:60\r\nrole:slave\r\n{link}\r\nslave_repl_offset:7\r\n\
                 master_repl_offset:9\r\n"
            );
            note(&info, at).unwrap()
        };
        let down = |since: &str| {
            of(&format!("master_link_status:down\r\nmaster_link_down_since_seconds:{since}"))
        };
        let linked = |linked_at| Note { at, offset: 7, linked_at };
        assert_eq!(of("master_link_status:up"), linked(Some(at)));
        assert_eq!(down("5"), linked(Some(at - 5_000)));
        assert_eq!(down("-1"), linked(None));
        assert_eq!(down("1790000000"), linked(None), "as 5.0 and 6.0 say never");
        let master = note("role:master\r\nmaster_repl_offset:9\r\n", at).unwrap();
        assert_eq!(master, Note { at, offset: 9, linked_at: None });
        assert_eq!(note("", at), None);
    }
}
