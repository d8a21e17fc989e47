//! Where the lab runs: on a test Kubernetes of its own, or on a cluster of the user's.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::kubectl::{Kubectl, printed};
use crate::pods::Pod;
use crate::starts;
use crate::timeline::At;

/// A vanilla server.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Engine {
    /// Redis 7.0.
    Redis70,
    /// Redis 8.0.
    Redis80,
    /// Valkey 8.1.
    Valkey81,
}

/// The cluster to run on.
#[derive(Clone, Debug)]
pub struct Ground {
    /// How to call its kubectl.
    pub kubectl: Kubectl,
    /// The repository.
    pub root: PathBuf,
    /// Name of the test Kubernetes; none on a user's own cluster.
    pub instance: Option<String>,
    /// Names of the images by engine.
    pub servers: BTreeMap<Engine, String>,
    /// Name of Mooring's image.
    pub mooring: String,
    /// Name of the client's image.
    pub client: String,
}

// === impl Engine ===

impl Engine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Redis70, Self::Redis80, Self::Valkey81];

    /// What `tests/images/build` calls it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Redis70 => "redis-7.0",
            Self::Redis80 => "redis-8.0",
            Self::Valkey81 => "valkey-8.1",
        }
    }

    /// Where everybody gets it.
    pub fn public(self) -> &'static str {
        match self {
            Self::Redis70 => "docker.io/library/redis:7.0",
            Self::Redis80 => "docker.io/library/redis:8.0",
            Self::Valkey81 => "docker.io/valkey/valkey:8.1",
        }
    }

    /// Its server's program.
    pub fn server(self) -> &'static str {
        if self == Self::Valkey81 { "valkey-server" } else { "redis-server" }
    }

    /// Its command line's program.
    pub fn cli(self) -> &'static str {
        if self == Self::Valkey81 { "valkey-cli" } else { "redis-cli" }
    }
}

// === impl Ground ===

impl Ground {
    /// The user's cluster where KUBECONFIG and IMAGE are set, else a test Kubernetes of that name.
    pub fn find(instance: &str) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().context("the repository has moved since this was built")?;
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let servers = BTreeMap::new();
        if let (Some(_), Some(image)) = (set("KUBECONFIG"), set("IMAGE")) {
            let Some((repository, tag)) = image.rsplit_once(':').filter(|(_, t)| !t.contains('/'))
            else {
                bail!("IMAGE={image} has no tag: set it to REGISTRY/NAME:TAG");
            };
            let client = format!("{repository}-client:{tag}");
            let kubectl = Kubectl::new(["kubectl"]);
            return Ok(Self { kubectl, root, instance: None, servers, mooring: image, client });
        }
        let exec = root.join("tests/kube/exec");
        Ok(Self {
            kubectl: Kubectl::new([exec.to_string_lossy(), instance.into(), "kubectl".into()]),
            root,
            instance: Some(instance.to_owned()),
            servers,
            mooring: "ghcr.io/mooring-dev/mooring:dev".to_owned(),
            client: "docker.io/library/mooring-client:dev".to_owned(),
        })
    }

    /// The image of an engine.
    pub fn server(&self, engine: Engine) -> &str {
        self.servers.get(&engine).map_or_else(|| engine.public(), String::as_str)
    }

    /// Learns how the test images are called; a user's cluster pulls the public ones.
    pub fn learn_servers(&mut self) -> Result<()> {
        if self.instance.is_none() {
            return Ok(());
        }
        let names = self.script("tests/images/build", &["--names"])?;
        for engine in Engine::ALL {
            let name = names.lines().find_map(|line| line.strip_prefix(engine.key()));
            if let Some(name) = name {
                self.servers.insert(engine, name.trim().to_owned());
            }
        }
        Ok(())
    }

    /// Runs a program of the repository; what it prints.
    pub fn script(&self, path: &str, args: &[&str]) -> Result<String> {
        let output = Command::new(self.root.join(path))
            .args(args)
            .output()
            .with_context(|| format!("cannot run {path}"))?;
        printed(&format!("{path} {}", args.join(" ")), &output)
    }

    /// When a pod's server process started.
    pub fn started(&self, namespace: &str, pod: &Pod) -> Option<At> {
        match self.instance {
            Some(_) => {
                let id = pod.container_id.as_deref()?;
                let log = self.runtime_log().unwrap_or_default();
                starts::of_runtime(&log, id).or_else(|| starts::of_process(id))
            }
            None => starts::of_log(&self.kubectl, namespace, pod),
        }
    }

    /// What the test Kubernetes' containerd has logged.
    fn runtime_log(&self) -> Result<String> {
        let instance = self.instance.as_deref().context("not on a test Kubernetes")?;
        let kubeconfig = self.script("tests/kube/exec", &[instance, "printenv", "KUBECONFIG"])?;
        let state = Path::new(kubeconfig.trim()).parent().context("no directory")?;
        Ok(fs::read_to_string(state.join("log/containerd.log"))?)
    }

    /// How that time is known, in a row's words.
    pub fn clock_of_starts(&self) -> &'static str {
        match self.instance {
            Some(_) => "container start times",
            None => "first log lines, nodes' clocks",
        }
    }
}
