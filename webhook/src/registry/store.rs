//! The records in the API server, and what is read beside them.
//!
//! Guarantees: reads are quorum reads (no resourceVersion), so that they are newer than any write
//! that was answered before; a plan is made once and changes only while nobody has registered.

use std::collections::{BTreeMap, BTreeSet};

use cluster::id::Ordinal;
use cluster::plan::{Part, Plan, Shape};
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
use super::sets::{Sets, group_of};
use super::wanted::Wanted;
use crate::names;

/// Reads and writes records.
#[derive(Clone)]
pub struct Store {
    client: Client,
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

    /// The plan of this name, if there is a record.
    pub async fn plan(&self, namespace: &str, cluster: &str) -> Result<Option<Plan>, Fault> {
        Ok(self.records(namespace).get_opt(cluster).await?.map(|record| record.spec.plan))
    }

    /// The plan of a set's cluster, which may have no record yet: that of a set whose template
    /// alone opts in.
    pub async fn plan_for_pod(
        &self,
        namespace: &str,
        cluster: &str,
        set: &str,
    ) -> Result<Option<Plan>, Fault> {
        let plan = self.plan(namespace, cluster).await?;
        if plan.as_ref().is_some_and(|plan| plan.sets.iter().any(|part| part.name == set))
            || (cluster == set && plan.is_some())
        {
            return Ok(plan);
        }
        let Some(sets) = self.sets_of(namespace, set).await? else { return Ok(None) };
        match Wanted::of(&sets) {
            Some(Ok(wanted)) => Ok(Some(self.ensure(namespace, &wanted).await?.spec.plan)),
            Some(Err(_)) | None => Ok(None),
        }
    }

    /// What a StatefulSet in a review wants: `object` as it is to become, `name` its name.
    pub async fn wanted(
        &self,
        namespace: &str,
        name: &str,
        object: &Value,
        created: bool,
    ) -> Result<Option<Wanted>, Fault> {
        let Ok(set) = serde_json::from_value::<StatefulSet>(object.clone()) else {
            return Ok(None);
        };
        let all = match group_of(&set) {
            Some(group) => self.group(namespace, &group).await?,
            None => BTreeMap::new(),
        };
        let wanted = Wanted::of(&Sets::with(set, name, all)).and_then(Result::ok);
        Ok(wanted.map(|wanted| Wanted { created, ..wanted }))
    }

