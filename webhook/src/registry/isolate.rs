//! Keeps the NetworkPolicies of the sets that ask for one.
//!
//! Guarantees: a policy is there only while its set asks for it and [`isolation::hindrance`] has
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
    let mut wanted = BTreeSet::new();
    for set in &sets.items {
        let (namespace, name) = (set.namespace().unwrap_or_default(), set.name_any());
        let value = serde_json::to_value(set).unwrap_or_default();
        let knobs = Knobs::read(&value["metadata"]).unwrap_or_default();
        if knobs.isolation != Some(true) || set.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let key = (namespace.clone(), name.clone());
        let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), &namespace);
        let all = policies.list(&ListParams::default()).await?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let of_set = set.spec.as_ref().map(|s| selector(&s.selector)).unwrap_or_default();
        let pods = pods.list(&ListParams::default().labels(&of_set).match_any()).await?;
        let (pods, all) = (values(&pods.items), values(&all.items));
        if let Some(why) = isolation::hindrance(&value, &pods, &all) {
            if told.insert(key, why.clone()) != Some(why.clone()) {
                warn!(namespace, set = name, why, "The set is not isolated");
            }
            continue;
        }
        let records: Api<ClusterRecord> = Api::namespaced(client.clone(), &namespace);
        let ports = ports(records.get_opt(&name).await?.as_ref(), &knobs);
        wanted.insert((namespace.clone(), isolation::name(&name)));
        let mut policy = isolation::policy(&value, &ports);
        let present = all.iter().find(|p| p["metadata"]["name"] == policy["metadata"]["name"]);
        if present.is_some_and(|p| p["spec"]["egress"] == policy["spec"]["egress"]) {
            continue;
        }
        policy["metadata"]["namespace"] = json!(namespace);
        let params = PatchParams::apply(names::MANAGER).force();
        policies.patch(&isolation::name(&name), &params, &Patch::Apply(&policy)).await?;
        told.remove(&key);
        info!(namespace, set = name, ?ports, "Isolated");
    }
    // What no set asks for any more, or what would do harm by now.
    let kept: Api<NetworkPolicy> = Api::all(client.clone());
    for policy in kept.list(&ListParams::default().labels(&ours).match_any()).await? {
        let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
        let made = policy.metadata.owner_references.iter().flatten();
        let of_set = made.clone().any(|o| isolation::name(&o.name) == name);
        if of_set && !wanted.contains(&(namespace.clone(), name.clone())) {
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
fn ports(record: Option<&ClusterRecord>, knobs: &Knobs) -> BTreeSet<u16> {
    let members = record.map(ClusterRecord::members).unwrap_or_default();
    let registered: BTreeSet<u16> = members
        .values()
        .flat_map(|m| [m.ports.tcp, m.ports.tls, Some(m.ports.bus)].into_iter().flatten())
        .collect();
    match (registered.is_empty(), knobs.port) {
        (false, _) => registered,
        (true, Some(port)) => [port, port.saturating_add(10_000)].into(),
        (true, None) => isolation::PORTS.into(),
    }
}

fn values<T: serde::Serialize>(items: &[T]) -> Vec<Value> {
    items.iter().filter_map(|item| serde_json::to_value(item).ok()).collect()
}

const PERIOD: Duration = Duration::from_secs(10);
