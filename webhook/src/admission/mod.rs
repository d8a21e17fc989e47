//! Admission: an object and a policy in, a patch or a sentence out.
//!
//! Guarantees: pure (no clock, no IO, no environment), so that the server, the command line and
//! the tests call the very same functions; fields that this version does not know are left as
//! they are; a second pass over what the first one made changes nothing.

pub mod edit;
pub mod find;
mod liveness;
mod pod;
mod set;

use cluster::plan::ShapeError;
use serde::Serialize;
use serde_json::Value;

pub use self::pod::{admit as pod, member, template};
pub use self::set::admit as set;
use crate::admission::edit::Op;
use crate::knobs::KnobError;

/// What is the same for all objects: who we are and where we are found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// The image with the step.
    pub image: String,
    /// The registry's URL.
    pub registry: String,
    /// Its address, so that a step needs no DNS.
    pub registry_address: Option<String>,
    /// The certificates by which a step knows the registry, as PEM.
    pub ca: String,
    /// Whether the API server can restart all containers of a pod (1.36).
    pub restart_all_containers: bool,
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The changes; none if it is as it should be, or left alone.
    pub patch: Vec<Op>,
    /// The object with the changes made.
    pub object: Value,
    /// Sentences for the person who applied it.
    pub warnings: Vec<String>,
    /// Why it was left alone, if it was.
    pub skip: Option<Skip>,
}

/// Why an object is left alone. One name for metrics, audit annotations, logs and `explain`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Skip {
    /// It is being deleted.
    Deleting,
    /// Nothing that concerns us has changed.
    NothingChanged,
    /// Its name is not that of its StatefulSet and an ordinal: a copy, not a member.
    NotAMember,
    /// No label, or it says disabled.
    NotOptedIn,
    /// No StatefulSet controls the pod.
    NotOfAStatefulSet,
    /// A kind that we do not look at.
    OtherKind,
    /// A pod of another operating system.
    Windows,
}

/// Why an object is refused: one sentence each, with what to do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denial {
    /// A setting.
    #[error("{0}")]
    Knob(#[from] KnobError),
    /// The numbers.
    #[error("{0}")]
    Shape(#[from] ShapeError),
    /// `mooring.dev/container` names no container.
    #[error(
        "mooring.dev/container is {name:?}, and there is no such container: the containers are \
         {there}"
    )]
    NoSuchContainer {
        /// What it names.
        name: String,
        /// What there is.
        there: String,
    },
    /// Nobody starts a server.
    #[error(
        "no container starts redis-server or valkey-server{opaque}: set the annotation \
         mooring.dev/container to the one that does"
    )]
    NoServer {
        /// What could not be followed, in brackets.
        opaque: String,
    },
    /// Several start one.
    #[error(
        "containers {names} start servers: set the annotation mooring.dev/container to the one \
         that is the cluster's member"
    )]
    SeveralServers {
        /// Their names.
        names: String,
    },
    /// Options only, without cluster mode.
    #[error(
        "container {container} starts its server without a configuration file and without \
         --cluster-enabled yes: add the option, or set the annotation mooring.dev/config"
    )]
    NotClusterMode {
        /// Its name.
        container: String,
    },
    /// The address that it is to announce is none.
    #[error(
        "container {container} announces {value:?} as its address, and the engines know IP \
         addresses only: use --cluster-announce-ip $(POD_IP), for which Mooring sets the variable"
    )]
    Announce {
        /// Its name.
        container: String,
        /// What it would announce.
        value: String,
    },
    /// Nobody says where its files are.
    #[error(
        "container {container} is given no directory, and in which one the image {image} starts its \
         server is not known: add --dir, or set workingDir or the annotation mooring.dev/dir"
    )]
    NoDir {
        /// Its name.
        container: String,
        /// Its image.
        image: String,
    },
    /// One claim for all pods.
    #[error(
        "the claim {claim} is mounted at {path} by all pods, and each member needs a nodes.conf \
         of its own: use volumeClaimTemplates, or a subPathExpr such as $(POD_NAME)"
    )]
    SharedClaim {
        /// The claim's name.
        claim: String,
        /// Where it is mounted.
        path: String,
    },
    /// A name that we need is taken.
    #[error("{what} of container {container} is needed by Mooring: use another one")]
    Taken {
        /// What is taken, such as the mount path /mooring.
        what: String,
        /// By whom.
        container: String,
    },
    /// Not an object with a spec.
    #[error("the object has no {0}")]
    Malformed(&'static str),
}

// === impl Skip ===

impl Skip {
    /// Its name in metrics, audit annotations and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleting => "deleting",
            Self::NothingChanged => "nothingChanged",
            Self::NotAMember => "notAMember",
            Self::NotOptedIn => "notOptedIn",
            Self::NotOfAStatefulSet => "notOfAStatefulSet",
            Self::OtherKind => "otherKind",
            Self::Windows => "windows",
        }
    }

    /// One sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Deleting => "it is being deleted",
            Self::NothingChanged => "nothing that concerns Mooring has changed",
            Self::NotAMember => {
                "its name is not that of its StatefulSet and an ordinal: a copy, not a member"
            }
            Self::NotOptedIn => "it has no label mooring.dev/cluster: enabled",
            Self::NotOfAStatefulSet => "no StatefulSet controls it",
            Self::OtherKind => "Mooring looks at StatefulSets and pods only",
            Self::Windows => "its pods run on Windows",
        }
    }
}

// === impl Answer ===

impl Answer {
    /// The object is left alone.
    pub fn skip(object: &Value, skip: Skip) -> Self {
        Self { patch: Vec::new(), object: object.clone(), warnings: Vec::new(), skip: Some(skip) }
    }
}
