//! The record of a cluster: a ClusterRecord of its StatefulSet's name.
//!
//! Guarantees: an entry that can not be read (written by hand, or by a later version) hides no
//! other one; a written entry replaces all that the one before it said, except what the contract
//! keeps (`bootstrapped`, `server`, `decision`, `message`).

use std::collections::{BTreeMap, BTreeSet};

use cluster::id::NodeId;
use cluster::net::Ports;
use cluster::plan::Plan;
use cluster::protocol::{Disk, Identity, Lingering, Mark, Member, Role, Stopped, Succession};
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::warn;

/// How the cluster begins.
#[derive(Clone, CustomResource, Debug, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "mooring.dev",
    version = "v1alpha1",
    kind = "ClusterRecord",
    plural = "clusterrecords",
    namespaced,
    status = "Status",
    schema = "disabled"
)]
pub struct Spec {
    /// The plan.
    pub plan: Plan,
    /// Whether this record took the place of one that was deleted: its cluster has a past.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
}

/// What is known of its members.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// The members' entries by pod name.
    #[serde(default)]
    pub members: BTreeMap<String, Value>,
    /// Who inherited whose slots, by the former owner's node id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub successions: BTreeMap<NodeId, Succession>,
    /// Node ids that were forgotten on purpose.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub forgotten: BTreeSet<NodeId>,
    /// How many there are, for people to see.
    #[serde(default)]
    pub registered: u32,
    /// Whether all masters of the plan have begun.
    #[serde(default)]
    pub formed: bool,
}

// === impl ClusterRecord ===

impl ClusterRecord {
    /// The entries that can be read.
    pub fn members(&self) -> BTreeMap<String, Member> {
        let entries = self.status.iter().flat_map(|s| &s.members);
        let read = |(pod, entry): (&String, &Value)| match serde_json::from_value(entry.clone()) {
            Ok(member) => Some((pod.clone(), member)),
            Err(error) => {
                warn!(%pod, %error, "An entry of the record can not be read and is passed over");
                None
            }
        };
        entries.filter_map(read).collect()
    }

    /// What [`Status::registered`] and [`Status::formed`] have to be.
    pub fn summary(&self) -> (u32, bool) {
        let cluster = self.metadata.name.as_deref().unwrap_or_default();
        let members = self.members();
        let plan = &self.spec.plan;
        let mut masters = plan.ordinals().filter(|o| plan.seat(*o).is_some_and(|s| s.master));
        let formed = masters.all(|ordinal| {
            let member = plan.pod(cluster, ordinal).and_then(|pod| members.get(&pod));
            member.is_some_and(|m| m.bootstrapped || m.disk.identity.is_some())
        });
        (u32::try_from(members.len()).unwrap_or(u32::MAX), formed)
    }

    /// Whether the status says what [`ClusterRecord::summary`] does.
    pub fn is_tidy(&self) -> bool {
        let status = self.status.clone().unwrap_or_default();
        (status.registered, status.formed) == self.summary()
    }
}

/// What a registration writes.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// See [`Member::node_id`].
    pub node_id: Option<NodeId>,
    /// See [`Member::ips`].
    pub ips: &'a [std::net::IpAddr],
    /// See [`Member::ports`].
    pub ports: Ports,
    /// See [`Member::pod_uid`].
    pub pod_uid: &'a str,
    /// See [`Member::registered_at`].
    pub registered_at: &'a str,
    /// See [`Member::disk`].
    pub disk: &'a Disk,
    /// See [`Member::was`].
    pub was: Option<&'a Identity>,
    /// See [`Member::lingering`].
    pub lingering: &'a [Lingering],
}

// === impl Entry ===

impl Entry<'_> {
    /// As a merge patch: in one, a field that is left out stays, so what is not there is `null`.
    pub fn merge(&self) -> Value {
        json!({
            "nodeId": self.node_id,
            "ips": self.ips,
            "ports": {"tcp": self.ports.tcp, "tls": self.ports.tls, "bus": self.ports.bus},
            "podUid": self.pod_uid,
            "registeredAt": self.registered_at,
            "disk": {
                "identity": self.disk.identity.as_ref().map(identity),
                "data": self.disk.data,
                "keeps": self.disk.keeps,
                "mark": self.disk.mark.as_ref().map(mark),
                "writtenAgo": self.disk.written_ago,
                "stopped": self.disk.stopped.as_ref().map(stopped),
                "failed": self.disk.failed,
            },
            "was": self.was.map(identity),
            "lingering": (!self.lingering.is_empty()).then_some(self.lingering),
        })
    }
}

