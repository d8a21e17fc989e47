//! What goes into the planner, and what comes out.

use std::net::{IpAddr, SocketAddr};

use crate::id::NodeId;
use crate::nodes::{NodesConf, Target};
use crate::protocol::{Mark, Proposal, Register, Report, Stopped, View};
use crate::resp::{self, NO_REPLY, Reply};
use crate::server::ServerConfig;

/// Milliseconds since the step began.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Millis(pub u64);

/// What is known before anything is looked at.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The step's version.
    pub step: String,
    /// Namespace of the StatefulSet.
    pub namespace: String,
    /// Name of the StatefulSet.
    pub set: String,
    /// The pod's addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// The server's configuration, or why it can not be read.
    pub config: Result<ServerConfig, String>,
    /// Which engine will read the file.
    pub target: Target,
    /// Whether the first starter after an outage may be kept from taking writes.
    pub hold_back: HoldBack,
}

/// Whether the first starter after an outage may be kept from taking writes until it has met
/// others. Its `cluster_state` is `fail` until then: where readiness asks for `ok` and the pods
/// come one after the other, the next one would never come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HoldBack {
    /// It may.
    Allowed,
    /// It may not.
    #[default]
    Forbidden,
}

/// Something that was found out.
#[derive(Clone, Debug)]
pub enum Fact {
    /// What [`Action::ReadDisk`] found.
    Disk(DiskSeen),
    /// What can not be relied on of the disk whose [`Fact::Disk`] comes next.
    Doubt(Doubt),
    /// What the server at an address said to an [`Action::Inspect`].
    Inspected {
        /// The address that was asked.
        at: SocketAddr,
        /// What came back.
        answer: Inspected,
    },
    /// How [`Action::Force`] ended: only whether the command was taken, never whether the replica
    /// was elected.
    Forced {
        /// The address that was asked.
        at: SocketAddr,
        /// What came back.
        result: Result<(), String>,
    },
    /// The registry's answer to [`Action::Propose`]: the view afterwards, or why not.
    Proposed(Result<Box<View>, String>),
    /// Who answered an [`Action::Probe`].
    Probed {
        /// The address that was asked.
        at: SocketAddr,
        /// What came back.
        answer: Answer,
    },
    /// The registry's answer to [`Action::Register`].
    Registered(Box<View>),
    /// The registry did not answer, or refused.
    RegistryFailed {
        /// In one sentence.
        why: String,
        /// Whether asking again may help.
        retry: bool,
    },
    /// How [`Action::Report`] ended.
    Reported(Result<(), String>),
    /// The addresses behind the headless Service, for [`Action::Resolve`].
    Resolved(Vec<IpAddr>),
    /// How [`Action::Write`] ended.
    Written(Result<(), String>),
}

/// What is on the disk.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DiskSeen {
    /// nodes.conf, if there is one.
    pub nodes_conf: Option<Vec<u8>>,
    /// Whether there are data files that hold something.
    pub data: bool,
    /// Whether there are data files at all: a server that held nothing, and kept that, leaves
    /// files without keys. With them a disk is what it was, without them it was emptied.
    pub files: bool,
    /// The birth mark beside nodes.conf.
    pub mark: Option<Mark>,
    /// How many milliseconds ago the data files were written last.
    pub written_ago: Option<u64>,
    /// What the server left when it was asked to stop.
    pub stopped: Option<Stopped>,
}

/// Something about a disk that can not be relied on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Doubt {
    /// Somebody holds the lock on nodes.conf. (That nobody holds it proves nothing: since 7.2 a
    /// running server's lock is on a file that was renamed over.)
    Locked,
    /// There is a birth mark, and it can not be read; the text says why.
    Mark(String),
}

/// What came of asking a server about itself and its cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Inspected {
    /// Nobody answers there.
    Nobody,
    /// Somebody who does not say: another password, still loading.
    Unclear,
    /// A node.
    Node(Box<Inspection>),
}

/// What a running server says of itself and its cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// Its CLUSTER NODES.
    pub nodes: NodesConf,
    /// Its replication offset (INFO replication: `slave_repl_offset`, a master's
    /// `master_repl_offset`).
    pub offset: u64,
    /// A replica: whether the link to its master is up. A master: `None`.
    pub link: Option<Link>,
    /// A replica: how long ago that link was up last, in milliseconds. `None` if it never was since
    /// the server's start, and for a master.
    pub linked_ago: Option<u64>,
    /// Whose data these are (`master_replid`): a replica that has copied a server has that one's.
    pub stream: Option<String>,
    /// How many keys it holds.
    pub keys: u64,
}

// === impl Inspection ===

