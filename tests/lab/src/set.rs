//! A StatefulSet of servers under test, and what a user does to it.

use std::collections::BTreeMap;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::clock;
use crate::ground::{Engine, Ground};
use crate::kubectl::printed;
use crate::manifests::{self, SetManifest};
use crate::pods::{self, Pod, Watch};
use crate::timeline::At;
use crate::topology::Topology;

/// Name of every StatefulSet here that is a cluster alone, and of every group; they differ by
/// namespace.
pub const NAME: &str = "redis";
/// Selects its pods, and not the client's.
pub const SELECTOR: &str = "app=redis";
/// The label that opts in.
pub const LABEL: &str = "mooring.dev/cluster: enabled";

const GROUP: &str = "mooring.dev/group: redis";
const SHARDS: &str = "mooring.dev/shards: \"3\"";
const REPLICAS: &str = "mooring.dev/replicas-per-shard: \"1\"";

/// Which order the StatefulSet's controller keeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// One pod after the other, each ready before the next.
    OrderedReady,
    /// All at once.
    Parallel,
}

/// How pods are deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// With their grace period.
    Graceful,
    /// At once, as after the loss of a node.
    Forced,
}

/// StatefulSets with the number of their pods.
pub type Parts = &'static [(&'static str, u32)];

/// One StatefulSet.
const ONE: Parts = &[(NAME, 6)];
/// Masters and replicas apart, as charts have them.
const TWO: Parts = &[("redis-master", 3), ("redis-replica", 3)];

/// What the StatefulSet is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// With the label.
    Labelled,
    /// Without it.
    Plain,
    /// Six single servers, without a cluster and without the label: how fast pods can be.
    Floor,
}

/// A StatefulSet.
#[derive(Clone, Debug)]
pub struct Set<'a> {
    /// The cluster that it is in.
    pub ground: &'a Ground,
    /// Its namespace.
    pub namespace: String,
    /// Its engine.
    pub engine: Engine,
    /// The order of its pods.
    pub policy: Policy,
    /// What for.
    pub kind: Kind,
    /// A user id that is not root's.
    pub user: Option<u32>,
    /// The StatefulSets: one, or a group.
    pub parts: Parts,
    /// Its password; every set has another one, so that no client can write to the wrong set.
    password: String,
}

// === impl Policy ===

impl Policy {
    /// As the API says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OrderedReady => "OrderedReady",
            Self::Parallel => "Parallel",
        }
    }
}

// === impl How ===

impl How {
    /// The words that kubectl wants for it.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Graceful => &[],
            Self::Forced => &["--grace-period=0", "--force"],
        }
    }
}

// === impl Set ===

impl<'a> Set<'a> {
    /// A set of six.
    pub fn new(ground: &'a Ground, namespace: &str, engine: Engine, policy: Policy) -> Self {
        Self {
            ground,
            namespace: namespace.to_owned(),
            engine,
            policy,
            kind: Kind::Labelled,
            user: None,
            parts: ONE,
            password: format!("{namespace}-{:x}", clock::now().0),
        }
    }

    /// The same without the label.
    pub fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// The same as a group of two.
    pub fn in_two(self) -> Self {
        Self { parts: TWO, ..self }
    }

    /// How many pods.
    pub fn replicas(&self) -> u32 {
        self.parts.iter().map(|(_, pods)| pods).sum()
    }

    /// The first pod.
    pub fn first(&self) -> String {
        format!("{}-0", self.parts.first().map_or(NAME, |(set, _)| set))
    }

    /// The same as another user than root.
    pub fn as_user(self, user: u32) -> Self {
        Self { user: Some(user), ..self }
    }

