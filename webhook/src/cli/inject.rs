//! `mooring inject`: what the webhook would make of manifests.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use super::manifest;
use crate::admission::{self, Answer, Denial, Policy, Skip};

/// What the webhook knows of itself, and a manifest does not say.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The image with the step.
    #[arg(long, default_value = "ghcr.io/mooring-dev/mooring:dev")]
    image: String,
    /// The registry's URL.
    #[arg(long, default_value = "https://mooring.mooring-system.svc:443")]
    registry: String,
    /// The registry's address, so that steps need no DNS.
    #[arg(long)]
    registry_address: Option<String>,
    /// File with the certificates by which steps know the registry.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Whether the API server is 1.36 or newer.
    #[arg(long)]
    restart_all_containers: bool,
    /// Inject the pod templates of StatefulSets, too, instead of leaving their pods to the webhook.
    #[arg(long)]
    template: bool,
}

/// Reads manifests, writes them injected.
pub fn run(options: &Options, input: impl Read, output: impl Write) -> anyhow::Result<()> {
    let policy = options.policy()?;
    let mut objects = Vec::new();
    let mut denied = 0;
    for object in manifest::read(input)? {
        let title = manifest::title(&object);
        match apply(&policy, options.template, &object) {
            Ok(answer) => {
                if let Some(skip) = answer.skip.filter(|s| *s != Skip::OtherKind) {
                    eprintln!("{title}: left alone: {}", skip.sentence());
                }
                for warning in &answer.warnings {
                    eprintln!("{title}: warning: {warning}");
                }
                objects.push(answer.object);
            }
            Err(denial) => {
                denied += 1;
                eprintln!("{title}: denied: {denial}");
            }
        }
    }
    if denied > 0 {
        bail!("{denied} of the manifests would be denied; nothing was written");
    }
    manifest::write(output, &objects)
}

/// What the webhook would answer, and for a StatefulSet its template's injection on top.
pub(super) fn apply(policy: &Policy, template: bool, object: &Value) -> Result<Answer, Denial> {
    match object["kind"].as_str() {
        Some("Pod") => {
            // Its shard is in its cluster's record, which is not at hand.
            admission::pod(policy, None, object)
        }
        Some("StatefulSet") => {
            let first = admission::set(object, None, None, 0)?;
            if !template || first.skip.is_some() {
                return Ok(first);
            }
            let mut second = admission::template(policy, &first.object)?;
            second.patch.splice(0..0, first.patch);
            second.warnings.splice(0..0, first.warnings);
            Ok(second)
        }
        _ => Ok(Answer::skip(object, Skip::OtherKind)),
    }
}

// === impl Options ===

impl Options {
    fn policy(&self) -> anyhow::Result<Policy> {
        let ca = match &self.ca {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?,
            None => String::new(),
        };
        Ok(Policy {
            image: self.image.clone(),
            registry: self.registry.clone(),
            registry_address: self.registry_address.clone(),
            ca,
            restart_all_containers: self.restart_all_containers,
        })
    }
}
