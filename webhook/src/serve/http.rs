//! The routers: admission and registry over TLS, health and metrics in the clear.
//!
//! Guarantees: bodies, concurrency and time are bounded, so that overload is an answer and not
//! a pile; a panic is a 500, so that the failure policy applies; while shutting down, answers carry
//! `Connection: close`, because the API server keeps its connections for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::error_handling::HandleErrorLayer;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{BoxError, Router};
use tokio::sync::watch;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::metrics::Metrics;
use super::mutate::{self, Mutator};

/// Whether we are shutting down.
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<AtomicBool>);

/// What the plain port shows.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether clients can trust us, once there is somebody to say so.
    pub ready: watch::Receiver<bool>,
    /// Whether we are shutting down.
    pub draining: Draining,
    /// Counters.
    pub metrics: Metrics,
}

// === impl Draining ===

impl Draining {
    /// From now on connections are closed after their answer.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Admission, and beside it the registry's routes.
pub fn serving(mutator: Mutator, registry: Router, draining: Draining) -> Router {
    let metrics = mutator.metrics.clone();
    let admission = Router::new().route("/mutate", post(mutate::handle)).with_state(mutator);
    bounded(admission, ADMISSION_TIME)
        .merge(bounded(registry, REGISTRY_TIME))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn_with_state((metrics, draining), watch_over))
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn health(health: Health) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// A request beyond the limit waits for nobody: it gets 503 at once.
fn bounded(router: Router, time: Duration) -> Router {
    router.layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(overloaded))
            .load_shed()
            .concurrency_limit(CONCURRENCY)
            .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, time)),
    )
}

async fn overloaded(_: BoxError) -> impl IntoResponse {
    (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once: try again")
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    if health.draining.has_begun() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down")
    } else if *health.ready.borrow() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the caBundle is not published yet")
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([("content-type", TYPE)], health.metrics.text())
}

async fn watch_over(
    State((metrics, draining)): State<(Metrics, Draining)>,
    request: Request,
    next: Next,
) -> Response {
    struct Guard<'a>(&'a Metrics, bool);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            if !self.1 {
                self.0.abandoned();
            }
        }
    }

    let path = request.extensions().get::<MatchedPath>();
    let route = path.map_or_else(|| "other".to_owned(), |p| p.as_str().to_owned());
    let began = Instant::now();
    metrics.began();
    let mut guard = Guard(&metrics, false);
    let mut response = next.run(request).await;
    guard.1 = true;
    metrics.answered(&route, response.status().as_u16(), began.elapsed());
    if draining.has_begun() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A review carries the object twice, and an object has at most 1.5 MiB in etcd.
const BODY_LIMIT: usize = 8 << 20;
const CONCURRENCY: usize = 512;
/// A little less than the configuration's `timeoutSeconds`, so that our answer comes first.
const ADMISSION_TIME: Duration = Duration::from_millis(4500);
const REGISTRY_TIME: Duration = Duration::from_secs(10);
