//! What is read of a set beside its record: its pods and their claims.
//!
//! Guarantees: the pods are as the API server knows them now; whose disk outlives its pod is said
//! only where it can be told.

use std::collections::{BTreeMap, BTreeSet};

use cluster::id::Ordinal;
use cluster::past::Claim;
use cluster::protocol::Pod as PodSeen;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::ListParams;

use super::Fault;
use super::observe::{claim, seen};
use super::record::ClusterRecord;
use super::store::{Store, selector};

/// More pods than this are listed.
const ONE_BY_ONE: usize = 64;
const AT_ONCE: usize = 16;

// === impl Store ===

impl Store {
    /// A namespace's claims, where they are needed.
    pub(super) async fn claims(&self, namespace: &str, wanted: bool) -> Result<Vec<Claim>, Fault> {
        if !wanted {
            return Ok(Vec::new());
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client().clone(), namespace);
        // From the cache: a claim that tells of a past is older than the pod that asks.
        let list = api.list(&ListParams::default().match_any()).await?;
        Ok(list.items.into_iter().filter_map(claim).collect())
    }

    /// The pods of a set by the API server's present knowledge. Asked for one by one: a consistent
    /// list waits for the API server's cache to catch up, which takes up to 100 ms right after
    /// a write, and that is when it is needed here.
    pub(super) async fn pods_of(
        &self,
        set: &StatefulSet,
        record: Option<&ClusterRecord>,
        namespace: &str,
        name: &str,
    ) -> Result<BTreeMap<String, PodSeen>, Fault> {
        let api = self.pods(namespace);
        let names = pod_names(set, record, name);
        if names.len() > ONE_BY_ONE {
            let selector = set.spec.as_ref().map(|s| selector(&s.selector)).unwrap_or_default();
            let list = api.list(&ListParams::default().labels(&selector)).await?;
            return Ok(list.items.iter().filter_map(|pod| seen(pod, name)).collect());
        }
        let asked = stream::iter(names).map(|pod| {
            let api = api.clone();
            async move { api.get_opt(&pod).await }
        });
        let found: Vec<Option<Pod>> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(found.iter().flatten().filter_map(|pod| seen(pod, name)).collect())
    }
}

pub(super) fn replicas(set: &StatefulSet) -> u32 {
    let replicas = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    u32::try_from(replicas).unwrap_or(0)
}

/// The pods whose disk outlives them: those with a claim by one of the set's templates. `None`
/// where it can not be told, because the pods have other volumes that stay (a host's folder, one
/// claim for all).
pub(super) fn claimed_pods(
    set: &StatefulSet,
    name: &str,
    claims: &[Claim],
) -> Option<BTreeSet<String>> {
    let spec = set.spec.as_ref()?;
    let templates = spec.volume_claim_templates.iter().flatten();
    let templates: Vec<_> = templates.filter_map(|t| t.metadata.name.clone()).collect();
    let volumes = spec.template.spec.as_ref()?.volumes.iter().flatten();
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

/// The names that pods of a set may have: those that its controller makes now, those of the plan,
/// and those that have registered.
pub(super) fn pod_names(
    set: &StatefulSet,
    record: Option<&ClusterRecord>,
    name: &str,
) -> BTreeSet<String> {
    let start = set.spec.as_ref().and_then(|s| s.ordinals.as_ref()?.start).unwrap_or(0);
    let start = u32::try_from(start).unwrap_or(0);
    let there = set.status.as_ref().map_or(0, |s| u32::try_from(s.replicas).unwrap_or(0));
    let count = replicas(set).max(there).min(10_000);
    let plan = record.iter().flat_map(|r| r.spec.plan.ordinals().take(10_000));
    let ordinals = (start..start.saturating_add(count)).chain(plan.map(|o| o.0));
    let members = record.iter().flat_map(|r| &r.status).flat_map(|s| s.members.keys());
    // A record that somebody has edited must not send us elsewhere.
    let members = members.filter(|pod| Ordinal::of_pod(pod, name).is_some()).cloned();
    ordinals.map(|ordinal| format!("{name}-{ordinal}")).chain(members).collect()
}