    /// The same in another namespace, with the same password.
    pub fn in_namespace(self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self }
    }

    /// The password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// A pod whose server is a master now.
    pub fn a_master(&self) -> Result<String> {
        for pod in self.pods()?.into_keys() {
            if self.ask(&pod, &["role"])?.starts_with("master") {
                return Ok(pod);
            }
        }
        bail!("no pod of {}/{NAME} is a master", self.namespace)
    }

    /// Makes the namespace and the Secret.
    pub fn prepare(&self) -> Result<()> {
        let run = self.ground.instance.as_deref().unwrap_or("demo");
        let namespace = manifests::namespace(&self.namespace, run)?;
        let secret = manifests::secret(&self.namespace, NAME, &self.password)?;
        self.ground.kubectl.apply(&format!("{namespace}---\n{secret}"))?;
        Ok(())
    }

    /// Its manifest.
    pub fn manifest(&self) -> Result<String> {
        let manifests: Result<Vec<_>> = self.parts.iter().map(|p| self.manifest_of(*p)).collect();
        Ok(manifests?.join("---\n"))
    }

    /// That of one of its StatefulSets.
    pub fn manifest_of(&self, (set, replicas): (&str, u32)) -> Result<String> {
        let manifest = SetManifest {
            name: NAME,
            set,
            namespace: &self.namespace,
            policy: self.policy.name(),
            image: self.ground.server(self.engine),
            server: self.engine.server(),
            cli: self.engine.cli(),
            replicas,
            labels: self.labels(self.kind),
            cluster: if self.kind == Kind::Floor { "no" } else { "yes" },
            user: self.user,
            idle_init: (self.kind == Kind::Floor).then_some(self.ground.client.as_str()),
        };
        manifest.render()
    }

    /// Applies it; when that began.
    pub fn apply(&self) -> Result<At> {
        let begin = clock::now();
        self.ground.kubectl.apply(&self.manifest()?)?;
        Ok(begin)
    }

    /// Its pods by name.
    pub fn pods(&self) -> Result<BTreeMap<String, Pod>> {
        pods::list(&self.ground.kubectl, &self.namespace, SELECTOR)
    }

    /// Follows its pods.
    pub fn watch(&self) -> Result<Watch> {
        Watch::start(&self.ground.kubectl, &self.namespace, SELECTOR)
    }

    /// Waits until all pods are ready; since when.
    pub fn wait_ready(&self, limit: Duration) -> Result<At> {
        self.watch()?
            .wait(self.replicas() as usize, limit, |pod| pod.ready && !pod.deleting)
            .with_context(|| format!("waiting for {}/{NAME} to be ready", self.namespace))
    }

    /// Begins `kubectl delete pod` for all pods.
    pub fn delete_all(&self, how: How) -> Result<Child> {
        let args = ["delete", "pod", "-n", &self.namespace, "-l", SELECTOR];
        self.kubectl_aside(&[&args[..], how.flags()].concat())
    }

    /// Begins `kubectl delete pod` for one pod.
    pub fn delete_one(&self, pod: &str, how: How) -> Result<Child> {
        self.kubectl_aside(&[&["delete", "pod", "-n", &self.namespace, pod], how.flags()].concat())
    }

    /// Opts in, as a user does it.
    pub fn label(&self) -> Result<()> {
        self.parts.iter().try_for_each(|(set, _)| self.label_one(set))
    }

    /// One of its StatefulSets.
    pub fn label_one(&self, set: &str) -> Result<()> {
        let labels = self.labels(Kind::Labelled);
        let labels: Vec<String> =
            labels.iter().map(|label| label.replace(": ", "=").replace('"', "")).collect();
        let mut args = vec!["label", "statefulset", "-n", &self.namespace, set];
        args.extend(labels.iter().map(String::as_str));
        self.ground.kubectl.run(&args)?;
        Ok(())
    }

    /// The labels of each StatefulSet.
    fn labels(&self, kind: Kind) -> &'static [&'static str] {
        match (kind, self.parts.len()) {
            (Kind::Labelled, 1) => &[LABEL],
            (Kind::Labelled, _) => &[LABEL, GROUP, SHARDS, REPLICAS],
            _ => &[],
        }
    }

    /// Makes the cluster as people do it without Mooring.
    pub fn create_by_hand(&self) -> Result<()> {
        let pods = self.pods()?;
        let addresses: Vec<String> =
            pods.values().filter_map(|pod| Some(format!("{}:6379", pod.ip.as_ref()?))).collect();
        let mut words = vec![self.engine.cli(), "--cluster", "create"];
        words.extend(addresses.iter().map(String::as_str));
        words.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        let said = self.ground.kubectl.exec(&self.namespace, &self.first(), "redis", &words)?;
        if !said.contains("All 16384 slots covered") {
            bail!("{} --cluster create: {said}", self.engine.cli());
        }
        Ok(())
    }

    /// Asks a pod's server.
    pub fn ask(&self, pod: &str, words: &[&str]) -> Result<String> {
        let words = [&[self.engine.cli()], words].concat();
        self.ground.kubectl.exec(&self.namespace, pod, "redis", &words)
    }

    /// Who is who, as one pod says.
    pub fn topology(&self) -> Result<Topology> {
        Ok(Topology::parse(&self.ask(&self.first(), &["cluster", "nodes"])?))
    }

    /// When its server processes started; nothing if one of them is not known: it may be the last.
    pub fn starts(&self) -> Result<Option<Vec<At>>> {
        let pods = self.pods()?;
        Ok(pods.values().map(|pod| self.ground.started(&self.namespace, pod)).collect())
    }

    /// Removes the namespace and all in it, without waiting.
    pub fn remove(&self) -> Result<()> {
        let args = ["delete", "namespace", &self.namespace, "--wait=false", "--ignore-not-found"];
        printed("kubectl delete namespace", &self.ground.kubectl.output(&args)?)?;
        Ok(())
    }

    /// The same, with all pods gone at once.
    pub fn vanish(&self) -> Result<()> {
        let kubectl = &self.ground.kubectl;
        let of_it = ["-n", self.namespace.as_str()];
        for (set, _) in self.parts {
            let orphan = ["delete", "statefulset", set, "--cascade=orphan"];
            kubectl.run(&[&orphan, &of_it[..]].concat())?;
        }
        let pods = ["delete", "pod", "-l", SELECTOR];
        kubectl.run(&[&pods, &of_it[..], How::Forced.flags()].concat())?;
        self.remove()
    }

    /// Removes what an earlier run may have left, and waits for it.
    pub fn clear(&self) -> Result<()> {
        let args = ["delete", "namespace", &self.namespace, "--ignore-not-found"];
        self.ground.kubectl.run(&[&args[..], &["--timeout=90s"]].concat())?;
        Ok(())
    }

    fn kubectl_aside(&self, args: &[&str]) -> Result<Child> {
        let mut command = self.ground.kubectl.command(args);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.spawn().context("cannot run kubectl")
    }
}
