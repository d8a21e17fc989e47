//! Events on the StatefulSet: what the steps decided, where people look for it.

use std::time::Duration;

use cluster::protocol::{Report, Severity};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::api::PostParams;
use kube::{Api, Client};
use tracing::warn;

use crate::names;

/// Publishes a report, as well as it goes within a second.
pub(super) async fn publish(client: Client, namespace: &str, set: &str, pod: &str, report: Report) {
    let bounded = tokio::time::timeout(BOUND, create(client, namespace, set, pod, report)).await;
    let error = match bounded {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    warn!(namespace, set, pod, error, "An event was not published");
}

async fn create(
    client: Client,
    namespace: &str,
    set: &str,
    pod: &str,
    report: Report,
) -> Result<(), kube::Error> {
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    let uid = sets.get_metadata(set).await?.metadata.uid;
    let now = Timestamp::now();
    let message = format!("{pod}: {}", report.message);
    let message = bounded(&message, MESSAGE).to_owned();
    let reason = bounded(&report.reason, REASON).to_owned();
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{pod}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some("StatefulSet".to_owned()),
            name: Some(set.to_owned()),
            namespace: Some(namespace.to_owned()),
            uid,
            ..ObjectReference::default()
        },
        type_: Some(match report.severity {
            Severity::Normal => "Normal".to_owned(),
            Severity::Warning => "Warning".to_owned(),
        }),
        reason: Some(reason.clone()),
        message: Some(message),
        action: Some(reason),
        source: Some(EventSource { component: Some(names::MANAGER.to_owned()), host: None }),
        reporting_component: Some("mooring.dev/registry".to_owned()),
        reporting_instance: Some(names::MANAGER.to_owned()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        event_time: Some(MicroTime(now)),
        count: Some(1),
        ..Event::default()
    };
    let events: Api<Event> = Api::namespaced(client, namespace);
    events.create(&PostParams::default(), &event).await.map(drop)
}

/// The most of a text that fits into a limit of bytes, never half a character.
pub(super) fn bounded(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// Bytes of a reason and of a message that the API server takes in an Event.
pub(super) const REASON: usize = 128;
/// See [`REASON`].
pub(super) const MESSAGE: usize = 1024;

const BOUND: Duration = Duration::from_secs(1);
