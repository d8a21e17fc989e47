//! A deterministic simulator of whole clusters. The planner, the registry's judge and the reading
//! and writing of nodes.conf are the real ones; servers, disks, network, Kubernetes, the registry's
//! store and the clock are modelled.
//!
//! Guarantees: a run depends on its schedule alone; what has to hold is checked by the world's own
//! knowledge ([`invariants`]); a run that fails is cut down to the events that it takes ([`shrink`]).

pub mod data;
pub mod disk;
pub mod engine;
pub mod generate;
pub mod hooks;
pub mod ids;
pub mod invariants;
pub mod kube;
pub mod mutation;
pub mod net;
pub mod queue;
pub mod registry;
pub mod run;
pub mod schedule;
pub mod shrink;
pub mod soak;
pub mod step;
pub mod trace;
pub mod units;
pub mod world;

mod client;
mod fates;
mod servers;
