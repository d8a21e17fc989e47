//! The cluster client that judges: it runs in a pod, beside the servers.
//!
//! Guarantees: what it counts as acknowledged, a server has answered with `OK`, for a key that was
//! never written before; a slot that fails delays no other slot; a server that is gone delays
//! nobody, since requests go to connections that stand and new ones are made aside. RESP and
//! connections are the redis crate's, and reading back is done by that crate's own cluster client.

pub mod control;
mod judge;
mod pool;
mod writer;

pub use judge::{Judge, Options};
