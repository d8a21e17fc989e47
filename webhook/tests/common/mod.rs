//! What the tests share: a fixed policy, a fixed plan, and the independent judge of patches.

#![allow(dead_code, reason = "each test uses a part of it")]

use cluster::plan::Plan;
use mooring::admission::{self, Answer, Denial, Policy};
use serde_json::Value;

pub(crate) fn policy() -> Policy {
    Policy {
        image: "registry.example/mooring:1".to_owned(),
        registry: "https://mooring.mooring-system.svc:443".to_owned(),
        registry_address: Some("10.96.0.7:443".to_owned()),
        ca: "CERTIFICATES".to_owned(),
        restart_all_containers: true,
    }
}

pub(crate) fn plan() -> Plan {
    Plan {
        salt: "golden".to_owned(),
        shards: 3,
        replicas_per_shard: 1,
        generation: 1,
        sets: Vec::new(),
    }
}

/// What admission answers, by the object's kind.
pub(crate) fn admit(object: &Value) -> Result<Answer, Denial> {
    match object["kind"].as_str() {
        Some("Pod") => admission::pod(&policy(), Some(&plan()), object),
        _ => admission::set(object, None, None, 0),
    }
}

/// Applies a patch with another implementation than ours.
pub(crate) fn apply(object: &Value, answer: &Answer) -> Value {
    let ops = serde_json::to_value(&answer.patch).unwrap();
    let patch: json_patch::Patch = serde_json::from_value(ops).unwrap();
    let mut applied = object.clone();
    json_patch::patch(&mut applied, &patch).unwrap();
    applied
}
