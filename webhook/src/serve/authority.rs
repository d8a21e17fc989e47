//! The authority in its Secret, this replica's serving certificate, and the published caBundle.
//!
//! Guarantees: no leader. All replicas read one Secret, made by whoever comes first; each signs
//! its own certificate in memory. What is published and what is served is compared with what
//! should be every few seconds, by content and by the wall clock, because manifests are applied
//! again (which wipes a patched caBundle), Secrets are replaced, and machines sleep.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use axum_server::tls_rustls::RustlsConfig;
use certs_gen::{Authority, Leaf};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::sync::watch;
use tracing::{info, warn};

use super::metrics::Metrics;
use crate::admission::Policy;
use crate::names;
use crate::registry::HookKey;

/// Where things are kept.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) namespace: String,
    pub(super) secret: String,
    pub(super) configuration: String,
    /// The names and addresses under which we are called.
    pub(super) names: Vec<String>,
}

/// What depends on the authority, kept up to date.
pub(super) struct Certificates {
    client: Client,
    places: Places,
    authority: Authority,
    leaf: Leaf,
    tls: RustlsConfig,
    policy: watch::Sender<Policy>,
    hooks: watch::Sender<HookKey>,
    metrics: Metrics,
}

// === impl Certificates ===

impl Certificates {
    /// Reads or makes the authority, and signs a certificate.
    pub(super) async fn new(
        client: Client,
        places: Places,
        mut policy: Policy,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        let authority = obtain(&client, &places, None).await?;
        authority.cert_pem().clone_into(&mut policy.ca);
        let leaf = authority.issue(&places.names, SystemTime::now())?;
        let tls = RustlsConfig::from_config(server_config(&leaf)?);
        metrics.certificate(leaf.not_after);
        let hooks = watch::Sender::new(HookKey::of(&authority));
        let policy = watch::Sender::new(policy);
        Ok(Self { client, places, authority, leaf, tls, policy, hooks, metrics })
    }

    /// The configuration of the listener.
    pub(super) fn tls(&self) -> RustlsConfig {
        self.tls.clone()
    }

    /// The policy, with the certificates that clients are to trust.
    pub(super) fn policy(&self) -> watch::Receiver<Policy> {
        self.policy.subscribe()
    }

    /// The key of hook tokens.
    pub(super) fn hooks(&self) -> watch::Receiver<HookKey> {
        self.hooks.subscribe()
    }

