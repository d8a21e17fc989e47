//! `/mutate` as the API server calls it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod common;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mooring::serve::http::{Draining, serving};
use mooring::serve::metrics::Metrics;
use mooring::serve::mutate::Mutator;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

fn app(draining: Draining) -> Router {
    let (_, policy) = watch::channel(common::policy());
    let mutator = Mutator { policy, store: None, metrics: Metrics::new() };
    serving(mutator, Router::new(), draining)
}

async fn post(body: impl Into<Body>) -> (StatusCode, String) {
    let request = Request::post("/mutate").body(body.into()).unwrap();
    let response = app(Draining::default()).oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

fn golden(name: &str) -> Value {
    let path = format!("{}/tests/golden/{name}.in.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn review(group: &str, object: &Value, old: &Value) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": {"group": group, "version": "v1", "kind": object["kind"]},
            "resource": {"group": group, "version": "v1", "resource": "x"},
            "name": "cache",
            "namespace": "demo",
            "operation": if old.is_null() { "CREATE" } else { "UPDATE" },
            "userInfo": {},
            "object": object,
            "oldObject": old,
            "dryRun": false,
            "options": null,
        },
    })
    .to_string()
}

async fn answer(group: &str, object: &Value, old: &Value) -> Value {
    let (status, body) = post(review(group, object, old)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let review: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(review["response"]["uid"], "u-1");
    review["response"].clone()
}

#[tokio::test]
async fn a_pod_comes_back_patched() {
    let pod = golden("pod-plain");
    let response = answer("", &pod, &Value::Null).await;
    assert_eq!(response["allowed"], true);
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(patched["spec"]["initContainers"][0]["name"], "mooring-step");
    assert_eq!(response["auditAnnotations"]["result"], "patched");

    let again = answer("", &patched, &Value::Null).await;
    assert_eq!((&again["allowed"], &again["patch"]), (&json!(true), &Value::Null));
}

#[tokio::test]
async fn a_denial_is_a_sentence() {
    let response = answer("apps", &golden("set-of-seven"), &Value::Null).await;
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 422);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("StatefulSet cache: 7 pods"), "{message}");
}

#[tokio::test]
async fn an_update_that_concerns_us_not_always_passes() {
    let mut old = golden("set-of-seven");
    let mut new = old.clone();
    new["metadata"]["annotations"] = json!({"mooring.dev/nudged": "now", "other": "x"});
    let response = answer("apps", &new, &old).await;
    assert_eq!(response["auditAnnotations"]["reason"], "nothingChanged");
    new["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    new["spec"]["replicas"] = json!(8);
    let response = answer("apps", &new, &old).await;
    assert_eq!(response["auditAnnotations"]["reason"], "deleting");
    // An owner that writes its template back takes the label away in the very request.
    old = golden("set-mirrored-before");
    new = golden("set-plain");
    let response = answer("apps", &new, &old).await;
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    assert!(String::from_utf8(patch).unwrap().contains("mooring.dev~1cluster"));
}

#[tokio::test]
async fn a_changed_setting_reaches_the_template_that_mirrored_it() {
    let old = mooring::admission::set(&golden("set-plain"), None, None, 0).unwrap().object;
    let mut new = old.clone();
    new["metadata"]["annotations"]["mooring.dev/ready-timeout"] = json!("5m");
    let patched = mooring::admission::set(&new, Some(&old), None, 0).unwrap().object;
    let template = &patched["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(template["mooring.dev/ready-timeout"], "5m");
    assert!(template.get("mooring.dev/nudged").is_none());
}

#[rstest]
#[case("")]
#[case("[]")]
#[case("{\"apiVersion\": \"admission.k8s.io/v1\"}")]
#[case("{\"apiVersion\": \"admission.k8s.io/v1beta1\", \"request\": null}")]
#[tokio::test]
async fn nonsense_is_a_bad_request(#[case] body: &'static str) {
    let (status, text) = post(body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("AdmissionReview"), "{text}");
}

#[tokio::test]
async fn bodies_are_bounded() {
    let (status, _) = post(vec![b' '; 9 << 20]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = post(vec![b' '; 4 << 20]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "read, but no review");
}

#[tokio::test]
async fn while_shutting_down_connections_are_closed() {
    let draining = Draining::default();
    let request = || Request::post("/mutate").body(Body::empty()).unwrap();
    let response = app(draining.clone()).oneshot(request()).await.unwrap();
    assert!(response.headers().get("connection").is_none());
    draining.begin();
    let response = app(draining).oneshot(request()).await.unwrap();
    assert_eq!(response.headers()["connection"], "close");
}
