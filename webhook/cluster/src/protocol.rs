//! What the step and the registry say to each other, as JSON over HTTPS.
//!
//! | request | credential | body | answer |
//! |---|---|---|---|
//! | `POST /v1/register` | `Authorization: Bearer` + the pod's projected token | [`Register`] | [`View`] |
//! | `POST /v1/report` | `Authorization: Bearer` + either token | [`Report`] | `204` |
//! | `POST /v1/propose` | `Authorization: Bearer` + either token | [`Proposal`] | [`View`] |
//! | `GET /v1/view` | `Authorization: Bearer` + the hook token of [`View`] | | [`View`] |
//!
//! An answer that is not 2xx has a body of [`Problem`]. Unknown fields are ignored on both sides,
//! and every field added later has a default: steps and webhooks of neighbouring versions meet
//! during every rollout.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::net::Ports;
use crate::slot::SlotRange;

mod view;

pub use self::view::{Pod, SetSeen, View};

/// The audience of the token with which a step shows which pod it is.
pub const AUDIENCE: &str = "mooring.dev";

/// A member tells its node id, address and disk, and asks for the others'.
///
/// The registry writes the member's own entry first and answers with what the very same write
/// returned: of any two members the later one therefore reads the earlier one's entry.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Register {
    /// The step's version.
    pub step: String,
    /// The pod's addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// The server's ports by its configuration.
    pub ports: Ports,
    /// What was found on the disk.
    pub disk: Disk,
    /// The id under which this member will start although its disk does not say so: the one it
    /// had before it lost it. Said before the file is written, so that others learn where to find
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
}

/// What a member's disk holds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// The identity in its nodes.conf, if it has one that can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Whether there are data files (RDB or AOF) that are not empty.
    #[serde(default)]
    pub data: bool,
    /// Whether the server is configured to keep its data over a restart, so that there will be
    /// some next time although there are none now.
    #[serde(default)]
    pub keeps: bool,
    /// The birth mark beside nodes.conf, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// How many milliseconds before this registration its data files were written last. Of one
    /// machine's clock: the registry's clock says when that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_ago: Option<u64>,
    /// What the server wrote down when it was asked to stop; `None` where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// Whom its nodes.conf says to have failed before this one stopped.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed: BTreeSet<NodeId>,
}

/// What a server was when it was asked to stop, in milliseconds before the registration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// How long ago that was.
    pub ago: u64,
    /// Its replication offset.
    pub offset: u64,
    /// A replica: how long ago its link to its master was up. `None` if it never was, and for
    /// a master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linked_ago: Option<u64>,
}

/// Which cluster a disk belongs to. Left beside nodes.conf by every start; a disk that carries
/// another set's mark is a copy of that set's disk, and its ids must not be used beside the
/// original's. Without a uid: StatefulSets and records are made anew with other ones.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Namespace of the StatefulSet.
    pub namespace: String,
    /// Name of the StatefulSet.
    pub name: String,
    /// The salt of its record.
    pub salt: String,
    /// The id under which the disk was used: tells whether a renaming was cut short.
    pub node_id: NodeId,
}

/// What a nodes.conf says of the member that it belongs to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its own id.
    pub node_id: NodeId,
    /// Its role.
    pub role: Role,
    /// The slots of its own line (a master's only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<SlotRange>,
    /// The config epoch of its own line; for a replica that of its master's line.
    pub config_epoch: u64,
    /// `currentEpoch` of the vars line.
    pub current_epoch: u64,
}

/// Master, or replica of whom.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Role {
    /// A master, with slots or without.
    Master,
    /// A replica.
    #[serde(rename_all = "camelCase")]
    Replica {
        /// The node id of its master.
        of: NodeId,
    },
}

/// A member's entry in the record.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its node id: the disk's, or for a blank disk the planned one. `None` for a guest, whose
    /// server chooses an id of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
    /// Its addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Ports,
    /// The uid of the pod that registered.
    pub pod_uid: String,
    /// When, as RFC 3339 in UTC with microseconds, by the registry's clock.
    pub registered_at: String,
    /// What its disk held then.
    #[serde(default)]
    pub disk: Disk,
    /// Where servers may still run of pods that had this name before: nobody has seen them end, and no
    /// pod's server has started since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lingering: Vec<Lingering>,
    /// What it was when a disk of its last said so; kept while its disk says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Identity>,
    /// Whether it has ever written its bootstrap file: from then on a blank disk is a lost one.
    #[serde(default)]
    pub bootstrapped: bool,
    /// The generation of the plan in which it did; 0 in entries older than this field.
    #[serde(default)]
    pub generation: u64,
    /// What the server reported once it ran, if a hook could ask it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerSeen>,
    /// The last decision of its step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
}

