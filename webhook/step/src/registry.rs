//! The registry's client: HTTPS to `mooring serve`, verified by the CA that the webhook gave.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cluster::protocol::{Problem, Proposal, Register, Report, View};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::settings::Settings;

/// A connection to the registry.
#[derive(Clone)]
pub(crate) struct Registry {
    agent: ureq::Agent,
    base: String,
    place: String,
    token: String,
}

/// The registry could not answer, or would not.
#[derive(Debug)]
pub(crate) struct RegistryError {
    /// In one sentence.
    pub(crate) why: String,
    /// Whether asking again may help.
    pub(crate) retry: bool,
}

/// Tries the Service's address and its name by turns: the address needs no DNS, and the name is
/// right when the Service was made anew.
#[derive(Debug)]
struct ByTurns {
    address: Option<SocketAddr>,
    name: DefaultResolver,
    turn: AtomicUsize,
}

// === impl Registry ===

impl Registry {
    /// The registry of these settings, for the bearer of this token.
    pub(crate) fn new(settings: &Settings, token: String) -> Result<Self, String> {
        let certificates: Vec<_> = parse_pem(settings.ca.as_bytes())
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if certificates.is_empty() {
            return Err("MOORING_CA holds no certificate".to_owned());
        }
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&certificates))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_millis(1500)))
            .timeout_global(Some(Duration::from_secs(4)))
            .user_agent(concat!("mooring-step/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = ByTurns {
            address: settings.registry_address,
            name: DefaultResolver::default(),
            turn: AtomicUsize::new(0),
        };
        let by_address = settings.registry_address.map(|a| format!(" ({a})")).unwrap_or_default();
        Ok(Self {
            agent: ureq::Agent::with_parts(config, DefaultConnector::default(), resolver),
            base: settings.registry.trim_end_matches('/').to_owned(),
            place: format!("{}{by_address}", settings.registry),
            token,
        })
    }

    /// Registers this member.
    pub(crate) fn register(&self, body: &Register) -> Result<View, RegistryError> {
        self.post("/v1/register", body)
    }

    /// Asks for a change of the record.
    pub(crate) fn propose(&self, body: &Proposal) -> Result<View, RegistryError> {
        self.post("/v1/propose", body)
    }

    /// What the registry knows now.
    pub(crate) fn view(&self) -> Result<View, RegistryError> {
        let url = format!("{}/v1/view", self.base);
        let request =
            self.agent.get(&url).header("authorization", format!("Bearer {}", self.token));
        self.read(request.call())
    }

    /// Reports a decision.
    pub(crate) fn report(&self, body: &Report) -> Result<(), RegistryError> {
        self.post::<Option<()>>("/v1/report", body).map(|_| ())
    }

    fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, RegistryError> {
        let url = format!("{}{path}", self.base);
        let body = serde_json::to_vec(body).map_err(|e| RegistryError::lasting(e.to_string()))?;
        let request = self
            .agent
            .post(&url)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json");
        self.read(request.send(&body[..]))
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, RegistryError> {
        let mut answer = answer.map_err(|e| self.unreachable(&e))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(8 << 20).read_to_vec();
        let body = body.map_err(|e| self.unreachable(&e))?;
        let text = if body.is_empty() { &b"null"[..] } else { &body };
        if (200..300).contains(&status) {
            return serde_json::from_slice(text).map_err(|e| {
                RegistryError::lasting(format!("the registry's answer can not be read: {e}"))
            });
        }
        Err(match serde_json::from_slice::<Problem>(text) {
            Ok(Problem { message, retry }) => RegistryError { why: message, retry },
            Err(_) => RegistryError {
                why: format!("the registry at {} answers with status {status}", self.place),
                retry: status >= 500 || status == 429,
            },
        })
    }

    fn unreachable(&self, error: &ureq::Error) -> RegistryError {
        RegistryError {
            why: format!(
                "the registry at {} can not be reached ({error}): see that `mooring` runs there, and \
                 that NetworkPolicies let this pod reach it (egress to the pods of Mooring's \
                 namespace on TCP 10250, and to the cluster's DNS on port 53; docs/install.md has \
                 the policy)",
                self.place
            ),
            retry: true,
        }
    }
}

// === impl RegistryError ===

impl RegistryError {
    fn lasting(why: String) -> Self {
        Self { why, retry: false }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

// === impl ByTurns ===

impl Resolver for ByTurns {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        match self.address {
            Some(address) if turn.is_multiple_of(2) => {
                let mut found = self.empty();
                found.push(address);
                Ok(found)
            }
            _ => self.name.resolve(uri, config, timeout),
        }
    }
}