    /// Keeps all of it up to date for ever; `ready` becomes true once clients can trust us.
    pub(super) async fn run(mut self, ready: watch::Sender<bool>) {
        let mut pause = FIRST_PERIOD;
        loop {
            match self.round().await {
                Ok(published) => {
                    pause = if published { PERIOD } else { FIRST_PERIOD };
                    ready.send_if_modified(|ready| !std::mem::replace(ready, true));
                }
                Err(error) => warn!(error = format!("{error:#}"), "Certificates were not checked"),
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn round(&mut self) -> anyhow::Result<bool> {
        let authority = obtain(&self.client, &self.places, Some(&self.authority)).await?;
        let changed = authority.cert_pem() != self.authority.cert_pem();
        let now = SystemTime::now();
        if changed || self.leaf.is_due(now) {
            self.leaf = authority.issue(&self.places.names, now)?;
            self.tls.reload_from_config(server_config(&self.leaf)?);
            self.metrics.certificate(self.leaf.not_after);
            info!(authority_changed = changed, "Serving a new certificate");
        }
        if changed {
            let pem = authority.cert_pem().to_owned();
            self.policy.send_modify(|policy| policy.ca = pem);
            self.hooks.send_replace(HookKey::of(&authority));
        }
        self.authority = authority;
        self.publish().await
    }

    /// Writes the caBundle where it differs, and touches nothing else. False: there is nowhere to
    /// write it. Somebody has taken the webhook away on purpose; the registry is needed still.
    async fn publish(&self) -> anyhow::Result<bool> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let name = &self.places.configuration;
        let found = api
            .get_opt(name)
            .await
            .with_context(|| format!("cannot read the MutatingWebhookConfiguration {name}"))?;
        let Some(configuration) = found else { return Ok(false) };
        let bundle = ByteString(self.authority.cert_pem().as_bytes().to_vec());
        let webhooks = configuration.webhooks.unwrap_or_default();
        let wrong: Vec<_> = webhooks
            .iter()
            .filter(|w| w.client_config.ca_bundle.as_ref() != Some(&bundle))
            .map(|w| json!({"name": w.name, "clientConfig": {"caBundle": bundle}}))
            .collect();
        if wrong.is_empty() {
            return Ok(true);
        }
        // Strategic: the list is merged by name, whatever its order is by now.
        let patch = Patch::Strategic(json!({"webhooks": wrong}));
        let params = PatchParams {
            field_manager: Some(names::MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let written = api.patch(name, &params, &patch).await;
        self.metrics.bundle(if written.is_ok() { "written" } else { "failed" });
        written.context("cannot write the caBundle")?;
        info!(webhooks = wrong.len(), "Published the caBundle");
        Ok(true)
    }
}

/// The authority of the Secret; without a Secret, `present` or a new one is put there. Whoever
/// comes second takes what is there.
async fn obtain(
    client: &Client,
    places: &Places,
    present: Option<&Authority>,
) -> anyhow::Result<Authority> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &places.namespace);
    let name = &places.secret;
    let context = || format!("cannot read the Secret {}/{name}", places.namespace);
    if let Some(secret) = api.get_opt(name).await.with_context(context)? {
        return read(&secret).with_context(context);
    }
    let authority = match present {
        Some(there) => Authority::from_pem(there.cert_pem(), &there.key_pem())?,
        None => Authority::generate(SystemTime::now())?,
    };
    match api.create(&PostParams::default(), &secret(name, &authority)).await {
        Ok(_) => {
            info!(secret = name, "Made the authority's Secret");
            Ok(authority)
        }
        Err(kube::Error::Api(status)) if status.code == 409 => {
            read(&api.get(name).await.with_context(context)?).with_context(context)
        }
        Err(error) => Err(error).context("cannot make the authority's Secret"),
    }
}

fn read(secret: &Secret) -> anyhow::Result<Authority> {
    let text = |key: &str| -> anyhow::Result<String> {
        let bytes = secret.data.as_ref().and_then(|d| d.get(key));
        let bytes = bytes.with_context(|| format!("it has no {key}"))?;
        String::from_utf8(bytes.0.clone()).with_context(|| format!("its {key} is not text"))
    };
    Ok(Authority::from_pem(&text(CERT)?, &text(KEY)?)?)
}

fn secret(name: &str, authority: &Authority) -> Secret {
    let entry = |key: &str, text: &str| (key.to_owned(), ByteString(text.as_bytes().to_vec()));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([("app.kubernetes.io/name".into(), "mooring".into())].into()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some([entry(CERT, authority.cert_pem()), entry(KEY, &authority.key_pem())].into()),
        ..Secret::default()
    }
}

fn server_config(leaf: &Leaf) -> anyhow::Result<Arc<ServerConfig>> {
    let cert = CertificateDer::from_pem_slice(leaf.cert_pem.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)?;
    // The API server's webhook client speaks nothing else.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

const CERT: &str = "tls.crt";
const KEY: &str = "tls.key";
const PERIOD: Duration = Duration::from_secs(10);
const FIRST_PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_reads_as_it_was_written() {
        let authority = Authority::generate(SystemTime::now()).unwrap();
        let written = secret("mooring-ca", &authority);
        assert_eq!(read(&written).unwrap().cert_pem(), authority.cert_pem());
        let message = format!("{:#}", read(&Secret::default()).unwrap_err());
        assert_eq!(message, "it has no tls.crt");
        server_config(&authority.issue(&["a".to_owned()], SystemTime::now()).unwrap()).unwrap();
    }
}
