//! Compares what Mooring reads from a configuration with what real servers make of it.
//!
//! [`generate`] makes configurations as people write them, some with a [`fault`] at which a server
//! stops; [`tree`] lays them out on the disk; [`server`] starts a server with one; [`check`] compares
//! the two.

pub mod check;
pub mod fault;
pub mod generate;
pub mod server;
pub mod tree;
