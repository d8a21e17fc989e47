//! Pods as the API server tells of them, and when it told.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::clock;
use crate::kubectl::Kubectl;
use crate::timeline::At;

/// What matters of a pod here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// Its phase.
    pub phase: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The id of its first container, without the runtime's name.
    pub container_id: Option<String>,
    /// When that container was started, to the second.
    pub started_at: Option<At>,
    /// How often it was restarted.
    pub restarts: u64,
    /// Names of its init containers.
    pub init_containers: Vec<String>,
}

/// The pods of a selection, followed until dropped.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    events: Arc<Mutex<Vec<Event>>>,
}

/// The state of a pod, and when it was learned. `None`: the pod is gone.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: At,
    /// Name of the pod.
    pub name: String,
    /// What it is now.
    pub pod: Option<Pod>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

// === impl Pod ===

impl Pod {
    /// Reads the API's object.
    pub fn parse(object: &Value) -> Self {
        let text = |at: &str| object.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let status = object.pointer("/status/containerStatuses/0");
        let of_status = |at: &str| status.and_then(|s| s.pointer(at));
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let init = object.pointer("/spec/initContainers").and_then(Value::as_array);
        Self {
            name: text("/metadata/name").unwrap_or_default(),
            uid: text("/metadata/uid").unwrap_or_default(),
            ip: text("/status/podIP").filter(|ip| !ip.is_empty()),
            phase: text("/status/phase").unwrap_or_default(),
            ready: conditions.into_iter().flatten().any(|condition| {
                let is = |key: &str, value: &str| {
                    condition.get(key).and_then(Value::as_str) == Some(value)
                };
                is("type", "Ready") && is("status", "True")
            }),
            deleting: object.pointer("/metadata/deletionTimestamp").is_some(),
            container_id: of_status("/containerID")
                .and_then(Value::as_str)
                .and_then(|id| id.rsplit('/').next())
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            started_at: of_status("/state/running/startedAt")
                .and_then(Value::as_str)
                .and_then(clock::parse_rfc3339),
            restarts: of_status("/restartCount").and_then(Value::as_u64).unwrap_or_default(),
            init_containers: init
                .into_iter()
                .flatten()
                .filter_map(|container| container.get("name")?.as_str().map(str::to_owned))
                .collect(),
        }
    }
}

/// The pods with that label, by name.
pub fn list(kubectl: &Kubectl, namespace: &str, selector: &str) -> Result<BTreeMap<String, Pod>> {
    let list = kubectl.json(&["get", "pods", "-n", namespace, "-l", selector])?;
    let items = list.get("items").and_then(Value::as_array);
    let pods = items.into_iter().flatten().map(Pod::parse);
    Ok(pods.map(|pod| (pod.name.clone(), pod)).collect())
}

// === impl Watch ===

impl Watch {
    /// Begins to follow; returns once the pods that there are have been told, if there are any.
    pub fn start(kubectl: &Kubectl, namespace: &str, selector: &str) -> Result<Self> {
        let args = ["get", "pods", "-n", namespace, "-l", selector, "--watch"];
        let mut child = kubectl
            .command(&[&args[..], &["--output-watch-events", "-o", "json"]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run kubectl")?;
        let stdout = child.stdout.take().context("no pipe from kubectl")?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&events);
        thread::spawn(move || {
            let lines = serde_json::Deserializer::from_reader(BufReader::new(stdout));
            for line in lines.into_iter::<Line>().map_while(Result::ok) {
                let pod = Pod::parse(&line.object);
                let gone = line.kind == "DELETED";
                let name = pod.name.clone();
                let event = Event { at: clock::now(), name, pod: (!gone).then_some(pod) };
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
        });
        let watch = Self { child, events };
        for _ in 0..40 {
            if !watch.events().is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(watch)
    }

    /// Everything told so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `count` pods satisfy `wanted` at the same time, and says since when.
    pub fn wait(&self, count: usize, limit: Duration, wanted: impl Fn(&Pod) -> bool) -> Result<At> {
        let until = clock::now().0.saturating_add(limit.as_micros() as u64);
        loop {
            if let Some(at) = since_when(&self.events(), count, &wanted) {
                return Ok(at);
            }
            if clock::now().0 > until {
                bail!("not {count} pods as wanted within {} s", limit.as_secs());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// When the last of `count` pods came to satisfy `wanted`, if that many do at the end.
pub fn since_when(events: &[Event], count: usize, wanted: impl Fn(&Pod) -> bool) -> Option<At> {
    let mut good: BTreeMap<&str, At> = BTreeMap::new();
    let mut complete = None;
    for event in events {
        if event.pod.as_ref().is_some_and(&wanted) {
            good.entry(&event.name).or_insert(event.at);
        } else {
            good.remove(event.name.as_str());
        }
        complete = match (good.len() >= count, complete) {
            (false, _) => None,
            (true, None) => Some(event.at),
            (true, known) => known,
        };
    }
    complete
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_read() {
        let pod = Pod::parse(&json!({
            "metadata": {"name": "redis-0", "uid": "u", "deletionTimestamp": "2026-11-25T00:00:00Z"},
            "spec": {"initContainers": [{"name": "mooring-step"}]},
            "status": {
                "phase": "Running", "podIP": "10.0.0.1",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{
                    "containerID": "containerd://abc", "restartCount": 2,
                    "state": {"running": {"startedAt": "1970-01-01T00:00:02Z"}}
                }]
            }
        }));
        assert_eq!((pod.name.as_str(), pod.ip.as_deref()), ("redis-0", Some("10.0.0.1")));
        assert!(pod.ready && pod.deleting);
        assert_eq!((pod.container_id.as_deref(), pod.restarts), (Some("abc"), 2));
        assert_eq!(pod.started_at, Some(At(2_000_000)));
        assert_eq!(pod.init_containers, ["mooring-step"]);
    }

    #[test]
    fn the_last_of_them_counts() {
        let event = |at, name: &str, ready| Event {
            at: At(at),
            name: name.to_owned(),
            pod: Some(Pod { name: name.to_owned(), ready, ..Pod::default() }),
        };
        let mut events = vec![event(1, "a", true), event(2, "b", false), event(3, "b", true)];
        assert_eq!(since_when(&events, 2, |pod| pod.ready), Some(At(3)));
        events.push(event(4, "a", true));
        assert_eq!(since_when(&events, 2, |pod| pod.ready), Some(At(3)));
        events.push(Event { at: At(5), name: "a".to_owned(), pod: None });
        assert_eq!(since_when(&events, 2, |pod| pod.ready), None);
    }
}
