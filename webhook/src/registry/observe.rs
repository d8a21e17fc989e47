//! Objects of the API server as members need to know them.

use cluster::id::Ordinal;
use cluster::past::{Claim, Made};
use cluster::protocol::Pod as PodSeen;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::Value;

use crate::names;

/// A claim, and whether it was filled from somewhere.
pub(super) fn claim(claim: PersistentVolumeClaim) -> Option<Claim> {
    let spec = claim.spec.unwrap_or_default();
    let labels = claim.metadata.labels.unwrap_or_default();
    let restored = spec.data_source.is_some()
        || spec.data_source_ref.is_some()
        || labels.keys().any(|k| k.starts_with("velero.io/"));
    Some(Claim {
        name: claim.metadata.name?,
        created: Made(claim.metadata.creation_timestamp?.0.as_millisecond()),
        restored,
    })
}

/// A pod as members need to know it; `None` if it is not one of the set's.
pub(super) fn seen(pod: &Pod, set: &str) -> Option<(String, PodSeen)> {
    let name = pod.metadata.name.clone()?;
    Ordinal::of_pod(&name, set)?;
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let controller = owners.iter().find(|o| o.controller == Some(true));
    if controller.is_some_and(|o| o.kind != "StatefulSet" || o.name != set) {
        return None;
    }
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or_default();
    if matches!(phase, "Failed" | "Succeeded") {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    let injected = spec.init_containers.iter().flatten().any(|c| c.name == names::STEP);
    let container = pod.metadata.annotations.as_ref().and_then(|a| {
        let status: Value = serde_json::from_str(a.get(names::STATUS)?).ok()?;
        Some(status["container"].as_str()?.to_owned())
    });
    let statuses = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let servers = || statuses.iter().filter(|s| container.as_ref().is_none_or(|c| *c == s.name));
    let ended = servers().filter_map(|s| {
        let states = [&s.last_state, &s.state].into_iter().flatten();
        states.filter_map(|state| Some(state.terminated.as_ref()?.finished_at.as_ref()?.0)).max()
    });
    let running = servers().any(|s| s.state.as_ref().is_some_and(|s| s.running.is_some()));
    let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let ips = status.and_then(|s| s.pod_ips.as_deref()).unwrap_or_default();
    let seen = PodSeen {
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        ips: ips.iter().filter_map(|ip| ip.ip.parse().ok()).collect(),
        injected,
        scheduled: spec.node_name.is_some(),
        ended_at: ended.max().map(|time| time.to_string()),
        running,
        ready: conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        deleting: pod.metadata.deletion_timestamp.is_some(),
    };
    Some((name, seen))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_seen_as_members_need_to_know_it() {
        let pod = |name: &str, owner: &str, phase: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {
                    "name": name, "uid": "u",
                    "annotations": {names::STATUS: r#"{"container": "redis"}"#},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet",
                        "name": owner, "uid": "s", "controller": true}],
                },
                "spec": {"initContainers": [{"name": names::STEP}], "containers": []},
                "status": {
                    "phase": phase,
                    "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                    "conditions": [{"type": "Ready", "status": "False"}],
                    "containerStatuses": [
                        {"name": "redis", "image": "", "imageID": "", "ready": false,
                         "restartCount": 0, "state": {"waiting": {}}},
                        {"name": "metrics", "image": "", "imageID": "", "ready": true,
                         "restartCount": 0, "state": {"running": {}}},
                    ],
                },
            }))
            .unwrap()
        };
        let (name, seen_pod) = seen(&pod("c-0", "c", "Running"), "c").unwrap();
        assert_eq!((name.as_str(), seen_pod.ips.len()), ("c-0", 2));
        assert!(seen_pod.injected && !seen_pod.running && !seen_pod.ready && !seen_pod.deleting);
        assert!(!seen_pod.scheduled, "no machine takes it");
        let mut taken = pod("c-0", "c", "Pending");
        taken.spec.as_mut().unwrap().node_name = Some("n".to_owned());
        assert!(seen(&taken, "c").unwrap().1.scheduled);
        assert_eq!(seen(&pod("c-0", "other", "Running"), "c"), None);
        assert_eq!(seen(&pod("c-0-debug", "c", "Running"), "c"), None);
        assert_eq!(seen(&pod("c-0", "c", "Failed"), "c"), None);
    }
}
