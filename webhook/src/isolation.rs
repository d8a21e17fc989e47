//! One NetworkPolicy for a cluster: its pods reach the servers' ports of their own cluster only.
//!
//! A server that gets a dead member's address can then neither be met nor copied, whatever the
//! engine does.
//!
//! Guarantees: only the two ports are closed, and only on the way out, so that everything else
//! stays as open as it was. It is not made where it would do harm: where another policy governs
//! what the pods may reach (policies add up, and ours would open what that one closes), or where
//! a pod of the set does not bear the name by which the others would reach it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::knobs::Knobs;
use crate::names;

/// What a server listens on where nobody says otherwise: for clients and for the bus.
pub const PORTS: [u16; 2] = [6379, 16379];

/// The policy's name.
pub fn name(cluster: &str) -> String {
    format!("mooring-{cluster}")
}

/// The cluster of a StatefulSet: its group, or itself.
pub fn cluster(set: &Value, knobs: &Knobs) -> String {
    let own = || set["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    knobs.group.clone().unwrap_or_else(own)
}

/// The policy of a cluster whose members listen on these ports. It goes with the StatefulSets that
/// ask for it: one, or those of a group.
pub fn policy(cluster: &str, sets: &[&Value], ports: &BTreeSet<u16>) -> Value {
    let own = json!({"podSelector": {"matchLabels": {names::NAME: cluster}}});
    let within: Vec<Value> =
        ports.iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect();
    let range = |protocol: &str, (first, last): (u16, u16)| match first == last {
        true => json!({"port": first, "protocol": protocol}),
        false => json!({"port": first, "endPort": last, "protocol": protocol}),
    };
    let mut elsewhere: Vec<Value> =
        others(ports).into_iter().map(|ports| range("TCP", ports)).collect();
    elsewhere.extend(["UDP", "SCTP"].map(|protocol| range(protocol, (1, u16::MAX))));
    let mut policy = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name(cluster),
            "labels": {"app.kubernetes.io/managed-by": names::MANAGER, names::NAME: cluster},
        },
        "spec": {
            "podSelector": {"matchLabels": {names::NAME: cluster}},
            "policyTypes": ["Egress"],
            "egress": [{"to": [own], "ports": within}, {"ports": elsewhere}],
        },
    });
    if let Some(namespace) = sets.iter().find_map(|set| set["metadata"]["namespace"].as_str()) {
        policy["metadata"]["namespace"] = json!(namespace);
    }
    let owners = sets.iter().filter_map(|set| {
        let (name, uid) = (&set["metadata"]["name"], set["metadata"]["uid"].as_str()?);
        Some(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name, "uid": uid}))
    });
    let owners: Vec<Value> = owners.collect();
    if !owners.is_empty() {
        policy["metadata"]["ownerReferences"] = json!(owners);
    }
    policy
}

/// Why a policy would do harm now: the pods of the StatefulSets and all policies of their namespace.
pub fn hindrance(
    cluster: &str,
    sets: &[&Value],
    pods: &[Value],
    policies: &[Value],
) -> Option<String> {
    if cluster.len() > 63 {
        return Some("its name is too long for a label".to_owned());
    }
    let labels = |set: &Value| set["spec"]["template"]["metadata"]["labels"].clone();
    let other = policies.iter().find(|policy| {
        policy["metadata"]["name"] != name(cluster).as_str()
            && governs_egress(policy)
            && sets.iter().any(|set| may_select(&policy["spec"]["podSelector"], &labels(set)))
    });
    if let Some(other) = other {
        let other = other["metadata"]["name"].as_str().unwrap_or_default();
        return Some(format!(
            "the NetworkPolicy {other} governs what its pods may reach, and together with another \
             one it would allow more: allow the servers' ports there, to pods with the label {}: \
             {cluster} only",
            names::NAME
        ));
    }
    let strange = pods.iter().find(|pod| {
        let owners = pod["metadata"]["ownerReferences"].as_array();
        let is_set = |owner: &Value| sets.iter().any(|s| s["metadata"]["name"] == owner["name"]);
        let ours = owners.into_iter().flatten().any(is_set);
        ours && pod["metadata"]["labels"][names::NAME] != cluster
    });
    strange.map(|pod| {
        let pod = pod["metadata"]["name"].as_str().unwrap_or_default();
        format!("the pod {pod} is from before the label, and the others could not reach it")
    })
}

