//! Names that other programs see: labels, annotations, volumes, variables.
//!
//! A name here is a promise. Pods that were injected by an older version carry the old ones for
//! as long as they live.

/// What all our labels and annotations begin with.
pub const PREFIX: &str = "mooring.dev/";

/// The label by which a StatefulSet or a pod template opts in.
pub const CLUSTER: &str = "mooring.dev/cluster";
/// How many replicas each master has.
pub const REPLICAS_PER_SHARD: &str = "mooring.dev/replicas-per-shard";
/// The name of the container that runs the server.
pub const CONTAINER: &str = "mooring.dev/container";
/// The server's configuration file.
pub const CONFIG: &str = "mooring.dev/config";
/// The server's working directory, where nodes.conf and the data are.
pub const DIR: &str = "mooring.dev/dir";
/// The server's client port.
pub const PORT: &str = "mooring.dev/port";
/// How long post-start holds a pod un-Ready at most.
pub const READY_TIMEOUT: &str = "mooring.dev/ready-timeout";
/// How long pre-stop waits for a hand-over at most.
pub const HAND_OVER_TIMEOUT: &str = "mooring.dev/hand-over-timeout";
/// Whether its pods reach the servers' ports of their own cluster only.
pub const ISOLATION: &str = "mooring.dev/isolation";
/// Which replicas are promoted by themselves after an outage.
pub const SUCCESSION: &str = "mooring.dev/succession";
/// The name of the cluster of which a StatefulSet is one of several.
pub const GROUP: &str = "mooring.dev/group";
/// How many masters a cluster begins with; a group has to say it.
pub const SHARDS: &str = "mooring.dev/shards";
/// When the registry last asked a StatefulSet's controller to try at once.
pub const NUDGED: &str = "mooring.dev/nudged";
/// What its record says and nobody else knows, should it be deleted.
pub const RECORD: &str = "mooring.dev/record";
/// The cluster's name (its group's or its StatefulSet's), on its pods.
pub const NAME: &str = "mooring.dev/name";
/// The index of a pod's shard.
pub const SHARD: &str = "mooring.dev/shard";
/// The version that injected a pod.
pub const VERSION: &str = "mooring.dev/version";
/// What was injected, as JSON.
pub const STATUS: &str = "mooring.dev/status";

/// What is read of the StatefulSet itself: a change of these restarts no pod.
pub const OF_THE_SET: [&str; 3] = [ISOLATION, SUCCESSION, SHARDS];

/// What people may set on a StatefulSet. All but [`OF_THE_SET`] is mirrored to its pod template.
pub const KNOBS: [&str; 12] = [
    CLUSTER,
    REPLICAS_PER_SHARD,
    CONTAINER,
    CONFIG,
    DIR,
    PORT,
    READY_TIMEOUT,
    HAND_OVER_TIMEOUT,
    ISOLATION,
    SUCCESSION,
    GROUP,
    SHARDS,
];

/// What Mooring itself writes.
pub const OWN: [&str; 6] = [NUDGED, RECORD, NAME, SHARD, VERSION, STATUS];

/// The init container.
pub const STEP: &str = "mooring-step";
/// The volume with the step's binary.
pub const TOOLS: &str = "mooring-tools";
/// Where it is mounted.
pub const TOOLS_PATH: &str = "/mooring-tools";
/// The step's binary in it.
pub const STEP_BINARY: &str = "/mooring-tools/step";
/// The volume with the init container's token.
pub const TOKEN: &str = "mooring-token";
/// Where it is mounted.
pub const TOKEN_PATH: &str = "/var/run/secrets/mooring.dev";
/// The volume made where no other covers the server's directory.
pub const DATA: &str = "mooring-data";

/// The field manager of our writes.
pub const MANAGER: &str = "mooring";
