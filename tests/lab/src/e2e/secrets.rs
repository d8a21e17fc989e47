//! Nothing secret on a command line, and no rights for the users' service account.

use std::fs;

use anyhow::{Result, bail, ensure};

use super::{Case, must_recover, on_set};
use crate::ground::{Engine, Ground};
use crate::probe::Probe;
use crate::report::Report;
use crate::scenario;
use crate::set::{Policy, Set};

pub(super) fn cases() -> Vec<Case> {
    vec![Case { name: "secrets".to_owned(), run: Box::new(secrets) }]
}

fn secrets(ground: &Ground, _: &mut Report) -> Result<()> {
    let set = Set::new(ground, "e2e-secrets", Engine::Redis70, Policy::Parallel);
    on_set(&set, |set| {
        let probe = Probe::start(set)?;
        must_recover(&scenario::form(set, &probe)?, "formation")?;
        no_rights(ground, &set.namespace)?;
        no_tokens(set)?;
        if ground.instance.is_some() {
            no_words(set.password())?;
        }
        Ok(())
    })
}

/// The service account may do what every identity may, and nothing else.
fn no_rights(ground: &Ground, namespace: &str) -> Result<()> {
    let user = format!("--as=system:serviceaccount:{namespace}:default");
    let list = ground.kubectl.run(&["auth", "can-i", "--list", "-n", namespace, &user])?;
    for line in list.lines().skip(1).map(str::trim_start).filter(|line| !line.is_empty()) {
        // Questions about oneself, public certificates, and the public pages (lines without a
        // resource): what Kubernetes gives to every service account.
        if !["selfsubject", "clustertrustbundles", "["].iter().any(|own| line.starts_with(own)) {
            bail!("the service account default may: {line}");
        }
    }
    Ok(())
}

/// Only the init container sees the step's token.
fn no_tokens(set: &Set<'_>) -> Result<()> {
    for pod in set.pods()?.keys() {
        let args = ["exec", "-n", &set.namespace, pod, "-c", "redis", "--"];
        let paths = ["ls", "/var/run/secrets/mooring.dev", "/var/run/secrets/kubernetes.io"];
        let output = set.ground.kubectl.output(&[&args[..], &paths].concat())?;
        let listed = String::from_utf8_lossy(&output.stdout);
        ensure!(!listed.contains("token"), "{pod}: the redis container has a token: {listed}");
    }
    Ok(())
}

/// No process of this machine, and so none of the pods, has the password among its words.
fn no_words(password: &str) -> Result<()> {
    let mut seen = 0;
    for process in fs::read_dir("/proc")?.flatten() {
        let Ok(words) = fs::read(process.path().join("cmdline")) else { continue };
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        seen += usize::from(words.contains("-server "));
        if words.contains(password) {
            bail!("the password is on a command line: {}", words.replace(password, "***"));
        }
    }
    ensure!(seen >= 6, "only {seen} servers among the processes of this machine");
    Ok(())
}
