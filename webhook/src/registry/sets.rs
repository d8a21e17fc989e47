//! The StatefulSets of a cluster: one, or all that bear the name of one group.
//!
//! Guarantees: read together, by the API server's present knowledge; what is asked of them
//! (which pods there may be, whose disks stay, what their controllers are to make) is asked of all.

use std::collections::{BTreeMap, BTreeSet};

use cluster::id::Ordinal;
use cluster::past::{Claim, Made, SetFacts};
use cluster::protocol::{HeirPolicy, SetSeen};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use serde_json::Value;

use super::Fault;
use super::record::ClusterRecord;
use super::store::Store;
use crate::knobs::Knobs;

/// What is known of them.
#[derive(Clone, Debug)]
pub(super) struct Sets {
    /// The cluster's name, which is that of its record.
    pub(super) cluster: String,
    /// The name of the one that was asked for.
    pub(super) own: String,
    /// All of them by name.
    all: BTreeMap<String, StatefulSet>,
}

// === impl Store ===

impl Store {
    /// The StatefulSets of the cluster of this one; `None` if there is no such StatefulSet.
    pub(super) async fn sets_of(&self, namespace: &str, set: &str) -> Result<Option<Sets>, Fault> {
        let api = self.sets(namespace);
        let Some(own) = api.get_opt(set).await? else { return Ok(None) };
        let all = match group_of(&own) {
            Some(group) => self.group(namespace, &group).await?,
            None => BTreeMap::new(),
        };
        Ok(Some(Sets::with(own, set, all)))
    }

    /// The StatefulSets of a set's cluster, and its record if there is one.
    ///
    /// # Errors
    /// If there is no such StatefulSet.
    pub(super) async fn cluster_of(
        &self,
        namespace: &str,
        set: &str,
    ) -> Result<(Sets, Option<ClusterRecord>), Fault> {
        let records = self.records(namespace);
        let (sets, record) = tokio::join!(self.sets_of(namespace, set), records.get_opt(set));
        let sets = sets?;
        let sets = sets.ok_or_else(|| Fault::Refused(format!("there is no StatefulSet {set}")))?;
        let record = match sets.cluster == set {
            true => record?,
            false => records.get_opt(&sets.cluster).await?,
        };
        Ok((sets, record))
    }

    /// The StatefulSets of a group by name.
    pub(super) async fn group(
        &self,
        namespace: &str,
        group: &str,
    ) -> Result<BTreeMap<String, StatefulSet>, Fault> {
        // Not by label: an annotation is as good, and what opts in may be the template.
        let list = self.sets(namespace).list(&ListParams::default()).await?;
        let of_group = list.items.into_iter().filter(|s| group_of(s).as_deref() == Some(group));
        Ok(of_group.filter_map(|s| Some((s.metadata.name.clone()?, s))).collect())
    }
}

// === impl Sets ===

impl Sets {
    /// One that is under review, with what is there of its group.
    pub(super) fn with(
        set: StatefulSet,
        name: &str,
        mut all: BTreeMap<String, StatefulSet>,
    ) -> Self {
        let cluster = group_of(&set).unwrap_or_else(|| name.to_owned());
        all.insert(name.to_owned(), set);
        Self { cluster, own: name.to_owned(), all }
    }

    /// The one that was asked for.
    pub(super) fn own(&self) -> Option<&StatefulSet> {
        self.all.get(&self.own)
    }

