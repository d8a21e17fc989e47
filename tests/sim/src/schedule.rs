//! What a run is made of: a seed, a cluster's shape, and a list of what operators and fate do.
//!
//! Guarantees: the same schedule gives the same run. It prints as text that a person can read.

use std::fmt;

use crate::engine::Family;

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// For everything that is left to chance: latencies, addresses, elections.
    pub seed: u64,
    /// What kind of cluster.
    pub config: Config,
    /// What happens, by time in milliseconds, the earliest first.
    pub events: Vec<(u64, Fate)>,
}

/// The kind of cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Its engine.
    pub family: Family,
    /// Shards.
    pub shards: u32,
    /// Replicas of each.
    pub replicas: u32,
    /// How its pods are made.
    pub pods: Management,
    /// What outlives a restart of its servers.
    pub keeps: Keeps,
    /// Whether pods have claims; else their disks end with them.
    pub claims: Claims,
    /// What makes a pod ready.
    pub probe: Probe,
    /// What runs when a server ends by itself.
    pub restart: Restart,
    /// Whether strangers' servers can be copied from.
    pub strangers: Strangers,
    /// `cluster-node-timeout`.
    pub timeout: u64,
}

/// `podManagementPolicy`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Management {
    /// One after the other.
    Ordered,
    /// All at once.
    Parallel,
}

/// What a server keeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keeps {
    /// Every write, in its log.
    Data,
    /// nodes.conf only.
    Nothing,
}

/// Whether disks outlive pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claims {
    /// By claims of the StatefulSet.
    Yes,
    /// emptyDir.
    No,
}

/// A readiness probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// The server answers.
    Ping,
    /// `cluster_state:ok`; then a lone starter may not be held back under OrderedReady.
    State,
}

/// What runs when a container ends by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Restart {
    /// The server alone.
    InPlace,
    /// The step, too (Kubernetes 1.36 and later).
    WithStep,
}

/// Whether the cluster shares its password with others in the network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Strangers {
    /// Replication needs a secret of the cluster's own.
    KeptOut,
    /// Anybody may be copied from.
    Trusted,
}

/// Something that happens. `set` 0 is the cluster, 1 its copy, `pod` an ordinal, `ms` for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are those above")]
pub enum Fate {
    /// No new pod of that ordinal is scheduled for a while.
    Block { set: usize, pod: u32, ms: u64 },
    /// The disks are copied, and a second StatefulSet starts on the copies.
    Clone,
    /// The pod's next step ends at its `action`th action.
    CrashStep { set: usize, pod: u32, action: u32 },
    /// Nothing reaches a server.
    Cut { set: usize, pod: u32, ms: u64 },
    /// The server ends, and nodes.conf is damaged when it comes back with its pod.
    Damage { set: usize, pod: u32, how: Damage },
    /// A pod is deleted.
    Delete { set: usize, pod: u32 },
    /// All pods are deleted.
    DeleteAll { set: usize },
    /// The record is deleted.
    DeleteRecord { set: usize },
    /// The server ends, and data files are gone when it comes back with its pod.
    EmptyData { set: usize, pod: u32 },
    /// A pod is deleted by force; its server goes on for a while.
    ForceDelete { set: usize, pod: u32, ms: u64 },
    /// A node that is gone is forgotten by every server that runs, and in the record; those that do
    /// not run have it in their files.
    Forget { set: usize },
    /// A server ends in place.
    Kill { set: usize, pod: u32 },
    /// A server's next start takes long to load.
    LoadSlowly { set: usize, pod: u32, ms: u64 },
    /// All pods are deleted and their disks replaced by new ones.
    LoseAllDisks { set: usize },
    /// Every other answer of the registry is lost.
    LoseAnswers { ms: u64 },
    /// The pod is deleted and its disk replaced by a new one.
    LoseDisk { set: usize, pod: u32 },
    /// The machine under one pod goes off; its pod is deleted after a while.
    LoseNode { set: usize, pod: u32, ms: u64 },
    /// The machines under all pods go off; new pods are made after a while.
    PowerOff { set: usize, ms: u64 },
    /// The StatefulSet is deleted, and made again after a while.
    Recreate { set: usize, ms: u64, record: Record },
    /// The registry is away.
    RegistryDown { ms: u64, how: Outage },
    /// Half of one shard's slots are moved to another, with their keys.
    Reshard { from: u32, to: u32 },
    /// The record becomes what it was so long ago.
    RollBack { set: usize, ms: u64 },
    /// Pods are replaced one after another, from the last one on.
    Rollout { set: usize },
    /// Somebody's server takes the address that was given back last.
    Stranger { kind: Stranger, ms: u64 },
}

/// How a nodes.conf is damaged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Damage {
    /// Cut off at so many hundredths.
    Cut(u8),
    /// Gone, with the data files still there.
    Missing,
    /// Zero bytes.
    Zero,
}

/// What of the registry is away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outage {
    /// All of it: no pod is made either.
    Whole,
    /// The way to it from the pods.
    Path,
}

/// What becomes of the record when its StatefulSet is made again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Record {
    /// It stays.
    Kept,
    /// It was deleted too.
    Lost,
}

/// Somebody else's server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stranger {
    /// A node of no cluster.
    Node,
    /// A plain one.
    Plain,
}

// === impl Config ===

impl Config {
    /// A usual one.
    pub fn usual(family: Family) -> Self {
        Self {
            family,
            shards: 3,
            replicas: 1,
            pods: Management::Ordered,
            keeps: Keeps::Data,
            claims: Claims::Yes,
            probe: Probe::Ping,
            restart: Restart::WithStep,
            strangers: Strangers::KeptOut,
            timeout: 5000,
        }
    }

    /// The number of pods.
    pub fn pods(&self) -> u32 {
        self.shards * (1 + self.replicas)
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, shards, replicas, pods, keeps, claims, probe, restart, .. } = self;
        write!(
            f,
            "{family:?}, {shards} shards of 1 + {replicas}, {pods:?}, keeps {keeps:?}, claims \
             {claims:?}, probe {probe:?}, restart {restart:?}, strangers {:?}",
            self.strangers
        )
    }
}

// === impl Schedule ===

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.config)?;
        self.events.iter().try_for_each(|(at, fate)| writeln!(f, "{at:>8} ms  {fate:?}"))
    }
}

// === impl Fate ===

impl Fate {
    /// For how long.
    pub fn lasts(&self) -> u64 {
        match self {
            Self::Block { ms, .. }
            | Self::Cut { ms, .. }
            | Self::ForceDelete { ms, .. }
            | Self::LoseAnswers { ms }
            | Self::LoseNode { ms, .. }
            | Self::PowerOff { ms, .. }
            | Self::Recreate { ms, .. }
            | Self::RegistryDown { ms, .. }
            | Self::Stranger { ms, .. } => *ms,
            _ => 0,
        }
    }

    /// The same for another time, where it lasts.
    pub fn lasting(mut self, shorter: u64) -> Self {
        match &mut self {
            Self::Block { ms, .. }
            | Self::Cut { ms, .. }
            | Self::ForceDelete { ms, .. }
            | Self::LoseAnswers { ms }
            | Self::LoseNode { ms, .. }
            | Self::PowerOff { ms, .. }
            | Self::Recreate { ms, .. }
            | Self::RegistryDown { ms, .. }
            | Self::Stranger { ms, .. } => *ms = shorter,
            _ => {}
        }
        self
    }
}
