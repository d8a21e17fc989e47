//! Tells a StatefulSet's controller to try again at once.
//!
//! While the webhook is away, pods that opted in can not be created, and the controller backs off
//! for minutes. Any change of the StatefulSet makes it try: an annotation is one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tracing::{info, warn};

use super::store::selector;
use crate::names;

/// Watches over labelled StatefulSets for ever.
pub async fn run(client: Client) {
    let mut watch: HashMap<(String, String), Missing> = HashMap::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        if let Err(error) = round(&client, &mut watch).await {
            warn!(%error, "StatefulSets could not be looked at");
            tokio::time::sleep(10 * PERIOD).await;
        }
    }
}

/// A pod that should be there and is not.
#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Instant,
    nudges: u32,
    next: Instant,
}

async fn round(
    client: &Client,
    watch: &mut HashMap<(String, String), Missing>,
) -> Result<(), kube::Error> {
    let all: Api<StatefulSet> = Api::all(client.clone());
    // From the API server's cache: late by moments, and cheap.
    let params = ListParams::default().labels(&format!("{}=enabled", names::CLUSTER)).match_any();
    let sets = all.list(&params).await?;
    let mut lacking = Vec::new();
    for set in &sets.items {
        if set.metadata.deletion_timestamp.is_none() && lacks_pods(set) {
            let key = (
                set.metadata.namespace.clone().unwrap_or_default(),
                set.metadata.name.clone().unwrap_or_default(),
            );
            let pods: Api<Pod> = Api::namespaced(client.clone(), &key.0);
            let selector = set.spec.as_ref().map(|s| selector(&s.selector)).unwrap_or_default();
            let pods = pods.list(&ListParams::default().labels(&selector)).await?;
            if is_due(set, &key.1, &pods.items) {
                lacking.push(key);
            }
        }
    }
    watch.retain(|key, _| lacking.contains(key));
    let now = Instant::now();
    for key in lacking {
        let missing = watch.entry(key.clone()).or_insert(Missing {
            since: now,
            nudges: 0,
            next: now + PATIENCE,
        });
        if now < missing.next {
            continue;
        }
        missing.nudges += 1;
        missing.next = now + backoff(missing.nudges);
        let (namespace, set) = key;
        let waited = now.duration_since(missing.since);
        info!(namespace, set, ?waited, "A pod is missing: nudging the StatefulSet's controller");
        let at = format!("{:.0}", Timestamp::now());
        let patch = json!({"metadata": {"annotations": {names::NUDGED: at}}});
        let api: Api<StatefulSet> = Api::namespaced(client.clone(), &namespace);
        let params = PatchParams {
            field_manager: Some(names::MANAGER.to_owned()),
            ..PatchParams::default()
        };
        if let Err(error) = api.patch_metadata(&set, &params, &Patch::Merge(patch)).await {
            warn!(namespace, set, %error, "The StatefulSet could not be nudged");
        }
    }
    Ok(())
}

fn lacks_pods(set: &StatefulSet) -> bool {
    let wanted = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    set.status.as_ref().is_none_or(|s| s.replicas < wanted)
}

/// Whether a pod is missing that the controller should have made by now.
fn is_due(set: &StatefulSet, name: &str, pods: &[Pod]) -> bool {
    let Some(spec) = &set.spec else { return false };
    let start = spec.ordinals.as_ref().and_then(|o| o.start).unwrap_or(0);
    let parallel = spec.pod_management_policy.as_deref() == Some("Parallel");
    for ordinal in start..start + spec.replicas.unwrap_or(1) {
        let wanted = format!("{name}-{ordinal}");
        let Some(pod) = pods.iter().find(|p| p.metadata.name.as_deref() == Some(&wanted)) else {
            return true;
        };
        // One after the other: until this one is ready, the next one is not due.
        if !parallel && !is_ready(pod) {
            return false;
        }
    }
    false
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// 2, 4, 8 ... 60 seconds.
fn backoff(nudges: u32) -> Duration {
    Duration::from_secs(1 << nudges.min(6)).min(Duration::from_secs(60))
}

const PERIOD: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(policy: &str, replicas: i32, there: i32) -> StatefulSet {
        serde_json::from_value(json!({
            "spec": {
                "podManagementPolicy": policy, "replicas": replicas, "serviceName": "c",
                "selector": {}, "template": {},
            },
            "status": {"replicas": there},
        }))
        .unwrap()
    }

    fn pod(name: &str, ready: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_due_when_its_controller_would_make_it() {
        let pods = [pod("c-0", "True"), pod("c-1", "False")];
        assert!(is_due(&set("Parallel", 3, 2), "c", &pods));
        assert!(!is_due(&set("OrderedReady", 3, 2), "c", &pods), "c-1 is not ready");
        assert!(!is_due(&set("Parallel", 2, 2), "c", &pods));
        let ready = [pod("c-0", "True"), pod("c-1", "True")];
        assert!(is_due(&set("OrderedReady", 3, 2), "c", &ready));
        assert!(is_due(&set("OrderedReady", 3, 0), "c", &[]));
        assert!(lacks_pods(&set("Parallel", 3, 2)) && !lacks_pods(&set("Parallel", 3, 3)));
    }

    #[test]
    fn it_backs_off() {
        let seconds: Vec<_> = (1..=7).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32, 60, 60]);
    }
}
