//! What a member is told of its cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{HeirPolicy, Member, Succession};
use crate::id::{NodeId, Ordinal};
use crate::plan::Plan;
use crate::secret::ReplicationSecret;

/// A pod of the cluster, as the API server knew it after the registration was written.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Its uid.
    pub uid: String,
    /// Its addresses, the primary one first; none before it has been started.
    #[serde(default)]
    pub ips: Vec<IpAddr>,
    /// Whether it carries the step.
    pub injected: bool,
    /// Whether it has a machine to run on. Where that is not known it may have: then it is
    /// waited for.
    #[serde(default = "yes")]
    pub scheduled: bool,
    /// Whether its redis container runs (started; not necessarily ready).
    pub running: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// When its server ended last while the pod stayed (RFC 3339, cut to the second).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// What the registry knows of a cluster, as one of its members sees it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Namespace of the StatefulSet.
    pub namespace: String,
    /// Name of the cluster: of its group, or of its only StatefulSet.
    pub name: String,
    /// Name of the asking pod.
    pub pod: String,
    /// Its number in the plan ([`Plan::number`]).
    pub ordinal: Ordinal,
    /// `spec.replicas` of the StatefulSets together.
    pub replicas: u32,
    /// Whether the pods of all of them are made all at once, so that none waits for another one's
    /// readiness.
    #[serde(default)]
    pub parallel: bool,
    /// The StatefulSets: one, or those of a group. None from a registry that is older than this
    /// field: see [`View::sets`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "sets")]
    pub listed: Vec<SetSeen>,
    /// Why the set may have a life behind it, one sentence each; empty: it has none, and the plan
    /// may be made true.
    #[serde(default)]
    pub past: Vec<String>,
    /// The plan.
    pub plan: Plan,
    /// Whether the record took the place of one that was deleted, which may have known more.
    #[serde(default)]
    pub restored: bool,
    /// What the record said of the asking member before this registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Member>,
    /// All members' entries by pod name, the asking one's included, as the write returned them.
    pub members: BTreeMap<String, Member>,
    /// All pods of these StatefulSets by name, read after that write.
    pub pods: BTreeMap<String, Pod>,
    /// The last entries of members whose pod is gone or has been replaced, by pod name. Their
    /// addresses are not to be used.
    #[serde(default)]
    pub earlier: BTreeMap<String, Member>,
    /// When the pods of those entries were seen to end, by pod name (RFC 3339, cut to the second). Not
    /// of all is that known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ended: BTreeMap<String, String>,
    /// The pods that have a claim, with a pod or without: where there is no claim there is no
    /// disk that outlives a pod. `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<BTreeSet<String>>,
    /// Who inherited whose slots, by the former owner's node id.
    #[serde(default)]
    pub successions: BTreeMap<NodeId, Succession>,
    /// Which replicas are promoted by themselves when their master does not come back.
    #[serde(default)]
    pub heirs: HeirPolicy,
    /// Ids that were forgotten on purpose and must not come back from an old file.
    #[serde(default)]
    pub forgotten: BTreeSet<NodeId>,
    /// Whether the pod that had this name before is known to have ended (it was not deleted by
    /// force). False where the registry did not see its end.
    #[serde(default)]
    pub predecessor_ended: bool,
    /// What the hooks of this pod show to the registry; it can read this cluster's view and
    /// report for this pod, nothing else.
    #[serde(default)]
    pub hook_token: String,
    /// What this cluster's members show to each other when one copies the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ReplicationSecret>,
}

/// A StatefulSet as its controller is told to make it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SetSeen {
    /// Its name.
    pub name: String,
    /// `spec.ordinals.start`.
    #[serde(default)]
    pub start: u32,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Whether its pods are made all at once.
    #[serde(default)]
    pub parallel: bool,
}

/// What a pod is taken for where its webhook does not say whether it is scheduled.
fn yes() -> bool {
    true
}

// === impl View ===

impl View {
    /// The StatefulSet of the asking pod.
    pub fn set(&self) -> &str {
        Ordinal::set_of(&self.pod)
    }

    /// The cluster's StatefulSets.
    pub fn sets(&self) -> Vec<SetSeen> {
        if self.listed.is_empty() {
            return vec![SetSeen {
                name: self.name.clone(),
                start: 0,
                replicas: self.replicas,
                parallel: self.parallel,
            }];
        }
        self.listed.clone()
    }

    /// The names of all pods that their controllers are to make.
    pub fn wanted(&self) -> BTreeSet<String> {
        self.sets().iter().flat_map(SetSeen::pods).collect()
    }
}

// === impl SetSeen ===

impl SetSeen {
    /// The names of the pods that its controller is to make.
    pub fn pods(&self) -> impl Iterator<Item = String> {
        let ordinals = self.start..self.start.saturating_add(self.replicas);
        ordinals.map(|ordinal| Ordinal(ordinal).pod_of(&self.name))
    }
}
