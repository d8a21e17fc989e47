//! What Mooring knows of Redis and Valkey Cluster.
//!
//! Everything here is pure: no clock, no IO, no async, no environment. Facts go in, decisions come
//! out, so that every decision about somebody's data can be tested, simulated and replayed. The
//! shells around it gather facts and carry out actions.

pub mod id;
pub mod launch;
pub mod moment;
pub mod net;
pub mod nodes;
pub mod past;
pub mod plan;
pub mod planner;
pub mod promote;
pub mod protocol;
pub mod rdb;
pub mod record;
pub mod resp;
#[cfg(test)]
mod sample;
pub mod secret;
pub mod server;
pub mod slot;
pub mod succession;
pub mod upkeep;