/// All ports but these, as ranges.
fn others(ports: &BTreeSet<u16>) -> Vec<(u16, u16)> {
    let mut ranges = Vec::new();
    let mut next = Some(1u16);
    for port in ports.iter().copied().filter(|port| *port > 0) {
        if let Some(first) = next.filter(|first| *first < port) {
            ranges.push((first, port - 1));
        }
        next = port.checked_add(1);
    }
    ranges.extend(next.map(|first| (first, u16::MAX)));
    ranges
}

/// By default a policy governs egress only where it has rules for it.
fn governs_egress(policy: &Value) -> bool {
    let spec = &policy["spec"];
    match spec["policyTypes"].as_array() {
        Some(types) => types.iter().any(|t| t == "Egress"),
        None => spec["egress"].is_array(),
    }
}

/// Whether a selector fits labels, as far as its plain part says.
fn may_select(selector: &Value, labels: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object();
    wanted.into_iter().flatten().all(|(key, value)| labels[key] == *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Value {
        json!({
            "metadata": {"name": "cache", "namespace": "shop", "uid": "u"},
            "spec": {"template": {"metadata": {"labels": {"app": "cache", "tier": "data"}}}},
        })
    }

    #[test]
    fn only_the_servers_ports_are_closed() {
        let ranges = |ports: &[u16]| others(&ports.iter().copied().collect());
        assert_eq!(ranges(&PORTS), [(1, 6378), (6380, 16378), (16380, 65535)]);
        assert_eq!(ranges(&[1, 2, 65535]), [(3, 65534)]);
        assert_eq!(ranges(&[]), [(1, 65535)]);
        let policy = policy("cache", &[&set()], &PORTS.into());
        let egress = &policy["spec"]["egress"];
        assert_eq!(policy["spec"]["policyTypes"], json!(["Egress"]));
        assert_eq!(egress[0]["to"][0]["podSelector"]["matchLabels"][names::NAME], "cache");
        assert_eq!(egress[0]["ports"][1], json!({"port": 16379, "protocol": "TCP"}));
        assert!(egress[1]["to"].is_null());
        assert_eq!(egress[1]["ports"].as_array().map(Vec::len), Some(5));
        assert_eq!(policy["metadata"]["ownerReferences"][0]["uid"], "u");
    }

    #[test]
    fn a_group_has_one() {
        let part = |name: &str| {
            let mut part = set();
            part["metadata"]["name"] = json!(name);
            part
        };
        let (a, b) = (part("cache-a"), part("cache-b"));
        let policy = policy("cache", &[&a, &b], &PORTS.into());
        assert_eq!(policy["metadata"]["name"], "mooring-cache");
        assert_eq!(policy["spec"]["podSelector"]["matchLabels"][names::NAME], "cache");
        assert_eq!(policy["metadata"]["ownerReferences"][1]["name"], "cache-b");
        let pod = json!({"metadata": {
            "name": "cache-b-0", "labels": {}, "ownerReferences": [{"name": "cache-b"}],
        }});
        let why = hindrance("cache", &[&a, &b], &[pod], &[policy]);
        assert!(why.is_some_and(|w| w.contains("cache-b-0")));
    }

    #[test]
    fn it_is_not_made_where_it_would_open_or_break_something() {
        let other = |selector: Value, types: Value| {
            json!({
                "metadata": {"name": "deny"},
                "spec": {"podSelector": selector, "policyTypes": types},
            })
        };
        let why =
            |pods: &[Value], policies: &[Value]| hindrance("cache", &[&set()], pods, policies);
        let all = other(json!({}), json!(["Ingress", "Egress"]));
        assert!(why(&[], &[all]).is_some_and(|w| w.contains("NetworkPolicy deny")));
        let labels = json!({"matchLabels": {"app": "cache"}});
        assert!(why(&[], &[other(labels, json!(["Egress"]))]).is_some());
        assert_eq!(why(&[], &[other(json!({}), json!(["Ingress"]))]), None);
        let elsewhere = json!({"matchLabels": {"app": "web"}});
        assert_eq!(why(&[], &[other(elsewhere, json!(["Egress"]))]), None);
        assert_eq!(why(&[], &[policy("cache", &[&set()], &PORTS.into())]), None, "its own");

        let pod = |labels: Value| {
            json!({"metadata": {
                "name": "cache-0", "labels": labels, "ownerReferences": [{"name": "cache"}],
            }})
        };
        assert_eq!(why(&[pod(json!({names::NAME: "cache"}))], &[]), None);
        assert!(why(&[pod(json!({"app": "cache"}))], &[]).is_some_and(|w| w.contains("cache-0")));
    }
}
