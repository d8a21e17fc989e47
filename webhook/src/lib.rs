//! Mooring's webhook: admission, registry, and what both are made of.
//!
//! [`admission`] is pure: an object and a policy in, a patch out; the server and the command line
//! call the same functions. [`registry`] tells members of each other's addresses. [`serve`] is the
//! shell around both: TLS, HTTP, metrics, certificates.

#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

pub mod admission;
pub mod cli;
pub mod isolation;
pub mod knobs;
pub mod names;
pub mod registry;
pub mod serve;