    /// All of them by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &StatefulSet)> {
        self.all.iter().map(|(name, set)| (name.as_str(), set))
    }

    /// As members need to know them.
    pub(super) fn seen(&self) -> Vec<SetSeen> {
        let seen = |(name, set): (&str, &StatefulSet)| SetSeen {
            name: name.to_owned(),
            start: start(set),
            replicas: replicas(set),
            parallel: is_parallel(set),
        };
        self.all().map(seen).collect()
    }

    /// The names of the pods that their controllers are to make.
    pub(super) fn wanted(&self) -> BTreeSet<String> {
        self.seen().iter().flat_map(SetSeen::pods).collect()
    }

    /// What may tell of a past.
    pub(super) fn facts(&self) -> Vec<SetFacts> {
        let facts = |(name, set): (&str, &StatefulSet)| SetFacts {
            name: name.to_owned(),
            created: made(set.metadata.creation_timestamp.as_ref()),
            start: start(set),
            parallel: is_parallel(set),
            templates: templates(set),
        };
        self.all().map(facts).collect()
    }

    /// The names that pods may have: those that controllers make now, those of the plan, and those
    /// that have registered.
    pub(super) fn pod_names(&self, record: Option<&ClusterRecord>) -> BTreeSet<String> {
        let made = self.all().flat_map(|(name, set)| {
            let there = set.status.as_ref().map_or(0, |s| u32::try_from(s.replicas).unwrap_or(0));
            let count = replicas(set).max(there).min(MOST);
            let (start, name) = (start(set), name.to_owned());
            (start..start.saturating_add(count)).map(move |o| Ordinal(o).pod_of(&name))
        });
        let plan = record.iter().flat_map(|r| {
            let ordinals = r.spec.plan.ordinals().take(MOST as usize);
            ordinals.filter_map(|o| r.spec.plan.pod(&self.cluster, o))
        });
        let members = record.iter().flat_map(|r| &r.status).flat_map(|s| s.members.keys());
        // A record that somebody has edited must not send us elsewhere.
        let members = members.filter(|pod| self.has(pod, record)).cloned();
        made.chain(plan).chain(members).collect()
    }

    /// Whether a pod is one of theirs by its name, or of a set that the plan knows.
    fn has(&self, pod: &str, record: Option<&ClusterRecord>) -> bool {
        let mut planned = record.iter().flat_map(|r| &r.spec.plan.sets).map(|part| &part.name);
        let set = self.all.keys().chain(planned.by_ref()).find(|set| *set == Ordinal::set_of(pod));
        set.is_some_and(|set| Ordinal::of_pod(pod, set).is_some())
    }

    /// The pods whose disk outlives them: those with a claim by a template. `None` where it can
    /// not be told, because the pods of one have other volumes that stay (a host's folder, one
    /// claim for all).
    pub(super) fn claimed(&self, claims: &[Claim]) -> Option<BTreeSet<String>> {
        let each = self.all().map(|(name, set)| claimed_pods(set, name, claims));
        each.collect::<Option<Vec<_>>>().map(|all| all.into_iter().flatten().collect())
    }

    /// What the asking one says of successions. Settings that can not be read promote nobody.
    pub(super) fn heirs(&self) -> HeirPolicy {
        let knobs = self.own().map(knobs).and_then(Result::ok);
        knobs.map_or(HeirPolicy::Never, |knobs| knobs.succession.unwrap_or_default())
    }
}

/// The settings of a StatefulSet.
pub(super) fn knobs(set: &StatefulSet) -> Result<Knobs, crate::knobs::KnobError> {
    Knobs::of_set(&serde_json::to_value(set).unwrap_or(Value::Null))
}

/// The group of a StatefulSet.
pub(super) fn group_of(set: &StatefulSet) -> Option<String> {
    knobs(set).ok()?.group
}

pub(super) fn made(time: Option<&Time>) -> Made {
    Made(time.map_or(0, |t| t.0.as_millisecond()))
}

pub(super) fn replicas(set: &StatefulSet) -> u32 {
    u32::try_from(spec(set).and_then(|s| s.replicas).unwrap_or(1)).unwrap_or(0)
}

fn spec(set: &StatefulSet) -> Option<&StatefulSetSpec> {
    set.spec.as_ref()
}

fn is_parallel(set: &StatefulSet) -> bool {
    spec(set).is_some_and(|s| s.pod_management_policy.as_deref() == Some("Parallel"))
}

fn start(set: &StatefulSet) -> u32 {
    let start = spec(set).and_then(|s| s.ordinals.as_ref()?.start).unwrap_or(0);
    u32::try_from(start).unwrap_or(0)
}

fn templates(set: &StatefulSet) -> Vec<String> {
    let templates = spec(set).into_iter().flat_map(|s| &s.volume_claim_templates).flatten();
    templates.filter_map(|t| t.metadata.name.clone()).collect()
}