    /// The record of a set: the one that is there, or a new one.
    pub async fn ensure(&self, namespace: &str, wanted: &Wanted) -> Result<ClusterRecord, Fault> {
        let api = self.records(namespace);
        let name = wanted.cluster.as_str();
        for _ in 0..4 {
            let Some(record) = api.get_opt(name).await? else {
                match self.create(&api, namespace, wanted).await {
                    Ok(record) => return Ok(record),
                    Err(error) if is_conflict(&error) => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            let empty = record.status.as_ref().is_none_or(|s| s.members.is_empty());
            if !empty && wanted.created && self.is_over(namespace, wanted, &record).await? {
                warn!(namespace, name, "The record is of an earlier life: no pods, no claims");
                let params = DeleteParams {
                    preconditions: Some(Preconditions {
                        uid: record.metadata.uid,
                        resource_version: record.metadata.resource_version,
                    }),
                    ..DeleteParams::default()
                };
                match api.delete(name, &params).await {
                    Ok(_) => continue,
                    Err(error) if is_conflict(&error) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            let plan = &record.spec.plan;
            if !empty && !wanted.is_of(plan) {
                return Err(Fault::Refused(not_its_record(wanted, plan)));
            }
            let unused = empty && wanted.noted.is_none();
            let shape = if unused { wanted.shape } else { plan.shape() };
            let sets = wanted.arranged(plan, unused);
            if (shape, &sets) == (plan.shape(), &plan.sets) {
                return Ok(record);
            }
            match self.rearrange(&api, &record, shape, &sets).await {
                Ok(record) => return Ok(record),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Fault::Unavailable("the record keeps changing".to_owned()))
    }

    async fn create(
        &self,
        api: &Api<ClusterRecord>,
        namespace: &str,
        wanted: &Wanted,
    ) -> Result<ClusterRecord, kube::Error> {
        let noted = wanted.noted.as_ref().filter(|noted| wanted.is_of(&noted.plan));
        let spec = match noted {
            Some(noted) => Spec { plan: noted.plan.clone(), restored: true },
            None => Spec { plan: new_plan(wanted)?, restored: false },
        };
        let name = wanted.cluster.as_str();
        let restored = spec.restored;
        let record = api.create(&params(), &ClusterRecord::new(name, spec)).await?;
        info!(namespace, name, shape = ?wanted.shape, parts = ?wanted.parts, restored, "Made a record");
        match noted.map(|noted| &noted.successions).filter(|known| !known.is_empty()) {
            Some(successions) => {
                let patch = Patch::Merge(json!({"status": {"successions": successions}}));
                api.patch_status(name, &PatchParams::default(), &patch).await
            }
            None => Ok(record),
        }
    }

    /// The plan follows its sets where nobody has registered, and a set of a group gets its seats.
    async fn rearrange(
        &self,
        api: &Api<ClusterRecord>,
        record: &ClusterRecord,
        shape: Shape,
        sets: &[Part],
    ) -> Result<ClusterRecord, kube::Error> {
        let patch = json!({
            "metadata": {"resourceVersion": record.metadata.resource_version},
            "spec": {"plan": {
                "shards": shape.shards,
                "replicasPerShard": shape.replicas_per_shard,
                // `null` where there are none: a merge patch takes the field away.
                "sets": Some(sets).filter(|sets| !sets.is_empty()),
            }},
        });
        let name = record.metadata.name.as_deref().unwrap_or_default();
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Whether nothing of a set is left that could hold data: it does not exist (it is asked for,
    /// because admission sees a creation that will fail for that very reason, too), it has no
    /// claims, and its pods, if any, are on their way out with the set that owned them.
    async fn is_over(
        &self,
        namespace: &str,
        wanted: &Wanted,
        record: &ClusterRecord,
    ) -> Result<bool, Fault> {
        let planned = record.spec.plan.sets.iter().chain(&wanted.parts).map(|part| &part.name);
        let names: BTreeSet<&str> =
            planned.chain([&wanted.set, &wanted.cluster]).map(String::as_str).collect();
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let (sets, pods) = (self.sets(namespace), self.pods(namespace));
        let everything = ListParams::default();
        let (there, claims, pods) = tokio::try_join!(
            sets.list_metadata(&everything),
            claims.list_metadata(&everything),
            pods.list_metadata(&everything)
        )?;
        let lives = |meta: &ObjectMeta| {
            let owners = meta.owner_references.as_deref().unwrap_or_default();
            let doomed = owners.iter().any(|o| o.controller == Some(true));
            meta.deletion_timestamp.is_none() && !doomed
        };
        let named = |meta: &ObjectMeta, test: fn(&str, &str) -> bool| {
            meta.name.as_deref().is_some_and(|name| names.iter().any(|set| test(name, set)))
        };
        let there = there.items.iter().any(|s| named(&s.metadata, |name, set| name == set));
        let claimed = claims.items.iter().any(|c| named(&c.metadata, is_claim_of));
        let alive = pods.items.iter().any(|p| named(&p.metadata, is_pod_of) && lives(&p.metadata));
        Ok(!there && !claimed && !alive)
    }

    /// Brings the record's summary up to date; a later writer's is never overwritten.
    pub(super) async fn tidy(&self, namespace: &str, mut record: ClusterRecord) {
        let api = self.records(namespace);
        let name = record.metadata.name.clone().unwrap_or_default();
        for _ in 0..6 {
            if record.is_tidy() {
                return;
            }
            let (registered, formed) = record.summary();
            let formed = formed || record.status.as_ref().is_some_and(|s| s.formed);
            let patch = json!({
                "metadata": {"resourceVersion": record.metadata.resource_version},
                "status": {"registered": registered, "formed": formed},
            });
            match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => return,
                Err(error) if is_conflict(&error) => {}
                Err(error) => {
                    warn!(namespace, name, %error, "The record's summary was not written");
                    return;
                }
            }
            match api.get(&name).await {
                Ok(now) => record = now,
                Err(_) => return,
            }
        }
    }
}

/// A plan for a cluster that begins.
fn new_plan(wanted: &Wanted) -> Result<Plan, kube::Error> {
    let mut salt = [0; 20];
    ring::rand::SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| kube::Error::Service("no random numbers".into()))?;
    let mut plan = Plan {
        salt: salt.iter().map(|b| format!("{b:02x}")).collect(),
        shards: wanted.shape.shards,
        replicas_per_shard: wanted.shape.replicas_per_shard,
        generation: 1,
        sets: Vec::new(),
    };
    plan.sets = wanted.arranged(&plan, true);
    Ok(plan)
}

fn not_its_record(wanted: &Wanted, plan: &Plan) -> String {
    let Wanted { cluster, set, .. } = wanted;
    let whose = match plan.sets.is_empty() {
        true => format!("of the StatefulSet {cluster}, which is not of the group {cluster}"),
        false => format!("of the group {cluster}, of which {set} is none"),
    };
    format!("the ClusterRecord {cluster} is {whose}: give the group another name")
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
}
