//! What a server says of itself.
//!
//! Guarantees: what it does not say is not made up; a field that only some versions have never
//! makes a replica look as if it had been without its master.

use crate::id::NodeId;
use crate::nodes::{Flag, NodesConf};
use crate::planner::Millis;
use crate::resp::{self, Reply};

/// The own server, by CLUSTER NODES, CLUSTER INFO, INFO, DBSIZE and TIME.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// Its CLUSTER NODES.
    pub nodes: NodesConf,
    /// `cluster_current_epoch`.
    pub current_epoch: u64,
    /// Its master, if it is a replica.
    pub master: Option<NodeId>,
    /// Whether its link to the master is up, or was since its start.
    pub was_linked: bool,
    /// Its replication offset.
    pub offset: u64,
    /// Whether it holds any keys.
    pub keys: bool,
    /// How long it runs.
    pub uptime: Millis,
    /// Its clock, in milliseconds since 1970.
    pub clock: u64,
    /// Whether each FORCE is an election of its own (Valkey 8.1 and later). In the others one that
    /// fails keeps the next ones from being tried for four node timeouts.
    pub votes_anew: bool,
}

// === impl Own ===

impl Own {
    /// Reads the answers to CLUSTER NODES, CLUSTER INFO, INFO (its sections `server` and
    /// `replication`), DBSIZE and TIME.
    ///
    /// # Errors
    /// If an answer is not what it has to be.
    pub fn read(
        nodes: &str,
        cluster: &str,
        info: &str,
        size: &Reply,
        time: &Reply,
    ) -> Result<Self, String> {
        let nodes = NodesConf::of_server(nodes).map_err(|e| e.to_string())?;
        let number = |text: &str, name: &str| -> Result<u64, String> {
            let said = resp::field(text, name).and_then(|v| v.parse().ok());
            said.ok_or_else(|| format!("the server does not say {name}"))
        };
        let Reply::Integer(keys) = size else { return Err(format!("DBSIZE says {size:?}")) };
        let Reply::Array(Some(time)) = time else { return Err(format!("TIME says {time:?}")) };
        let seconds = time.first().and_then(Reply::text).and_then(|s| s.parse::<u64>().ok());
        let seconds = seconds.ok_or("TIME says no seconds")?;
        let uptime = number(info, "uptime_in_seconds")?;
        let replica = resp::field(info, "role") == Some("slave");
        // INFO calls every server a master until its first cron.
        let master = nodes.myself().and_then(|me| me.master);
        let offset = if replica { "slave_repl_offset" } else { "master_repl_offset" };
        let linked = resp::field(info, "master_link_status") == Some("up");
        // -1 if never; on 5.0 and 6.0 the seconds since 1970. A sync under way has none.
        let down = resp::field(info, "master_link_down_since_seconds");
        let down = down.and_then(|v| v.parse::<i64>().ok());
        let syncs = resp::field(info, "master_sync_in_progress") == Some("1");
        let never = match down {
            Some(down) => down < 0 || u64::try_from(down).is_ok_and(|d| d > uptime),
            // Until its first cron, or as long as its master has no address, a replica has begun nothing.
            None => !replica,
        };
        Ok(Self {
            current_epoch: number(cluster, "cluster_current_epoch")?,
            master,
            was_linked: linked || syncs || !never,
            offset: number(info, offset).unwrap_or(0),
            keys: *keys > 0,
            uptime: Millis(uptime.saturating_mul(1000)),
            clock: seconds.saturating_mul(1000),
            votes_anew: votes_anew(info),
            nodes,
        })
    }

    /// The master of a replica that no engine will elect, as far as the server knows: it has keys,
    /// may be promoted, and has not been linked to its master since its start.
    pub(super) fn master_out_of_reach(&self) -> Option<NodeId> {
        let me = self.nodes.myself()?;
        let may = self.keys && !self.was_linked && !me.flags.contains(&Flag::NoFailover);
        self.master.filter(|_| may)
    }

    /// Whether a node has answered on the bus since this server's start.
    pub(super) fn has_heard_of(&self, id: NodeId) -> bool {
        let began = self.clock.saturating_sub(self.uptime.0);
        self.nodes.node(id).is_some_and(|n| n.pong_received > began)
    }
}

fn votes_anew(info: &str) -> bool {
    let Some(version) = resp::field(info, "valkey_version") else { return false };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (8, 1)
}
