//! The records in the API server, and what is read beside them.
//!
//! Guarantees: reads are quorum reads (no resourceVersion), so that they are newer than any write
//! that was answered before; a plan is made once and changes only while nobody has registered.

use cluster::id::Ordinal;
use cluster::plan::{Plan, Shape, ShapeError};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use ring::rand::SecureRandom;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::Fault;
use super::record::{ClusterRecord, Spec};
use crate::knobs::Knobs;
use crate::names;

/// Reads and writes records.
#[derive(Clone)]
pub struct Store {
    client: Client,
}

/// The record that a StatefulSet is to have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// The shape of a new plan.
    pub shape: Shape,
    /// Whether the StatefulSet is being created: a record without pods and claims is then one of
    /// an earlier life that is over.
    pub created: bool,
}

// === impl Wanted ===

impl Wanted {
    /// The shape by a StatefulSet's numbers; `None` if it has no pods yet, or no valid settings
    /// (which admission says to its owner).
    pub fn of(set: &Value) -> Option<Result<Shape, ShapeError>> {
        let pods = set["spec"]["replicas"].as_u64().unwrap_or(1);
        let asked = Knobs::read(&set["metadata"]).ok()?.replicas_per_shard;
        (pods > 0).then(|| Shape::of(u32::try_from(pods).unwrap_or(u32::MAX), asked))
    }
}

// === impl Store ===

impl Store {
    /// The store behind a client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn records(&self, namespace: &str) -> Api<ClusterRecord> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(super) fn sets(&self, namespace: &str) -> Api<StatefulSet> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(super) fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The plan of a set, if it has a record.
    pub async fn plan(&self, namespace: &str, set: &str) -> Result<Option<Plan>, Fault> {
        Ok(self.records(namespace).get_opt(set).await?.map(|record| record.spec.plan))
    }

    /// The plan of a set that may have no record yet: of one whose template alone opts in.
    pub async fn plan_for_pod(&self, namespace: &str, set: &str) -> Result<Option<Plan>, Fault> {
        if let Some(plan) = self.plan(namespace, set).await? {
            return Ok(Some(plan));
        }
        let Some(object) = self.sets(namespace).get_opt(set).await? else { return Ok(None) };
        let object = serde_json::to_value(object).unwrap_or_default();
        match Wanted::of(&object) {
            Some(Ok(shape)) => {
                let wanted = Wanted { shape, created: false };
                Ok(Some(self.ensure(namespace, set, wanted).await?.spec.plan))
            }
            Some(Err(_)) | None => Ok(None),
        }
    }

