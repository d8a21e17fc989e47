//! `mooring serve`: the shell around admission and registry.

mod authority;
pub mod http;
pub mod metrics;
pub mod mutate;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Context;
use axum_server::Handle;
use axum_server::accept::{TcpConfigAcceptor, TcpSocketConfig};
use clap::Args;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use self::authority::{Certificates, Places};
use self::http::{Draining, Health};
use self::metrics::Metrics;
use self::mutate::Mutator;
use crate::admission::Policy;
use crate::registry::{self, Registry};

/// Where we are and what we hand out.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Port of admission and registry (TLS).
    #[arg(long, env = "MOORING_PORT", default_value_t = 10250)]
    port: u16,
    /// Port of /livez, /readyz and /metrics (in the clear).
    #[arg(long, env = "MOORING_HEALTH_PORT", default_value_t = 8080)]
    health_port: u16,
    /// The image with the step, for the init container.
    #[arg(long, env = "MOORING_IMAGE", default_value = "ghcr.io/mooring-dev/mooring:dev")]
    image: String,
    /// Our own namespace.
    #[arg(long, env = "POD_NAMESPACE", default_value = "mooring-system")]
    namespace: String,
    /// Our own Service.
    #[arg(long, env = "SERVICE_NAME", default_value = "mooring")]
    service: String,
    /// The Secret of the certificate authority, in our own namespace.
    #[arg(long, env = "MOORING_CA_SECRET", default_value = "mooring-ca")]
    ca_secret: String,
    /// The MutatingWebhookConfiguration that is ours.
    #[arg(long, env = "MOORING_WEBHOOK_CONFIGURATION", default_value = "mooring")]
    webhook_configuration: String,
    /// Where steps find the registry, if not at our Service's address.
    #[arg(long, env = "MOORING_REGISTRY_ADDRESS")]
    registry_address: Option<String>,
}

/// Serves until SIGTERM or SIGINT, then until the last answer is out.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let metrics = Metrics::new();
    let draining = Draining::default();
    let published = watch::Sender::new(false);
    let health = http::health(Health {
        ready: published.subscribe(),
        draining: draining.clone(),
        metrics: metrics.clone(),
    });
    let plain = axum_server::from_tcp(listen(options.health_port)?)?;
    tokio::spawn(plain.serve(health.into_make_service()));

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let start = start(&options, &metrics);
    let (client, certificates) = tokio::select! {
        started = start => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };

    let registry = Registry::new(client.clone(), certificates.hooks());
    let mutator =
        Mutator { policy: certificates.policy(), store: Some(registry.store().clone()), metrics };
    let app = http::serving(mutator, registry::http::routes(registry.clone()), draining.clone());
    let handle = Handle::new();
    let server = axum_server::from_tcp_rustls(listen(options.port)?, certificates.tls())?
        .map(|acceptor| {
            // Answers go out at once, also where they take more than one packet.
            let sockets = TcpConfigAcceptor::new(TcpSocketConfig::new().nodelay(true));
            acceptor.handshake_timeout(HANDSHAKE).acceptor(sockets)
        })
        .handle(handle.clone());
    let serving = tokio::spawn(server.serve(app.into_make_service()));
    info!(port = options.port, version = env!("CARGO_PKG_VERSION"), "Serving");

    let mut ready = published.subscribe();
    tokio::spawn(certificates.run(published));
    tokio::spawn(async move { registry.watch().await });
    tokio::spawn(registry::isolate(client.clone()));
    tokio::spawn(async move {
        // Nudged earlier, pods would be refused once more.
        if ready.wait_for(|published| *published).await.is_ok() {
            info!("Ready");
            registry::nudge(client).await;
        }
    });

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = serving => {
            ended.context("the listener has stopped")??;
        }
    }
    info!(connections = handle.connection_count(), "Shutting down");
    draining.begin();
    handle.graceful_shutdown(Some(DRAIN));
    while handle.connection_count() > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// What the API server has to be asked before anything can be served; for as long as it takes.
async fn start(options: &Options, metrics: &Metrics) -> anyhow::Result<(Client, Certificates)> {
    let config = kube::Config::infer()
        .await
        .context("no way to the API server: neither a kubeconfig nor a service account")?;
    let client = Client::try_from(config)?;
    let mut pause = Duration::from_millis(200);
    loop {
        match attempt(options, &client, metrics).await {
            Ok(certificates) => return Ok((client, certificates)),
            Err(error) => {
                warn!(error = format!("{error:#}"), "Can not start yet: trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

async fn attempt(
    options: &Options,
    client: &Client,
    metrics: &Metrics,
) -> anyhow::Result<Certificates> {
    let Options { namespace, service, .. } = options;
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let (found, version) = tokio::join!(services.get_opt(service), client.apiserver_version());
    let found = found.with_context(|| format!("cannot read the Service {namespace}/{service}"))?;
    let version = version.context("cannot read the API server's version")?;
    let spec = found.and_then(|s| s.spec).unwrap_or_default();
    let addresses: Vec<String> =
        spec.cluster_ips.unwrap_or_default().into_iter().filter(|a| a != "None").collect();
    let own = addresses.first().and_then(|a| a.parse::<IpAddr>().ok());

    let mut names = vec![
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        format!("{service}.{namespace}"),
        "localhost".to_owned(),
    ];
    names.extend(addresses);
    let policy = Policy {
        image: options.image.clone(),
        registry: format!("https://{service}.{namespace}.svc:443"),
        registry_address: options
            .registry_address
            .clone()
            .or_else(|| own.map(|ip| SocketAddr::new(ip, 443).to_string())),
        ca: String::new(),
        restart_all_containers: is_at_least(&version.major, &version.minor, 36),
    };
    info!(
        api_server = version.git_version,
        registry = policy.registry_address,
        restart_all_containers = policy.restart_all_containers,
        "Found our place"
    );
    let places = Places {
        namespace: namespace.clone(),
        secret: options.ca_secret.clone(),
        configuration: options.webhook_configuration.clone(),
        names,
    };
    Certificates::new(client.clone(), places, policy, metrics.clone()).await
}

/// Whether a server is 1.`minor` or newer; vendors write minor versions such as `36+`.
fn is_at_least(major: &str, minor: &str, wanted: u32) -> bool {
    let number = |text: &str| -> u32 {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    };
    (number(major), number(minor)) >= (1, wanted)
}

/// All addresses, of both families where there are two.
fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        .or_else(|_| TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))
        .with_context(|| format!("cannot listen on port {port}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

const HANDSHAKE: Duration = Duration::from_secs(5);
/// Requests take seconds at most; connections without one are closed at once.
const DRAIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_at_least("1", "36", 36) && is_at_least("1", "37+", 36));
        assert!(!is_at_least("1", "9", 36) && !is_at_least("", "", 36));
        assert!(is_at_least("2", "0", 36));
    }
}