fn mark(mark: &Mark) -> Value {
    let Mark { namespace, name, salt, node_id } = mark;
    json!({"namespace": namespace, "name": name, "salt": salt, "nodeId": node_id})
}

fn stopped(stopped: &Stopped) -> Value {
    let Stopped { ago, offset, linked_ago } = stopped;
    json!({"ago": ago, "offset": offset, "linkedAgo": linked_ago})
}

fn identity(identity: &Identity) -> Value {
    let role = match identity.role {
        Role::Master => json!({"is": "master", "of": null}),
        Role::Replica { of } => json!({"is": "replica", "of": of}),
    };
    json!({
        "nodeId": identity.node_id,
        "role": role,
        "slots": identity.slots,
        "configEpoch": identity.config_epoch,
        "currentEpoch": identity.current_epoch,
    })
}

#[cfg(test)]
mod tests {
    use cluster::plan::Plan;
    use cluster::slot::SlotRange;

    use super::*;

    fn merged(mut entry: Value, patch: &Value) -> Value {
        json_patch::merge(&mut entry, patch);
        entry
    }

    fn id(c: char) -> NodeId {
        c.to_string().repeat(40).parse().unwrap()
    }

    #[test]
    fn an_entry_replaces_all_of_the_one_before_except_what_is_kept() {
        let ips = ["10.0.0.1".parse().unwrap()];
        let full = Disk {
            identity: Some(Identity {
                node_id: id('a'),
                role: Role::Replica { of: id('b') },
                slots: vec![SlotRange::new(1, 2).unwrap()],
                config_epoch: 7,
                current_epoch: 9,
            }),
            data: true,
            keeps: true,
            mark: Some(Mark {
                namespace: "n".to_owned(),
                name: "c".to_owned(),
                salt: "s".to_owned(),
                node_id: id('a'),
            }),
            written_ago: Some(5),
            stopped: Some(Stopped { ago: 6, offset: 7, linked_ago: Some(8) }),
            failed: [id('c')].into(),
        };
        let first = Entry {
            node_id: Some(id('a')),
            ips: &ips,
            ports: Ports { tcp: Some(1), tls: Some(2), bus: 3 },
            pod_uid: "u1",
            registered_at: "t1",
            disk: &full,
            was: None,
            lingering: &[Lingering { ips: ips.to_vec(), ports: Ports::plain(6379) }],
        };
        let mut stored = merged(json!({}), &first.merge());
        stored["bootstrapped"] = json!(true);
        stored["server"] = json!({"engine": "redis"});

        let blank = Disk::default();
        let ports = Ports { tcp: None, tls: None, bus: 4 };
        let was = full.identity.as_ref();
        let second = Entry {
            node_id: None,
            disk: &blank,
            ports,
            pod_uid: "u2",
            was,
            lingering: &[],
            ..first
        };
        let member: Member =
            serde_json::from_value(merged(stored.clone(), &second.merge())).unwrap();
        assert_eq!(member.disk, blank);
        assert_eq!((member.node_id, member.ports), (None, ports));
        assert_eq!(member.was, full.identity);
        assert!(member.bootstrapped && member.server.is_some());
        assert_eq!(member.lingering, []);

        let mut master = full.clone();
        if let Some(identity) = &mut master.identity {
            identity.role = Role::Master;
        }
        if let Some(stopped) = &mut master.stopped {
            stopped.linked_ago = None;
        }
        let third = Entry { disk: &master, ..first };
        let member: Member = serde_json::from_value(merged(stored, &third.merge())).unwrap();
        assert_eq!((member.disk, member.was), (master, None));
    }

    #[test]
    fn an_entry_that_cannot_be_read_hides_no_other() {
        let plan = Plan {
            salt: "s".into(),
            shards: 3,
            replicas_per_shard: 0,
            generation: 1,
            sets: Vec::new(),
        };
        let mut record = ClusterRecord::new("c", Spec { plan, restored: false });
        let good = json!({"ips": [], "ports": {"bus": 1}, "podUid": "u", "registeredAt": "t",
            "bootstrapped": true, "later": 1});
        let mut status = Status::default();
        for pod in ["c-0", "c-1", "c-2"] {
            status.members.insert(pod.to_owned(), good.clone());
        }
        status.members.insert("c-3".to_owned(), json!({"ips": "?"}));
        record.status = Some(status);
        assert_eq!(record.members().len(), 3);
        assert_eq!(record.summary(), (3, true));
        assert!(!record.is_tidy());
    }
}
