//! Drives Mooring on a real Kubernetes, and judges it with a client of its own.
//!
//! Two halves that meet only in [`wire`]: the [`client`] runs in a pod and knows nothing of
//! Kubernetes; the rest drives `kubectl` as a user would and knows nothing of redis.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod client;
pub mod clock;
pub mod e2e;
pub mod ground;
pub mod jobs;
pub mod kubectl;
pub mod manifests;
pub mod pods;
pub mod probe;
pub mod report;
pub mod scenario;
pub mod set;
pub mod slots;
pub mod stage;
pub mod starts;
pub mod timeline;
pub mod topology;
pub mod wire;