/// Where the server of a pod may still run that was deleted by force.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lingering {
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
    /// Its server's ports.
    pub ports: Ports,
}

/// What a running server says of itself.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerSeen {
    /// `redis` or `valkey`.
    #[serde(default)]
    pub engine: String,
    /// Its version, such as `7.0.15`.
    #[serde(default)]
    pub version: String,
    /// `CONFIG GET dir`; empty where CONFIG is not to be had.
    #[serde(default)]
    pub dir: String,
}

/// A master's slots were given to another member, in the record first: of two candidates one wins.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Succession {
    /// The new owner.
    pub heir: NodeId,
    /// What it inherited.
    pub slots: Vec<SlotRange>,
    /// Its config epoch, above all that were known.
    pub epoch: u64,
    /// The epoch at which the former owner had them, by those who run: above that of an earlier
    /// succession where it has had them again since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
    /// Why, in one sentence.
    pub reason: String,
}

/// Which replicas are promoted by themselves when their master does not come back after an outage
/// (`mooring.dev/succession`). An empty one never is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HeirPolicy {
    /// Any that has data, however old.
    Always,
    /// Those whose data are known to be as new as the outage.
    #[default]
    Fresh,
    /// None; also what a later version may say that this one does not know.
    #[serde(other)]
    Never,
}

/// A change of the record by compare-and-set. The registry judges it by what it knows
/// ([`crate::record::judge`]) and answers with the view afterwards, or refuses.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "propose")]
pub enum Proposal {
    /// `heir` becomes the owner of `from`'s slots. Said again by the heir itself once it owns
    /// them, it puts the epoch right that the engine has chosen.
    #[serde(rename_all = "camelCase")]
    Succeed {
        /// The former owner.
        from: NodeId,
        /// The new one and what it gets.
        #[serde(flatten)]
        succession: Succession,
    },
    /// The same where `from` follows the heir already, by its own word: the record of it is lost.
    #[serde(rename_all = "camelCase")]
    Settle {
        /// The former owner.
        from: NodeId,
        /// The new one and what it has.
        #[serde(flatten)]
        succession: Succession,
    },
    /// All disks are empty: the cluster begins again, in the plan's next generation.
    #[serde(rename_all = "camelCase")]
    Anew {
        /// The generation that is over.
        generation: u64,
    },
}

/// What a step or hook decided or saw. Becomes an Event on the StatefulSet.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The decision in CamelCase, such as `Bootstrapped`, `Repaired`, `Refused`.
    pub reason: String,
    /// One sentence: why, and what was changed.
    pub message: String,
    /// Whether somebody should look at it.
    #[serde(default)]
    pub severity: Severity,
    /// Set once the bootstrap file is on the disk, before the server starts.
    #[serde(default)]
    pub bootstrapped: bool,
    /// The id under which the member runs, if it is known only now (a guest's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
    /// What the running server says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerSeen>,
}

/// The reason of a report of a step that ends without a server.
pub const REFUSED: &str = "Refused";

/// How loud a report is: the type of the Event.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Severity {
    /// As it should be.
    #[default]
    Normal,
    /// Somebody should look at it.
    Warning,
}

/// Why the registry could not answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Problem {
    /// One sentence: what is wrong and what to do.
    pub message: String,
    /// Whether asking again may help: false where only a change by a person does.
    #[serde(default)]
    pub retry: bool,
}

// === impl Report ===

impl Report {
    /// A report of something as it should be.
    pub fn normal(reason: &str, message: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.to_owned(),
            severity: Severity::Normal,
            bootstrapped: false,
            node_id: None,
            server: None,
        }
    }

    /// Whether it says that this pod's server starts, or runs.
    pub fn is_of_a_start(&self) -> bool {
        self.reason != REFUSED
    }

    /// A report that somebody should look at.
    pub fn warning(reason: &str, message: &str) -> Self {
        Self { severity: Severity::Warning, ..Self::normal(reason, message) }
    }
}
