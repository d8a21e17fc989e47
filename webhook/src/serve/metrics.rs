//! What can be counted, with few labels.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, String)>;

/// All metrics.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    admissions: Family<Labels, Counter>,
    skipped: Family<Labels, Counter>,
    requests: Family<Labels, Counter>,
    durations: Family<Labels, Histogram>,
    in_flight: Gauge,
    patch_bytes: Histogram,
    not_after: Gauge<f64, AtomicU64>,
    bundle_patches: Family<Labels, Counter>,
}

// === impl Metrics ===

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("mooring");
        let inner = Inner {
            admissions: Family::default(),
            skipped: Family::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Gauge::default(),
            patch_bytes: Histogram::new([0.0, 1e3, 2e3, 4e3, 8e3, 16e3, 64e3]),
            not_after: Gauge::default(),
            bundle_patches: Family::default(),
            registry: Registry::default(),
        };
        let build: Family<Labels, Gauge> = Family::default();
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
        registry.register("admissions", "Objects looked at", inner.admissions.clone());
        registry.register("skipped", "Objects left alone", inner.skipped.clone());
        registry.register("requests", "HTTP requests", inner.requests.clone());
        registry.register("request_duration_seconds", "Until the answer", inner.durations.clone());
        registry.register("in_flight", "Requests being answered", inner.in_flight.clone());
        registry.register("patch_bytes", "Size of patches", inner.patch_bytes.clone());
        registry.register(
            "tls_cert_not_after_seconds",
            "Until when the serving certificate is valid, as Unix time",
            inner.not_after.clone(),
        );
        registry.register(
            "ca_bundle_patches",
            "Writes of the webhook configuration's caBundle",
            inner.bundle_patches.clone(),
        );
        registry.register("build_info", "What runs", build);
        Self(Arc::new(Inner { registry, ..inner }))
    }

    /// An object was looked at.
    pub fn admitted(&self, kind: &str, result: &str, patch_bytes: usize) {
        let labels = vec![("kind", kind.to_owned()), ("result", result.to_owned())];
        self.0.admissions.get_or_create(&labels).inc();
        self.0.patch_bytes.observe(patch_bytes as f64);
    }

    /// An object was left alone.
    pub fn skipped(&self, reason: &str) {
        self.0.skipped.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    /// A request begins.
    pub fn began(&self) {
        self.0.in_flight.inc();
    }

    /// A request is answered.
    pub fn answered(&self, route: &str, status: u16, took: Duration) {
        self.0.in_flight.dec();
        let route = ("route", route.to_owned());
        let labels = vec![route.clone(), ("status", status.to_string())];
        self.0.requests.get_or_create(&labels).inc();
        self.0.durations.get_or_create(&vec![route]).observe(took.as_secs_f64());
    }

    /// A request was given up by its client.
    pub fn abandoned(&self) {
        self.0.in_flight.dec();
    }

    /// Until when the serving certificate is valid.
    pub fn certificate(&self, not_after: std::time::SystemTime) {
        let seconds = not_after.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.0.not_after.set(seconds.as_secs_f64());
    }

    /// The caBundle was written, or was not.
    pub fn bundle(&self, result: &str) {
        self.0.bundle_patches.get_or_create(&vec![("result", result.to_owned())]).inc();
    }

    /// All of them in OpenMetrics' text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.0.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.admitted("Pod", "patched", 1200);
        metrics.skipped("notAMember");
        metrics.began();
        metrics.answered("/mutate", 200, Duration::from_millis(3));
        let text = metrics.text();
        for line in [
            r#"mooring_admissions_total{kind="Pod",result="patched"} 1"#,
            r#"mooring_skipped_total{reason="notAMember"} 1"#,
            r#"mooring_requests_total{route="/mutate",status="200"} 1"#,
            "mooring_in_flight 0",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
