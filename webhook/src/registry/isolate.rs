//! Keeps the NetworkPolicies of the clusters that ask for one.
//!
//! Guarantees: a policy is there only while a StatefulSet of its cluster asks for it and [`isolation::hindrance`] has
//! nothing against it; policies of others are never touched; several replicas do the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::record::ClusterRecord;
use super::store::selector;
use crate::knobs::Knobs;
use crate::{isolation, names};

/// Watches over labelled StatefulSets for ever.
pub async fn run(client: Client) {
    let mut told = BTreeMap::new();
    loop {
        if let Err(error) = round(&client, &mut told).await {
            warn!(%error, "NetworkPolicies could not be looked after");
            tokio::time::sleep(6 * PERIOD).await;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn round(
    client: &Client,
    told: &mut BTreeMap<(String, String), String>,
) -> Result<(), kube::Error> {
    let label = format!("{}=enabled", names::CLUSTER);
    let ours = format!("app.kubernetes.io/managed-by={}", names::MANAGER);
    let sets: Api<StatefulSet> = Api::all(client.clone());
    let sets = sets.list(&ListParams::default().labels(&label)).await?;
    let mut clusters: BTreeMap<(String, String), Vec<(StatefulSet, Knobs)>> = BTreeMap::new();
    for set in sets {
        let value = serde_json::to_value(&set).unwrap_or_default();
        let knobs = Knobs::read(&value["metadata"]).unwrap_or_default();
        if knobs.isolation == Some(true) && set.metadata.deletion_timestamp.is_none() {
            let key = (set.namespace().unwrap_or_default(), isolation::cluster(&value, &knobs));
            clusters.entry(key).or_default().push((set, knobs));
        }
    }
    let mut wanted = BTreeSet::new();
    for (key, members) in clusters {
        let (namespace, cluster) = &key;
        let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), namespace);
        let all = values(&policies.list(&ListParams::default()).await?.items);
        let mut pods = Vec::new();
        for (set, _) in &members {
            let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let of_set = set.spec.as_ref().map(|s| selector(&s.selector)).unwrap_or_default();
            let list = api.list(&ListParams::default().labels(&of_set).match_any()).await?;
            pods.extend(values(&list.items));
        }
        let sets: Vec<Value> =
            members.iter().filter_map(|(set, _)| serde_json::to_value(set).ok()).collect();
        let sets: Vec<&Value> = sets.iter().collect();
        if let Some(why) = isolation::hindrance(cluster, &sets, &pods, &all) {
            if told.get(&key) != Some(&why) {
                warn!(namespace, cluster, why, "The cluster is not isolated");
                told.insert(key, why);
            }
            continue;
        }
        let records: Api<ClusterRecord> = Api::namespaced(client.clone(), namespace);
        let said = members.iter().find_map(|(_, knobs)| knobs.port);
        let ports = ports(records.get_opt(cluster).await?.as_ref(), said);
        wanted.insert((namespace.clone(), isolation::name(cluster)));
        let mut policy = isolation::policy(cluster, &sets, &ports);
        let present = all.iter().find(|p| p["metadata"]["name"] == policy["metadata"]["name"]);
        if present.is_some_and(|p| p["spec"]["egress"] == policy["spec"]["egress"]) {
            continue;
        }
        policy["metadata"]["namespace"] = json!(namespace);
        let params = PatchParams::apply(names::MANAGER).force();
        policies.patch(&isolation::name(cluster), &params, &Patch::Apply(&policy)).await?;
        info!(namespace, cluster, ?ports, "Isolated");
        told.remove(&key);
    }
    // What no set asks for any more, or what would do harm by now.
    let kept: Api<NetworkPolicy> = Api::all(client.clone());
    for policy in kept.list(&ListParams::default().labels(&ours).match_any()).await? {
        let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
        let owners = policy.metadata.owner_references.iter().flatten().map(|o| &o.name);
        let mut clusters = owners.chain(policy.labels().get(names::NAME));
        let made = clusters.any(|cluster| isolation::name(cluster) == name);
        if made && !wanted.contains(&(namespace.clone(), name.clone())) {
            let api: Api<NetworkPolicy> = Api::namespaced(client.clone(), &namespace);
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => info!(namespace, policy = name, "Isolated no more"),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// The ports that members have registered; before that, what the annotation says.
fn ports(record: Option<&ClusterRecord>, said: Option<u16>) -> BTreeSet<u16> {
    let members = record.map(ClusterRecord::members).unwrap_or_default();
    let registered: BTreeSet<u16> = members
        .values()
        .flat_map(|m| [m.ports.tcp, m.ports.tls, Some(m.ports.bus)].into_iter().flatten())
        .collect();
    match (registered.is_empty(), said) {
        (false, _) => registered,
        (true, Some(port)) => [port, port.saturating_add(10_000)].into(),
        (true, None) => isolation::PORTS.into(),
    }
}

fn values<T: serde::Serialize>(items: &[T]) -> Vec<Value> {
    items.iter().filter_map(|item| serde_json::to_value(item).ok()).collect()
}

const PERIOD: Duration = Duration::from_secs(10);
