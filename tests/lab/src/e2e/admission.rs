//! What the API server stores and what it denies, by way of the webhook.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Case;
use crate::ground::{Engine, Ground};
use crate::manifests::{self, fill};
use crate::report::Report;

/// Fields newer than Kubernetes 1.33, to whose types the webhook is compiled, by their place in a
/// pod's spec.
const NEW_FIELDS: [&str; 4] = [
    "/containers/0/restartPolicyRules/0/action",
    "/containers/0/env/0/valueFrom/fileKeyRef/key",
    "/containers/0/lifecycle/stopSignal",
    "/hostnameOverride",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![Case {
        name: "admission::fields-are-kept".to_owned(),
        run: Box::new(fields_are_kept),
    }];
    for (name, manifest, words) in [
        (
            "four-with-one-replica",
            include_str!("../../manifests/denied-shape.yaml"),
            &["spec.replicas to 6"] as &'static [_],
        ),
        (
            "no-cluster-enabled",
            include_str!("../../manifests/denied-options.yaml"),
            &["cluster-enabled"],
        ),
        (
            "two-servers",
            include_str!("../../manifests/denied-containers.yaml"),
            &["mooring.dev/container"],
        ),
    ] {
        let body = move |ground: &Ground, _: &mut Report| denied(ground, manifest, words);
        cases.push(Case { name: format!("admission::denied::{name}"), run: Box::new(body) });
    }
    cases
}

/// `kubectl apply` fails with a sentence that has these words.
fn denied(ground: &Ground, manifest: &str, words: &[&str]) -> Result<()> {
    let namespace = "e2e-denied";
    ground.kubectl.apply(&manifests::namespace(namespace, "e2e")?)?;
    let image = ground.server(Engine::Redis70);
    let output = ground
        .kubectl
        .try_apply(&fill(manifest, &[("namespace", namespace), ("image", image)])?)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "kubectl apply was let through");
    ensure!(said.contains("denied the request"), "failed for another reason: {said}");
    for word in words {
        ensure!(said.contains(word), "the sentence does not say {word}: {said}");
    }
    Ok(())
}

/// Everything that stands in the StatefulSet's template stands in its pods.
fn fields_are_kept(ground: &Ground, _: &mut Report) -> Result<()> {
    let namespace = "e2e-fields";
    ground.kubectl.apply(&manifests::namespace(namespace, "e2e")?)?;
    let values = [("namespace", namespace), ("image", ground.server(Engine::Redis70))];
    let outcome = (|| {
        ground.kubectl.apply(&fill(include_str!("../../manifests/new-fields.yaml"), &values)?)?;
        let set = ground.kubectl.json(&["get", "statefulset", "-n", namespace, "redis"])?;
        let template = set.pointer("/spec/template/spec").context("no template")?;
        let stored: Vec<_> =
            NEW_FIELDS.iter().filter(|field| template.pointer(field).is_some()).collect();
        ensure!(stored.len() >= 2, "the API server knows only {stored:?} of the new fields");
        let pod = (0..50)
            .find_map(|_| {
                thread::sleep(Duration::from_millis(200));
                ground.kubectl.json(&["get", "pod", "-n", namespace, "redis-0"]).ok()
            })
            .context("the pod was not created")?;
        let spec = pod.pointer("/spec").context("the pod has no spec")?;
        ensure!(
            names(spec, "/initContainers").contains(&"mooring-step"),
            "the pod was not injected"
        );
        match missing(template, spec, "spec") {
            Some(path) => bail!("the pod has lost {path}"),
            None => Ok(()),
        }
    })();
    ground.kubectl.run(&["delete", "namespace", namespace, "--wait=false"])?;
    outcome
}

fn names<'a>(object: &'a Value, list: &str) -> Vec<&'a str> {
    let items = object.pointer(list).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(|item| item.get("name")?.as_str()).collect()
}

/// The first path of `wanted` that `got` lacks or has changed. Lists may have more items; items with
/// a name are compared by name.
fn missing(wanted: &Value, got: &Value, path: &str) -> Option<String> {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => wanted.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match got.get(key) {
                Some(got) => missing(value, got, &path),
                None => Some(path),
            }
        }),
        (Value::Array(wanted), Value::Array(got)) => {
            wanted.iter().enumerate().find_map(|(i, value)| {
                let path = format!("{path}[{i}]");
                let same = |other: &&Value| match value.get("name") {
                    Some(name) => other.get("name") == Some(name),
                    None => missing(value, other, &path).is_none(),
                };
                match got.iter().find(same) {
                    Some(got) => missing(value, got, &path),
                    None => Some(path),
                }
            })
        }
        _ => (wanted != got).then(|| path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let wanted =
            json!({"a": 1, "list": [{"name": "x", "new": {"field": true}}], "words": ["b"]});
        let mut got = json!({
            "a": 1, "more": 2, "words": ["a", "b"],
            "list": [{"name": "added"}, {"name": "x", "new": {"field": true}, "env": []}]
        });
        assert_eq!(missing(&wanted, &got, "spec"), None);
        got["list"][1]["new"] = json!({});
        assert_eq!(missing(&wanted, &got, "spec").as_deref(), Some("spec.list[0].new.field"));
        got["a"] = json!(2);
        assert_eq!(missing(&wanted, &got, "spec").as_deref(), Some("spec.a"));
    }
}
