//! Which pods were seen to end.
//!
//! A pod that is deleted in the regular way goes only after its kubelet has reported all its
//! containers as terminated. One that was deleted by force may still run. A replica knows the ends
//! that it has seen itself: what it does not know is never said to have ended.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tracing::warn;

use crate::names;

/// The uids of pods that have ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Ended(Arc<Mutex<Uids>>);

#[derive(Debug, Default)]
struct Uids {
    /// With the moment at which the last of its containers terminated, if any ever ran.
    known: HashMap<String, Option<String>>,
    order: VecDeque<String>,
}

// === impl Ended ===

impl Ended {
    /// Whether a pod was seen to end.
    pub(super) fn contains(&self, uid: &str) -> bool {
        self.0.lock().is_ok_and(|uids| uids.known.contains_key(uid))
    }

    /// When a pod's last container terminated (RFC 3339, cut to the second), if that was seen.
    pub(super) fn at(&self, uid: &str) -> Option<String> {
        self.0.lock().ok()?.known.get(uid).cloned().flatten()
    }

    /// Watches injected pods for ever.
    pub(super) async fn run(&self, client: Client) {
        let pods: Api<Pod> = Api::all(client);
        let injected = watcher::Config::default().labels(names::NAME);
        let mut events = watcher(pods, injected).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                // The last state that the API server had.
                Ok(watcher::Event::Delete(pod)) => self.note(&pod),
                Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => self.note(&pod),
                Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                Err(error) => warn!(%error, "The watch of pods was interrupted"),
            }
        }
    }

    /// One that has seen these.
    #[cfg(test)]
    pub(super) fn of(uids: &[&str]) -> Self {
        let ended = Self::default();
        uids.iter().for_each(|uid| ended.add(uid, None));
        ended
    }

    fn note(&self, pod: &Pod) {
        if let Some(uid) = pod.metadata.uid.as_ref().filter(|_| is_over(pod)) {
            self.add(uid, finished_at(pod));
        }
    }

    fn add(&self, uid: &str, at: Option<String>) {
        if let Ok(mut uids) = self.0.lock()
            && uids.known.insert(uid.to_owned(), at).is_none()
        {
            uids.order.push_back(uid.to_owned());
            if uids.order.len() > REMEMBERED_AT_MOST
                && let Some(oldest) = uids.order.pop_front()
            {
                uids.known.remove(&oldest);
            }
        }
    }
}

/// Whether a pod is being deleted, or has failed, and none of its containers runs any more or ever
/// did: no node was chosen, or its kubelet says that all have terminated.
fn is_over(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or_default();
    if matches!(phase, "Failed" | "Succeeded") {
        return true;
    }
    if pod.metadata.deletion_timestamp.is_none() {
        return false;
    }
    if pod.spec.as_ref().is_none_or(|s| s.node_name.is_none()) {
        return true;
    }
    let containers = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let count = pod.spec.as_ref().map_or(0, |s| s.containers.len());
    containers.len() == count
        && containers.iter().all(|c| c.state.as_ref().is_some_and(|s| s.terminated.is_some()))
}

fn finished_at(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_deref().unwrap_or_default();
    let states = containers.iter().filter_map(|c| c.state.as_ref()?.terminated.as_ref());
    states.filter_map(|t| Some(t.finished_at.as_ref()?.0)).max().map(|at| at.to_string())
}

const REMEMBERED_AT_MOST: usize = 100_000;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(deleting: bool, node: Option<&str>, phase: &str, states: &[Value]) -> Pod {
        let statuses: Vec<_> = states
            .iter()
            .map(|s| {
                json!({"name": "redis", "image": "", "imageID": "", "ready": false,
                    "restartCount": 0, "state": s})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"uid": "u", "deletionTimestamp": deleting.then_some("2026-01-01T00:00:00Z")},
            "spec": {"nodeName": node, "containers": [{"name": "redis"}]},
            "status": {"phase": phase, "containerStatuses": statuses},
        }))
        .unwrap()
    }

    #[test]
    fn only_what_is_seen_has_ended() {
        let dead = json!({"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:00:09Z"}});
        let alive = json!({"running": {}});
        assert!(is_over(&pod(true, Some("n"), "Running", std::slice::from_ref(&dead))));
        assert!(!is_over(&pod(true, Some("n"), "Running", &[alive])), "deleted by force");
        assert!(!is_over(&pod(true, Some("n"), "Pending", &[])), "nothing known of its containers");
        assert!(
            !is_over(&pod(false, Some("n"), "Running", std::slice::from_ref(&dead))),
            "it may restart"
        );
        assert!(is_over(&pod(true, None, "Pending", &[])));
        assert!(is_over(&pod(false, Some("n"), "Failed", &[])));
        let ended = Ended::default();
        ended.note(&pod(true, None, "Pending", &[]));
        assert!(ended.contains("u") && !ended.contains("v"));
        assert_eq!(ended.at("u"), None, "it never ran");
        ended.note(&pod(true, Some("n"), "Running", std::slice::from_ref(&dead)));
        assert_eq!(ended.at("u").as_deref(), Some("2026-01-01T00:00:09Z"));
    }
}
