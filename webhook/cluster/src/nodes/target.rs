//! The engine that will read a file, and what it understands of it.
//!
//! Guarantees: after [`NodesConf::adapt`] to a known target a file holds no address field that the
//! target would abort on or take for something else; what it knows stays word for word.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::edit::cluster_port;
use super::{Endpoint, Format, NodesConf};
use crate::id::ShardId;
use crate::launch::Engine;

/// The version that will read a file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Target {
    /// Not known: whatever is in a file stays, and a new file is written so that all read it.
    #[default]
    Unknown,
    /// This one.
    Known {
        /// Redis or Valkey.
        engine: Engine,
        /// The first number of the version.
        major: u16,
        /// The second one.
        minor: u16,
    },
}

/// What a version does with an auxiliary field that it does not know is to abort.
const REDIS_7_2: [&str; 4] = ["shard-id", "nodename", "tcp-port", "tls-port"];
const VALKEY_8_0: [&str; 2] = ["client-ipv4", "client-ipv6"];
const VALKEY_9_0: [&str; 2] = ["client-tcp-port", "client-tls-port"];
/// 9.0 aborts on it.
const VALKEY_9_1: [&str; 1] = ["availability-zone"];

// === impl Target ===

impl Target {
    /// Reads a version as a server or an image's tag gives it: `7.2.4`, `8-alpine`. `7` alone is
    /// unknown, since 7.0 and 7.2 write their files in different ways; of other numbers alone the
    /// first version is meant, which knows the fewest fields.
    pub fn parse(engine: Engine, version: &str) -> Self {
        let version = version.strip_prefix('v').unwrap_or(version);
        let number = |text: &str| -> Option<u16> {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            text[..digits].parse().ok()
        };
        let mut parts = version.splitn(3, '.');
        let major = parts.next().and_then(number);
        let minor = parts.next().and_then(number);
        match (major, minor) {
            (None, _) | (Some(7), None) => Self::Unknown,
            (Some(major), minor) => Self::Known { engine, major, minor: minor.unwrap_or(0) },
        }
    }

    /// By an image's name and tag.
    pub fn of_image(image: &str) -> Self {
        let name = image.rsplit('/').next().unwrap_or_default();
        let tag = name.split('@').next().and_then(|v| v.split_once(':')).map_or("", |v| v.1);
        Engine::of_image(image).map_or(Self::Unknown, |engine| Self::parse(engine, tag))
    }

    /// Whether it reads an auxiliary field of that name. An unknown target is not asked to give
    /// anything up.
    pub fn reads(self, aux: &str) -> bool {
        let Self::Known { engine, major, minor } = self else { return true };
        let since = |version: (u16, u16)| (major, minor) >= version;
        let valkey = engine == Engine::Valkey;
        (REDIS_7_2.contains(&aux) && since((7, 2)))
            || (VALKEY_8_0.contains(&aux) && valkey && since((8, 0)))
            || (VALKEY_9_0.contains(&aux) && valkey && since((9, 0)))
            || (VALKEY_9_1.contains(&aux) && valkey && since((9, 1)))
    }

    /// Whether it reads a host name after the bus port.
    pub fn reads_hostname(self) -> bool {
        match self {
            Self::Unknown => true,
            Self::Known { major, .. } => major >= 7,
        }
    }

    /// How a new file for it is written.
    pub fn format(self) -> Format {
        match self {
            Self::Known { .. } if self.reads("shard-id") => Format::Aux,
            Self::Known { .. } | Self::Unknown => Format::Plain,
        }
    }
}

// === impl NodesConf ===

impl NodesConf {
    /// Drops the auxiliary fields (and up to 6.2 the host names) that the target does not know,
    /// and keeps everything else word for word. Gives the names of the fields that went.
    pub fn adapt(&mut self, target: Target) -> BTreeSet<String> {
        let mut dropped = BTreeSet::new();
        for node in self.nodes_mut() {
            node.endpoint.adapt(target, &mut dropped);
        }
        dropped
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn adapt(&mut self, target: Target, dropped: &mut BTreeSet<String>) {
        let known = |name: &str| target.reads(name);
        if self.aux.iter().any(|(name, _)| !known(name)) {
            // Without the field the port in front is the one that the cluster uses.
            if !known("tls-port")
                && let Some(address) = self.address()
            {
                self.port = cluster_port(&address.ports).unwrap_or(0);
            }
            let gone = self.aux.extract_if(.., |(name, _)| !known(name));
            dropped.extend(gone.map(|(name, _)| name));
            self.end_early();
        }
        if !target.reads_hostname() && self.hostname.take().is_some_and(|name| !name.is_empty()) {
            dropped.insert("hostname".to_owned());
        }
    }

    /// Drops what every engine would abort on: fields with a value that their name does not
    /// allow, and text with quotes in it, which the engines' reader takes for its own.
    pub(super) fn tidy(&mut self) {
        let before = self.aux.len();
        let mut names = BTreeSet::new();
        self.aux.retain(|(name, value)| allowed(name, value) && names.insert(name.clone()));
        if self.hostname.as_ref().is_some_and(|name| !name.chars().all(is_plain)) {
            self.hostname = Some(String::new());
        }
        if self.aux.len() != before {
            self.end_early();
        }
    }

    /// 7.0 reads everything after the comma as a name, and an empty one as none.
    fn end_early(&mut self) {
        if self.aux.is_empty() && self.hostname.as_deref() == Some("") {
            self.hostname = None;
        }
    }
}

/// Whether engines that know an auxiliary field take this value for it.
fn allowed(name: &str, value: &str) -> bool {
    let plain = |text: &str| text.chars().all(is_plain);
    plain(name)
        && match name {
            "shard-id" => value.parse::<ShardId>().is_ok(),
            "tcp-port" | "tls-port" | "client-tcp-port" | "client-tls-port" => {
                value.bytes().all(|b| b.is_ascii_digit()) && value.parse::<u16>().is_ok()
            }
            "client-ipv4" => value.is_empty() || value.parse::<Ipv4Addr>().is_ok(),
            "client-ipv6" => value.is_empty() || value.parse::<Ipv6Addr>().is_ok(),
            _ => plain(value),
        }
}

/// Stricter than the engines (`isValidAuxChar`) by quotes, `=` and what is not ASCII.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_./".contains(c)
}
