//! What only a person can decide, written into the record: an heir that Mooring would not name by
//! itself, and a node that is not to come back from an old file.
//!
//! Guarantees: a decision is judged as a member's proposal is ([`cluster::record::judge`]) except
//! for the age of the data; it is written only over the record that it was judged by; no server is
//! spoken to, and no file touched: the pods' steps carry it out at their next start.

use std::collections::BTreeMap;

use cluster::id::{NodeId, Ordinal};
use cluster::protocol::{Identity, Member, Pod, Proposal, Report, Role, Succession};
use cluster::record::{self, Change, Standing};
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use super::record::ClusterRecord;
use super::sets::Sets;
use super::store::{Store, is_conflict};
use super::{Fault, events};

/// So often it is judged again because the record has changed meanwhile.
const ATTEMPTS: usize = 4;

/// Names a pod the heir of its master, and ends the pod so that it starts as the master. With `dry`
/// it only says what it would do.
///
/// # Errors
/// One sentence why not: the pod is nobody's replica by the record, its disk is empty, or its master
/// is there.
pub async fn promote(
    client: Client,
    namespace: &str,
    set: &str,
    pod: &str,
    dry: bool,
) -> Result<String, Fault> {
    let store = Store::new(client.clone());
    for _ in 0..ATTEMPTS {
        let (sets, record, pods) = known(&store, namespace, set).await?;
        let (cluster, claims) =
            (&sets.cluster, sets.claimed(&store.claims(namespace, true).await?));
        let members = record.members();
        let successions = record.status.as_ref().map(|s| s.successions.clone()).unwrap_or_default();
        let standing = Standing {
            set: cluster,
            wanted: sets.wanted(),
            // Nobody's word about itself: whoever runs is not to be replaced.
            pod: "",
            plan: &record.spec.plan,
            members: &members,
            pods: &pods,
            claims: claims.as_ref(),
            successions: &successions,
        };
        let proposal = heir(&standing, pod).map_err(Fault::Refused)?;
        let change = record::judge(&proposal, &standing).map_err(Fault::Refused)?;
        let Proposal::Succeed { from, succession } = &proposal else {
            return Err(Fault::Refused("this is no succession".to_owned()));
        };
        let slots: u32 = succession.slots.iter().map(|s| s.count()).sum();
        let what = format!(
            "{pod} ({}) inherits {slots} slots of {from} at epoch {}",
            succession.heir, succession.epoch
        );
        if change == Change::Nothing {
            return Err(Fault::Refused(format!(
                "the record names an heir of {from} already: kubectl get clusterrecord -n \
                 {namespace} {cluster} -o yaml shows it"
            )));
        }
        if dry {
            return Ok(format!("{what}: would be written, and the pod ended; nothing was done"));
        }
        if store.change(namespace, &record, &change).await?.is_none() {
            continue;
        }
        let report = Report::warning("Promoted", &format!("by a person's decision {what}"));
        events::publish(client.clone(), namespace, Ordinal::set_of(pod), pod, report).await;
        let Some(there) = pods.get(pod) else {
            return Ok(format!("{what}; it is not there now, and starts as the master"));
        };
        let uid = Preconditions { uid: Some(there.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(uid), ..DeleteParams::default() };
        match store.pods(namespace).delete(pod, &params).await {
            Ok(_) => {}
            // It was made anew meanwhile, and has read the record.
            Err(error) if is_conflict(&error) || super::store::is_not_found(&error) => {}
            Err(error) => {
                return Err(Fault::Unavailable(format!(
                    "{what} is written, but the pod could not be ended ({error}): kubectl delete \
                     pod -n {namespace} {pod}"
                )));
            }
        }
        return Ok(format!("{what}; the pod was ended and comes back as the master"));
    }
    Err(Fault::Unavailable("the record keeps changing".to_owned()))
}

/// The pod as the heir of the master that it follows by the record.
fn heir(standing: &Standing<'_>, pod: &str) -> Result<Proposal, String> {
    let member = standing
        .members
        .get(pod)
        .ok_or_else(|| format!("{pod} has never registered: nobody knows what its disk holds"))?;
    let identity = identity(standing, pod, member)
        .ok_or_else(|| format!("nobody knows what {pod} was: its disk says nothing"))?;
    if !record::may_hold_data(member) {
        return Err(format!(
            "the disk of {pod} is empty, and what it has in memory would end with the pod: tell its \
             server CLUSTER FAILOVER TAKEOVER instead"
        ));
    }
    let Role::Replica { of } = identity.role else {
        return Err(format!("{pod} is a master already"));
    };
    let known: BTreeMap<NodeId, Identity> =
        standing.members.iter().filter_map(|(name, m)| identity_of(standing, name, m)).collect();
    let inherited = standing.successions.values().find(|s| s.heir == of).map(|s| s.slots.clone());
    let slots = match known.get(&of) {
        Some(master) if !master.slots.is_empty() => master.slots.clone(),
        _ => inherited.ok_or_else(|| {
            format!("the record does not say which slots the master {of} of {pod} had")
        })?,
    };
    Ok(Proposal::Succeed {
        from: of,
        succession: Succession {
            heir: identity.node_id,
            slots,
            epoch: standing.highest_epoch().saturating_add(1),
            held: None,
            reason: "a person decided it with `mooring promote`".to_owned(),
        },
    })
}

fn identity(standing: &Standing<'_>, pod: &str, member: &Member) -> Option<Identity> {
    record::known_identity(standing.plan, standing.set, pod, member)
}

fn identity_of(standing: &Standing<'_>, pod: &str, member: &Member) -> Option<(NodeId, Identity)> {
    identity(standing, pod, member).map(|identity| (identity.node_id, identity))
}

/// Has a node's id dropped from every file that a step repairs from now on.
///
/// # Errors
/// One sentence why not: a pod of the set has it.
pub async fn forget(
    client: Client,
    namespace: &str,
    set: &str,
    id: NodeId,
) -> Result<String, Fault> {
    let store = Store::new(client.clone());
    for _ in 0..ATTEMPTS {
        let (sets, record, pods) = known(&store, namespace, set).await?;
        let cluster = &sets.cluster;
        let holder = record.members().into_iter().find(|(name, member)| {
            let known = record::known_identity(&record.spec.plan, cluster, name, member);
            pods.contains_key(name) && known.is_some_and(|identity| identity.node_id == id)
        });
        if let Some((name, _)) = holder {
            return Err(Fault::Refused(format!("{id} is {name}, which is there: end it first")));
        }
        let mut forgotten = record.status.as_ref().map(|s| s.forgotten.clone()).unwrap_or_default();
        if !forgotten.insert(id) {
            return Ok(format!("{id} is forgotten already"));
        }
        let patch = json!({
            "metadata": {"resourceVersion": record.metadata.resource_version},
            "status": {"forgotten": forgotten},
        });
        let api = store.records(namespace);
        match api.patch_status(cluster, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {}
            Err(error) if is_conflict(&error) => continue,
            Err(error) => return Err(error.into()),
        }
        let report =
            Report::warning("Forgotten", &format!("{id} stays away, by a person's decision"));
        events::publish(client, namespace, set, set, report).await;
        let running: Vec<&str> =
            pods.iter().filter(|(_, p)| p.running).map(|(name, _)| name.as_str()).collect();
        return Ok(format!(
            "{id} is dropped from every nodes.conf at its pod's next start; the {} servers that run \
             know it until each is told CLUSTER FORGET {id} within a minute: {}",
            running.len(),
            running.join(" ")
        ));
    }
    Err(Fault::Unavailable("the record keeps changing".to_owned()))
}

/// A set's cluster, its record and its pods as they are now.
async fn known(
    store: &Store,
    namespace: &str,
    set: &str,
) -> Result<(Sets, ClusterRecord, BTreeMap<String, Pod>), Fault> {
    let (sets, record) = store.cluster_of(namespace, set).await?;
    let record = record.ok_or_else(|| {
        let why = "Mooring does not know this cluster";
        Fault::Refused(format!("there is no ClusterRecord {}: {why}", sets.cluster))
    })?;
    let pods = store.pods_of(&sets, Some(&record), namespace).await?;
    Ok((sets, record, pods))
}

#[cfg(test)]
mod tests;
