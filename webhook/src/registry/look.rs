//! What is read of a cluster beside its record: its pods and their claims.
//!
//! Guarantees: the pods are as the API server knows them now.

use std::collections::BTreeMap;

use cluster::id::Ordinal;
use cluster::past::Claim;
use cluster::protocol::Pod as PodSeen;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::ListParams;

use super::Fault;
use super::observe::{claim, seen};
use super::record::ClusterRecord;
use super::sets::Sets;
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

    /// The pods of a cluster by the API server's present knowledge. Asked for one by one: a
    /// consistent list waits for the API server's cache to catch up, which takes up to 100 ms right
    /// after a write, and that is when it is needed here.
    pub(super) async fn pods_of(
        &self,
        sets: &Sets,
        record: Option<&ClusterRecord>,
        namespace: &str,
    ) -> Result<BTreeMap<String, PodSeen>, Fault> {
        let api = self.pods(namespace);
        let seen = |pod: &Pod| {
            let name = pod.metadata.name.as_deref()?;
            seen(pod, Ordinal::set_of(name))
        };
        let names = sets.pod_names(record);
        if names.len() > ONE_BY_ONE {
            let mut all = BTreeMap::new();
            for (name, set) in sets.all() {
                let selector = set.spec.as_ref().map(|s| selector(&s.selector)).unwrap_or_default();
                let list = api.list(&ListParams::default().labels(&selector)).await?;
                let of_set = |(pod, _): &(String, PodSeen)| Ordinal::set_of(pod) == name;
                all.extend(list.items.iter().filter_map(seen).filter(of_set));
            }
            return Ok(all);
        }
        let asked = stream::iter(names).map(|pod| {
            let api = api.clone();
            async move { api.get_opt(&pod).await }
        });
        let found: Vec<Option<Pod>> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(found.iter().flatten().filter_map(seen).collect())
    }
}