impl Inspection {
    /// Reads what a server answered to CLUSTER NODES, INFO replication and DBSIZE.
    ///
    /// # Errors
    /// If an answer is not what it has to be: what a server does not say is not made up.
    pub fn read(nodes: &str, replication: &str, size: &Reply) -> Result<Self, String> {
        let nodes = NodesConf::of_server(nodes).map_err(|e| e.to_string())?;
        let said = |name: &str| resp::field(replication, name);
        let replica = said("role") == Some("slave");
        let offset = said(if replica { "slave_repl_offset" } else { "master_repl_offset" });
        let Reply::Integer(keys) = size else { return Err(format!("DBSIZE says {size:?}")) };
        let link = replica.then(|| match said("master_link_status") {
            Some("up") => Link::Up,
            _ => Link::Down,
        });
        let offset = offset.and_then(|v| v.parse().ok()).unwrap_or(0);
        let linked_ago = match link {
            Some(Link::Up) => Some(0),
            Some(Link::Down) => resp::link_lost(replication).map(|s| s.saturating_mul(1000)),
            None => None,
        };
        let stream = said("master_replid").map(str::to_owned);
        Ok(Self {
            nodes,
            offset,
            link,
            linked_ago,
            stream,
            keys: u64::try_from(*keys).unwrap_or(0),
        })
    }
}

/// A replica's link to its master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Link {
    /// It is up: somebody answers at the master's address.
    Up,
    /// It is down.
    Down,
}

/// Who is behind an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// A node with this id.
    Node(NodeId),
    /// Nobody, or no node.
    Nobody,
    /// A server that loads its data and does not say who it is yet (`-LOADING`).
    Loading,
    /// Somebody who does not say (another password).
    Unclear,
    /// Somebody who takes the connection and says nothing in time.
    Silent,
}

// === impl Answer ===

impl Answer {
    /// What the reply to CLUSTER MYID tells, or what went wrong with it: an error reply, or
    /// [`NO_REPLY`].
    pub fn read(reply: Result<String, String>) -> Self {
        match reply.map(|id| id.parse()) {
            Ok(Ok(id)) => Self::Node(id),
            Err(why) if why == NO_REPLY => Self::Silent,
            Err(why) if why.starts_with("LOADING") => Self::Loading,
            Err(_) | Ok(Err(_)) => Self::Unclear,
        }
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the replica at this address the master, once it has named this id.
    Force {
        /// Where it is.
        at: SocketAddr,
        /// Who it has to be.
        id: NodeId,
        /// By whose consent.
        how: How,
    },
    /// Ask the server behind an address what it and its cluster are, within 300 ms: CLUSTER NODES,
    /// INFO replication, and whether it holds keys.
    Inspect(SocketAddr),
    /// Ask the registry for a change of the record.
    Propose(Proposal),
    /// Ask the server behind an address for its node id, within 300 ms.
    Probe(SocketAddr),
    /// Read nodes.conf and look for data files.
    ReadDisk,
    /// End without starting the server; the text says what is wrong and what to do.
    Refuse(String),
    /// Tell the registry who this is and ask who the others are.
    Register(Box<Register>),
    /// Tell the registry what was decided.
    Report(Report),
    /// Look the headless Service's addresses up.
    Resolve,
    /// End, so that the server starts. A report that nothing depends on comes with it, to be sent
    /// once the server runs: nobody waits for it now.
    Start(Option<Report>),
    /// Replace nodes.conf by this text: temporary file, fsync, rename; the old one is kept as
    /// `.bak`. Then the birth mark beside it, in the same way.
    Write {
        /// The file.
        nodes_conf: String,
        /// The mark, where the registry was there to say whose disk this is.
        mark: Option<Mark>,
        /// How long it has to stay as it was written before that counts: a server that ends writes
        /// its own file as its last act, when it answers nobody any more.
        stays: Millis,
    },
}

/// By whose consent a replica becomes master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// A majority of masters votes: `CLUSTER FAILOVER FORCE`.
    Vote,
    /// Nobody is there to vote, and the record has named it: `CLUSTER FAILOVER TAKEOVER`.
    Record,
}

/// Between two words of [`How::words`]: an election is begun by the server's next cron, within 100 ms.
pub const BETWEEN_WORDS: Millis = Millis(250);

// === impl How ===

impl How {
    /// The words behind `CLUSTER FAILOVER`, one after the other, with [`BETWEEN_WORDS`] between them.
    ///
    /// Up to Redis 6.2 a replica that was restarted has its master's epoch for its own
    /// (`clusterLoadConfig`), and where that is the highest, TAKEOVER takes no new one
    /// (`clusterBumpConfigEpochWithoutConsensus`): nobody would believe it. An election that it
    /// begins, and does not win, has raised its current epoch before.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Vote => &["FORCE"],
            Self::Record => &["FORCE", "TAKEOVER"],
        }
    }

    /// What came of the last of the words: it is refused where the one before has sufficed.
    ///
    /// # Errors
    /// What the server said.
    pub fn outcome(self, last: Result<String, String>, is_master: bool) -> Result<(), String> {
        match last {
            Err(why) if self == Self::Vote || !is_master => Err(why),
            _ => Ok(()),
        }
    }
}

/// What to do now, and when to ask again if nothing happens before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Poll {
    /// In this order.
    pub actions: Vec<Action>,
    /// When the planner has to be asked again at the latest.
    pub wake: Option<Millis>,
}
