//! The registry's requests over HTTP: see [`cluster::protocol`].

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, HeaderMap};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cluster::protocol::{Problem, Proposal, Register, Report, View};
use tracing::warn;

use super::{Fault, Registry};

/// The routes below `/v1`.
pub fn routes(registry: Registry) -> Router {
    Router::new()
        .route("/v1/register", post(register))
        .route("/v1/report", post(report))
        .route("/v1/propose", post(propose))
        .route("/v1/view", get(view))
        .with_state(registry)
}

async fn register(
    State(registry): State<Registry>,
    headers: HeaderMap,
    body: Result<Json<Register>, JsonRejection>,
) -> Result<Json<View>, Fault> {
    let Json(body) = body.map_err(|e| malformed(&e))?;
    registry.register(bearer(&headers)?, &body).await.map(Json)
}

async fn report(
    State(registry): State<Registry>,
    headers: HeaderMap,
    body: Result<Json<Report>, JsonRejection>,
) -> Result<StatusCode, Fault> {
    let Json(body) = body.map_err(|e| malformed(&e))?;
    registry.report(bearer(&headers)?, body).await.map(|()| StatusCode::NO_CONTENT)
}

async fn propose(
    State(registry): State<Registry>,
    headers: HeaderMap,
    body: Result<Json<Proposal>, JsonRejection>,
) -> Result<Json<View>, Fault> {
    let Json(body) = body.map_err(|e| malformed(&e))?;
    registry.propose(bearer(&headers)?, &body).await.map(Json)
}

async fn view(State(registry): State<Registry>, headers: HeaderMap) -> Result<Json<View>, Fault> {
    registry.view(bearer(&headers)?).await.map(Json)
}

fn bearer(headers: &HeaderMap) -> Result<&str, Fault> {
    let header = headers.get(AUTHORIZATION).and_then(|h| h.to_str().ok());
    let token = header.and_then(|h| h.strip_prefix("Bearer ")).map(str::trim);
    token.filter(|t| !t.is_empty()).ok_or_else(|| {
        Fault::Credential("the request has no Authorization: Bearer with a token".to_owned())
    })
}

fn malformed(rejection: &JsonRejection) -> Fault {
    Fault::Refused(format!("the request can not be read: {}", rejection.body_text()))
}

// === impl Fault ===

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        warn!(fault = %self, "Refused a request of a step");
        let (status, retry) = match &self {
            // A token may be a moment too new for the server that was asked.
            Self::Credential(_) => (StatusCode::UNAUTHORIZED, true),
            Self::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, false),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, true),
        };
        (status, Json(Problem { message: self.to_string(), retry })).into_response()
    }
}
