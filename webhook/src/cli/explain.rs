//! `mooring explain`: would it be injected, why not, and what is missing?

use std::io::{Read, Write};

use clap::Args;
use cluster::plan::Shape;
use serde_json::Value;

use super::{inject, manifest};
use crate::admission::edit::{Edit, token};
use crate::admission::{Answer, Policy, Skip, find};
use crate::knobs::Knobs;
use crate::names;
use crate::registry::Wanted;

/// Nothing to set: it is the webhook's own judgement.
#[derive(Args, Clone, Copy, Debug)]
pub struct Options {}

/// Reads manifests, writes a paragraph for each StatefulSet and pod.
pub fn run(_: &Options, input: impl Read, mut output: impl Write) -> anyhow::Result<()> {
    for object in manifest::read(input)? {
        let lines = paragraph(&object);
        if !lines.is_empty() {
            writeln!(output, "{}", manifest::title(&object))?;
            for line in lines {
                writeln!(output, "  {line}")?;
            }
        }
    }
    Ok(())
}

fn paragraph(object: &Value) -> Vec<String> {
    let policy = Policy {
        image: String::new(),
        registry: String::new(),
        registry_address: None,
        ca: String::new(),
        restart_all_containers: false,
    };
    match inject::apply(&policy, true, object) {
        Ok(Answer { skip: Some(Skip::OtherKind), .. }) => Vec::new(),
        Ok(Answer { skip: Some(skip), .. }) => {
            let mut lines = vec![format!("is left alone: {}", skip.sentence())];
            if skip == Skip::NotOptedIn {
                lines.extend(if_opted_in(&policy, object));
            }
            lines
        }
        Ok(answer) => {
            let mut lines = vec!["is injected".to_owned()];
            lines.extend(facts(object));
            lines.extend(answer.warnings.iter().map(|w| format!("warning: {w}")));
            lines
        }
        Err(denial) => vec![format!("is denied: {denial}")],
    }
}

/// What would become of it with the label.
fn if_opted_in(policy: &Policy, object: &Value) -> Vec<String> {
    let mut edit = Edit::new(object.clone());
    edit.set(&format!("/metadata/labels/{}", token(names::CLUSTER)), "enabled".into());
    let (_, labelled) = edit.finish();
    match inject::apply(policy, true, &labelled) {
        Ok(Answer { skip: Some(skip), .. }) => {
            vec![format!("with the label it would be left alone, too: {}", skip.sentence())]
        }
        Ok(answer) => {
            let mut lines = vec!["with the label it would be injected".to_owned()];
            lines.extend(facts(&labelled));
            lines.extend(answer.warnings.iter().map(|w| format!("warning: {w}")));
            lines
        }
        Err(denial) => vec![format!("with the label it would be denied: {denial}")],
    }
}

/// What is read from it: the container, the directory, the shape.
fn facts(object: &Value) -> Vec<String> {
    let is_set = object["kind"] == "StatefulSet";
    let spec = if is_set { &object["spec"]["template"]["spec"] } else { &object["spec"] };
    let Ok(knobs) = Knobs::read(&object["metadata"]) else { return Vec::new() };
    let containers = spec["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let Ok(server) = find::server(containers, &knobs) else { return Vec::new() };
    let dir = find::dir(&containers[server.index], &server, &knobs);
    let mut lines = vec![format!("server container: {}", server.name)];
    if let Some(launch) = &server.launch {
        let file = knobs.config.as_deref().or(launch.config_file());
        lines.push(format!("configuration file: {}", file.unwrap_or("none, options only")));
        if let Some(wrapper) = &launch.wrapper {
            lines.push(format!("started by {wrapper}, which may change what it is started with"));
        }
    }
    let known = if dir.said { "" } else { " (unless the configuration file says otherwise)" };
    lines.push(format!("directory: {}{known}", dir.path));
    if is_set && let Some(Ok(shape)) = Wanted::shape(object) {
        let Shape { shards, replicas_per_shard } = shape;
        let of = knobs
            .group
            .map(|group| format!(" of the group {group}, all its StatefulSets together"));
        let of = of.unwrap_or_default();
        lines.push(format!("shape{of}: {shards} shards with {replicas_per_shard} replicas each"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(manifest: &str) -> String {
        let mut out = Vec::new();
        run(&Options {}, manifest.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const SET: &str = "
kind: StatefulSet
apiVersion: apps/v1
metadata: {name: cache, labels: {LABEL: enabled}}
spec:
  replicas: 6
  template:
    spec:
      containers:
      - {name: redis, image: 'redis:8', args: [redis-server, /conf/redis.conf]}
";

    #[test]
    fn it_says_what_is_read_and_what_is_missing() {
        let text = explained(&SET.replace("LABEL", names::CLUSTER));
        for line in ["is injected", "server container: redis", "shape: 3 shards with 1 replicas"] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        let text = explained(&SET.replace("LABEL", "app"));
        assert!(text.contains("with the label it would be injected"), "{text}");
        let bad = SET.replace("LABEL", names::CLUSTER).replace("replicas: 6", "replicas: 7");
        assert!(explained(&bad).contains("is denied: 7 pods can be divided"), "{bad}");
        assert_eq!(explained("kind: Service\n"), "");
        let labels = format!(
            "{}: enabled, {}: all, {}: '3', {}: '2'",
            names::CLUSTER,
            names::GROUP,
            names::SHARDS,
            names::REPLICAS_PER_SHARD
        );
        let text = explained(&SET.replace("LABEL: enabled", &labels));
        assert!(
            text.contains("shape of the group all, all its StatefulSets together: 3 shards"),
            "{text}"
        );
        assert!(text.contains("warning: the group all has 6 of the 9 pods"), "{text}");
    }
}