    /// The record of a set: the one that is there, or a new one.
    pub async fn ensure(
        &self,
        namespace: &str,
        set: &str,
        wanted: Wanted,
    ) -> Result<ClusterRecord, Fault> {
        let api = self.records(namespace);
        for _ in 0..4 {
            let Some(record) = api.get_opt(set).await? else {
                match self.create(&api, namespace, set, wanted.shape).await {
                    Ok(record) => return Ok(record),
                    Err(error) if is_conflict(&error) => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            let empty = record.status.as_ref().is_none_or(|s| s.members.is_empty());
            let plan = &record.spec.plan;
            let shape = Shape { shards: plan.shards, replicas_per_shard: plan.replicas_per_shard };
            if empty && shape != wanted.shape {
                match self.reshape(&api, &record, wanted.shape).await {
                    Ok(record) => return Ok(record),
                    Err(error) if is_conflict(&error) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            if !empty && wanted.created && self.is_over(namespace, set).await? {
                warn!(namespace, set, "The record is of an earlier life: no pods, no claims");
                let params = DeleteParams {
                    preconditions: Some(Preconditions {
                        uid: record.metadata.uid,
                        resource_version: record.metadata.resource_version,
                    }),
                    ..DeleteParams::default()
                };
                match api.delete(set, &params).await {
                    Ok(_) => continue,
                    Err(error) if is_conflict(&error) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(record);
        }
        Err(Fault::Unavailable("the record keeps changing".to_owned()))
    }

    async fn create(
        &self,
        api: &Api<ClusterRecord>,
        namespace: &str,
        set: &str,
        shape: Shape,
    ) -> Result<ClusterRecord, kube::Error> {
        let mut salt = [0; 20];
        ring::rand::SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| kube::Error::Service("no random numbers".into()))?;
        let plan = Plan {
            salt: salt.iter().map(|b| format!("{b:02x}")).collect(),
            shards: shape.shards,
            replicas_per_shard: shape.replicas_per_shard,
            generation: 1,
        };
        let record = api.create(&params(), &ClusterRecord::new(set, Spec { plan })).await?;
        info!(namespace, set, ?shape, "Made a record");
        Ok(record)
    }

    /// Nobody has registered: the plan follows its set.
    async fn reshape(
        &self,
        api: &Api<ClusterRecord>,
        record: &ClusterRecord,
        shape: Shape,
    ) -> Result<ClusterRecord, kube::Error> {
        let patch = json!({
            "metadata": {"resourceVersion": record.metadata.resource_version},
            "spec": {"plan": {
                "shards": shape.shards,
                "replicasPerShard": shape.replicas_per_shard,
            }},
        });
        let name = record.metadata.name.as_deref().unwrap_or_default();
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Whether nothing of a set is left that could hold data: it does not exist (it is asked for,
    /// because admission sees a creation that will fail for that very reason, too), it has no
    /// claims, and its pods, if any, are on their way out with the set that owned them.
    async fn is_over(&self, namespace: &str, set: &str) -> Result<bool, Fault> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let (sets, pods) = (self.sets(namespace), self.pods(namespace));
        let everything = ListParams::default();
        let (there, claims, pods) = tokio::try_join!(
            sets.get_metadata_opt(set),
            claims.list_metadata(&everything),
            pods.list_metadata(&everything)
        )?;
        let lives = |meta: &ObjectMeta| {
            let owners = meta.owner_references.as_deref().unwrap_or_default();
            let doomed = owners.iter().any(|o| o.controller == Some(true));
            meta.deletion_timestamp.is_none() && !doomed
        };
        let named = |meta: &ObjectMeta, test: fn(&str, &str) -> bool| {
            meta.name.as_deref().is_some_and(|name| test(name, set))
        };
        let claimed = claims.items.iter().any(|c| named(&c.metadata, is_claim_of));
        let alive = pods.items.iter().any(|p| named(&p.metadata, is_pod_of) && lives(&p.metadata));
        Ok(there.is_none() && !claimed && !alive)
    }

    /// Brings the record's summary up to date; a later writer's is never overwritten.
    pub(super) async fn tidy(&self, namespace: &str, set: &str, mut record: ClusterRecord) {
        let api = self.records(namespace);
        for _ in 0..6 {
            if record.is_tidy(set) {
                return;
            }
            let (registered, formed) = record.summary(set);
            let formed = formed || record.status.as_ref().is_some_and(|s| s.formed);
            let patch = json!({
                "metadata": {"resourceVersion": record.metadata.resource_version},
                "status": {"registered": registered, "formed": formed},
            });
            match api.patch_status(set, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => return,
                Err(error) if is_conflict(&error) => {}
                Err(error) => {
                    warn!(namespace, set, %error, "The record's summary was not written");
                    return;
                }
            }
            match api.get(set).await {
                Ok(now) => record = now,
                Err(_) => return,
            }
        }
    }
}

fn is_pod_of(name: &str, set: &str) -> bool {
    Ordinal::of_pod(name, set).is_some()
}

/// Whatever the claim's template was called.
fn is_claim_of(name: &str, set: &str) -> bool {
    name.match_indices('-').any(|(at, _)| is_pod_of(&name[at + 1..], set))
}

/// A selector as the API's list parameter.
pub(super) fn selector(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(k, v)| format!("{k}={v}"));
    let expressions = selector.match_expressions.iter().flatten().map(|e| {
        let values = e.values.iter().flatten().cloned().collect::<Vec<_>>().join(",");
        match e.operator.as_str() {
            "In" => format!("{} in ({values})", e.key),
            "NotIn" => format!("{} notin ({values})", e.key),
            "DoesNotExist" => format!("!{}", e.key),
            _ => e.key.clone(),
        }
    });
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

pub(super) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn params() -> PostParams {
    PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_reads_as_the_api_writes_it() {
        let from = json!({
            "matchLabels": {"app": "x"},
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["1", "2"]},
                {"key": "b", "operator": "NotIn", "values": ["3"]},
                {"key": "c", "operator": "Exists"},
                {"key": "d", "operator": "DoesNotExist"},
            ],
        });
        let text = selector(&serde_json::from_value(from).unwrap());
        assert_eq!(text, "app=x,a in (1,2),b notin (3),c,!d");
    }

    #[test]
    fn claims_are_a_sets_by_their_names() {
        assert!(is_claim_of("data-c-0", "c") && is_claim_of("my-data-c-d-12", "c-d"));
        assert!(!is_claim_of("data-c", "c") && !is_claim_of("data-other-0", "c"));
        assert!(!is_claim_of("c-0", "c"), "a pod's name alone");
    }

    #[test]
    fn the_shape_is_the_sets() {
        let set = |replicas: u32, labels: Value| json!({"metadata": {"labels": labels}, "spec": {"replicas": replicas}});
        let shape = |shards, replicas_per_shard| Some(Ok(Shape { shards, replicas_per_shard }));
        assert_eq!(Wanted::of(&set(6, json!({}))), shape(3, 1));
        let two = json!({"mooring.dev/replicas-per-shard": "2"});
        assert_eq!(Wanted::of(&set(9, two)), shape(3, 2));
        assert_eq!(Wanted::of(&set(0, json!({}))), None);
        assert!(matches!(Wanted::of(&set(7, json!({}))), Some(Err(_))));
    }
}
