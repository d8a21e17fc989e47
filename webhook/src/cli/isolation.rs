//! `mooring isolation`: the NetworkPolicy that `serve` would keep, for those who apply it
//! themselves.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use anyhow::bail;
use clap::Args;

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

/// Reads manifests, writes a policy for each StatefulSet that has opted in.
pub fn run(options: &Options, input: impl Read, output: impl Write) -> anyhow::Result<()> {
    let mut policies = Vec::new();
    for object in manifest::read(input)?.iter().filter(|o| o["kind"] == "StatefulSet") {
        let title = manifest::title(object);
        let knobs = match Knobs::read(&object["metadata"]) {
            Ok(knobs) => knobs,
            Err(why) => bail!("{title}: {why}"),
        };
        if knobs.enabled != Some(true) {
            eprintln!("{title}: left alone: it has not opted in");
            continue;
        }
        if let Some(why) = isolation::hindrance(object, &[], &[]) {
            bail!("{title}: {why}");
        }
        let mut ports: BTreeSet<u16> = options.ports.iter().copied().collect();
        if ports.is_empty() {
            ports = match knobs.port {
                Some(port) => [port, port.saturating_add(10_000)].into(),
                None => isolation::PORTS.into(),
            };
        }
        policies.push(isolation::policy(object, &ports));
    }
    manifest::write(output, &policies)
}