fn claimed_pods(set: &StatefulSet, name: &str, claims: &[Claim]) -> Option<BTreeSet<String>> {
    let templates = templates(set);
    let volumes = spec(set)?.template.spec.as_ref()?.volumes.iter().flatten();
    let mut others = volumes.filter(|v| !templates.contains(&v.name));
    let passes = |v: &k8s_openapi::api::core::v1::Volume| {
        v.empty_dir.is_some()
            || v.config_map.is_some()
            || v.secret.is_some()
            || v.projected.is_some()
            || v.downward_api.is_some()
    };
    others.all(passes).then(|| {
        let pods = claims.iter().filter_map(|claim| {
            let pod =
                templates.iter().find_map(|t| claim.name.strip_prefix(t)?.strip_prefix('-'))?;
            Ordinal::of_pod(pod, name).map(|_| pod.to_owned())
        });
        pods.collect()
    })
}

/// More pods than this no cluster has.
const MOST: u32 = 10_000;

#[cfg(test)]
mod tests {
    use cluster::plan::{Part, Plan};
    use serde_json::json;

    use super::super::record::{Spec, Status};
    use super::*;

    fn sets(cluster: &str, all: &[(&str, Value)]) -> Sets {
        let all = all.iter().map(|(name, spec)| {
            let mut spec = spec.clone();
            for (key, value) in [("serviceName", json!("c")), ("selector", json!({}))] {
                spec[key] = value;
            }
            let set = json!({"metadata": {"name": name}, "spec": spec, "status": {"replicas": 2}});
            ((*name).to_owned(), serde_json::from_value(set).unwrap())
        });
        let all: BTreeMap<_, _> = all.collect();
        let own = all.keys().next().cloned().unwrap_or_default();
        Sets { cluster: cluster.to_owned(), own, all }
    }

    fn record(parts: &[(&str, u32)], members: &[&str]) -> ClusterRecord {
        let sets = parts.iter().map(|(name, pods)| Part { name: (*name).to_owned(), pods: *pods });
        let plan = Plan {
            salt: "s".into(),
            shards: 3,
            replicas_per_shard: 0,
            generation: 1,
            sets: sets.collect(),
        };
        let mut record = ClusterRecord::new("c", Spec { plan, restored: false });
        let members = members.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        record.status = Some(Status { members, ..Default::default() });
        record
    }

    #[test]
    fn all_names_that_a_pod_may_have_are_asked_for() {
        let set = json!({"replicas": 1, "ordinals": {"start": 4}, "template": {}});
        let one = sets("c", &[("c", set)]);
        let names = one.pod_names(Some(&record(&[], &["c-7", "other-1"])));
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        assert_eq!(names, ["c-0", "c-1", "c-2", "c-4", "c-5", "c-7"]);

        let few = json!({"replicas": 1, "template": {}});
        let group = sets("c", &[("c-a", few.clone()), ("c-b", few)]);
        let names = group.pod_names(Some(&record(&[("c-a", 2), ("gone", 1)], &["c-b-5"])));
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        assert_eq!(names, ["c-a-0", "c-a-1", "c-b-0", "c-b-1", "c-b-5", "gone-0"]);
        assert_eq!(group.wanted().len(), 2);
    }

    #[test]
    fn a_disk_outlives_its_pod_where_there_is_a_claim() {
        let set = |templates: Value, volumes: Value| {
            json!({
                "volumeClaimTemplates": templates,
                "template": {"spec": {"containers": [], "volumes": volumes}},
            })
        };
        let claim = |name: &str| Claim { name: name.to_owned(), created: Made(0), restored: false };
        let claims = [claim("data-c-0"), claim("data-c-x"), claim("logs-c-1"), claim("data-d-2")];
        let template = json!([{"metadata": {"name": "data"}, "spec": {}}]);
        let passing =
            json!([{"name": "conf", "configMap": {"name": "x"}}, {"name": "t", "emptyDir": {}}]);
        let with = set(template.clone(), passing.clone());
        let without = set(json!([]), passing);
        let host = set(template, json!([{"name": "h", "hostPath": {"path": "/x"}}]));
        let pods = |all: &[(&str, Value)]| sets("c", all).claimed(&claims);
        let names = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
        assert_eq!(pods(&[("c", with.clone())]), names(&["c-0"]));
        assert_eq!(pods(&[("c", without)]), names(&[]));
        assert_eq!(pods(&[("c", host.clone())]), None);
        assert_eq!(pods(&[("c", with.clone()), ("d", with.clone())]), names(&["c-0", "d-2"]));
        assert_eq!(pods(&[("c", with), ("d", host)]), None, "of one it can not be told");
    }
}
