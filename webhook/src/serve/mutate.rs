//! `/mutate`: AdmissionReview in, AdmissionReview out.
//!
//! Guarantees: objects stay raw JSON all the way; what can not be read is 400 with a sentence, so
//! that the failure policy applies; a registry that can not be asked costs a pod its shard label,
//! never its start.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tracing::{info, warn};

use super::metrics::Metrics;
use crate::admission::{self, Answer, Denial, Policy, Skip};
use crate::knobs::Knobs;
use crate::registry::{Store, Wanted};

/// What admission needs.
#[derive(Clone)]
pub struct Mutator {
    /// The policy; its certificates change.
    pub policy: watch::Receiver<Policy>,
    /// Where plans are; none in tests of admission alone.
    pub store: Option<Store>,
    /// Counters.
    pub metrics: Metrics,
}

/// `admission.k8s.io/v1`, as far as we look at it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    request: Option<Request>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    kind: Kind,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    operation: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
    #[serde(default)]
    dry_run: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    kind: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewAnswer {
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Debug, Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

pub(super) async fn handle(
    State(mutator): State<Mutator>,
    body: Bytes,
) -> Result<Json<impl Serialize>, (StatusCode, String)> {
    let bad = |why: String| {
        warn!(why, "Got something that is no AdmissionReview");
        (StatusCode::BAD_REQUEST, why)
    };
    let review: Review = serde_json::from_slice(&body)
        .map_err(|e| bad(format!("the body is not an AdmissionReview: {e}")))?;
    if review.api_version != "admission.k8s.io/v1" {
        return Err(bad(format!(
            "the AdmissionReview is of version {:?}; only admission.k8s.io/v1 is understood",
            review.api_version
        )));
    }
    let Some(request) = review.request else {
        return Err(bad("the AdmissionReview has no request".to_owned()));
    };
    let response = mutator.answer(&request).await;
    Ok(Json(ReviewAnswer { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response }))
}

// === impl Mutator ===

impl Mutator {
    async fn answer(&self, request: &Request) -> Response {
        let kind = match (request.kind.group.as_str(), request.kind.kind.as_str()) {
            ("", "Pod") => "Pod",
            ("apps", "StatefulSet") => "StatefulSet",
            _ => "other",
        };
        let outcome = match kind {
            "Pod" => self.pod(request).await,
            "StatefulSet" => self.set(request).await,
            _ => Ok(Answer::skip(&request.object, Skip::OtherKind)),
        };
        self.respond(request, kind, outcome)
    }

    async fn pod(&self, request: &Request) -> Result<Answer, Denial> {
        let metadata = &request.object["metadata"];
        let member = admission::member(metadata).ok();
        let plan = match (member, &self.store) {
            (Some((set, _)), Some(store)) => {
                let dry_run = request.dry_run == Some(true);
                let knobs = Knobs::read(metadata).unwrap_or_default();
                let cluster = knobs.group.unwrap_or_else(|| set.clone());
                bounded(&request.namespace, &set, async {
                    if dry_run {
                        store.plan(&request.namespace, &cluster).await
                    } else {
                        store.plan_for_pod(&request.namespace, &cluster, &set).await
                    }
                })
                .await
            }
            _ => None,
        };
        let policy = self.policy.borrow().clone();
        admission::pod(&policy, plan.as_ref(), &request.object)
    }

    async fn set(&self, request: &Request) -> Result<Answer, Denial> {
        let (namespace, name) = (request.namespace.as_str(), request.name.as_str());
        let name = if name.is_empty() {
            request.object["metadata"]["name"].as_str().unwrap_or_default()
        } else {
            name
        };
        let created = request.operation == "CREATE";
        let object = &request.object;
        let group = Knobs::of_set(object).unwrap_or_default().group;
        let cluster = group.as_deref().unwrap_or(name);
        let mut wanted = None;
        let mut plan = None;
        if let Some(store) = &self.store {
            wanted = bounded(namespace, name, store.wanted(namespace, name, object, created)).await;
            // A new set's record, if there is one, may be of a life that is over.
            if group.is_some() || !created {
                plan = bounded(namespace, name, store.plan(namespace, cluster)).await;
            }
        }
        let others = wanted.as_ref().map_or(0, Wanted::others);
        let old = Some(&request.old_object).filter(|old| old.is_object());
        let answer = admission::set(object, old, plan.as_ref(), others)?;
        if answer.skip.is_none()
            && request.dry_run != Some(true)
            && let (Some(store), Some(wanted)) = (&self.store, &wanted)
        {
            bounded(namespace, name, async { store.ensure(namespace, wanted).await.map(Some) })
                .await;
        }
        Ok(answer)
    }

    fn respond(
        &self,
        request: &Request,
        kind: &'static str,
        outcome: Result<Answer, Denial>,
    ) -> Response {
        let name = request.object["metadata"]["name"].as_str().unwrap_or(&request.name);
        let namespace = request.namespace.as_str();
        let mut response = Response { uid: request.uid.clone(), ..Response::default() };
        let annotations = &mut response.audit_annotations;
        match outcome {
            Ok(Answer { patch, warnings, skip, .. }) => {
                response.allowed = true;
                response.warnings = warnings;
                let result = if skip.is_some() {
                    "skipped"
                } else if patch.is_empty() {
                    "unchanged"
                } else {
                    "patched"
                };
                annotations.insert("result", result.to_owned());
                annotations.insert("version", env!("CARGO_PKG_VERSION").to_owned());
                if let Some(skip) = skip {
                    annotations.insert("reason", skip.as_str().to_owned());
                    self.metrics.skipped(skip.as_str());
                }
                let bytes = serde_json::to_vec(&patch).unwrap_or_default();
                info!(
                    namespace,
                    name,
                    kind,
                    operation = request.operation,
                    result,
                    reason = skip.map(Skip::as_str),
                    bytes = bytes.len(),
                    "Answered"
                );
                self.metrics.admitted(kind, result, if patch.is_empty() { 0 } else { bytes.len() });
                if !patch.is_empty() {
                    response.patch_type = Some("JSONPatch");
                    response.patch = Some(STANDARD.encode(bytes));
                }
            }
            Err(denial) => {
                let message = format!("{kind} {name}: {denial}");
                info!(namespace, name, kind, operation = request.operation, %denial, "Denied");
                self.metrics.admitted(kind, "denied", 0);
                annotations.insert("result", "denied".to_owned());
                response.status = Some(Status { code: 422, reason: "Invalid", message });
            }
        }
        response
    }
}

/// Asks the store, but not for long: admission does not hang on it.
async fn bounded<T>(
    namespace: &str,
    set: &str,
    ask: impl Future<Output = Result<Option<T>, crate::registry::Fault>>,
) -> Option<T> {
    match tokio::time::timeout(BOUND, ask).await {
        Ok(Ok(plan)) => plan,
        Ok(Err(error)) => {
            warn!(namespace, set, %error, "Went on without the record");
            None
        }
        Err(_) => {
            warn!(namespace, set, "Went on without the record: it took too long");
            None
        }
    }
}

/// Half of the time that the API server gives us (`timeoutSeconds: 5`).
const BOUND: Duration = Duration::from_millis(2500);
