//! `mooring isolation`: the NetworkPolicy that `serve` would keep, for those who apply it
//! themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use anyhow::bail;
use clap::Args;
use serde_json::Value;

use super::manifest;
use crate::isolation;
use crate::knobs::Knobs;

/// What a manifest does not say.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// A port of the servers, for clients or for the bus; both by default, as the annotation
    /// mooring.dev/port says or 6379, and 10000 above it.
    #[arg(long = "port")]
    ports: Vec<u16>,
}

/// Reads manifests, writes a policy for each cluster that has opted in.
pub fn run(options: &Options, input: impl Read, output: impl Write) -> anyhow::Result<()> {
    let objects = manifest::read(input)?;
    let mut clusters: BTreeMap<(String, String), Vec<(&Value, Knobs)>> = BTreeMap::new();
    for object in objects.iter().filter(|o| o["kind"] == "StatefulSet") {
        let title = manifest::title(object);
        let knobs = match Knobs::read(&object["metadata"]) {
            Ok(knobs) => knobs,
            Err(why) => bail!("{title}: {why}"),
        };
        if knobs.enabled != Some(true) {
            eprintln!("{title}: left alone: it has not opted in");
            continue;
        }
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let cluster = isolation::cluster(object, &knobs);
        clusters.entry((namespace, cluster)).or_default().push((object, knobs));
    }
    let mut policies = Vec::new();
    for ((_, cluster), members) in &clusters {
        let sets: Vec<&Value> = members.iter().map(|(set, _)| *set).collect();
        if let Some(why) = isolation::hindrance(cluster, &sets, &[], &[]) {
            bail!("{cluster}: {why}");
        }
        let mut ports: BTreeSet<u16> = options.ports.iter().copied().collect();
        if ports.is_empty() {
            let said = members.iter().find_map(|(_, knobs)| knobs.port);
            ports = match said {
                Some(port) => [port, port.saturating_add(10_000)].into(),
                None => isolation::PORTS.into(),
            };
        }
        policies.push(isolation::policy(cluster, &sets, &ports));
    }
    manifest::write(output, &policies)
}
