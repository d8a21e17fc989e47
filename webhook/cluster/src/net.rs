//! Addresses of members: IP literals and ports, as the cluster bus knows them.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The ports of a server. Zero is never stored: a port that is off is `None`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ports {
    /// The port for clients in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u16>,
    /// The port for clients over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<u16>,
    /// The port of the cluster bus.
    pub bus: u16,
}

/// Where a member can be reached.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Address {
    /// An IP literal: the engines dial nothing else.
    pub ip: IpAddr,
    /// Its ports.
    #[serde(flatten)]
    pub ports: Ports,
}

// === impl Ports ===

impl Ports {
    /// The ports of a server in the clear whose bus is at the default, 10000 above.
    pub fn plain(tcp: u16) -> Self {
        Self { tcp: Some(tcp), tls: None, bus: tcp.saturating_add(10000) }
    }

    /// The port to speak to in the clear, else the one for TLS.
    pub fn client(self) -> Option<u16> {
        self.tcp.or(self.tls)
    }
}

// === impl Address ===

impl Address {
    /// Where a client connects.
    pub fn client(&self) -> Option<SocketAddr> {
        self.ports.client().map(|port| SocketAddr::new(self.ip, port))
    }
}
