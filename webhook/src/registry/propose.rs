//! Changes of the record by compare-and-set.
//!
//! Guarantees: a proposal is judged by what is known now ([`cluster::record::judge`]), and written
//! only if the record is still the one that it was judged by.

use cluster::protocol::{Proposal, View};
use cluster::record::{self, Change, Standing};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tracing::info;

use super::record::ClusterRecord;
use super::register::Around;
use super::store::{Store, is_conflict};
use super::{Fault, Registry};

/// So often a proposal is judged again because the record has changed meanwhile.
const ATTEMPTS: usize = 4;

// === impl Registry ===

impl Registry {
    /// Judges a proposal, makes the change, and answers with what is known afterwards.
    pub(super) async fn propose(&self, token: &str, proposal: &Proposal) -> Result<View, Fault> {
        let who = self.bearer(token).await?;
        let namespace = who.namespace.as_str();
        for _ in 0..ATTEMPTS {
            let around = self.around(&who).await?;
            let members = around.record.members();
            let successions =
                around.record.status.as_ref().map(|s| s.successions.clone()).unwrap_or_default();
            let standing = Standing {
                set: &around.sets.cluster,
                wanted: around.sets.wanted(),
                pod: &who.pod,
                plan: &around.record.spec.plan,
                members: &members,
                pods: &around.pods,
                claims: around.claimed.as_ref(),
                successions: &successions,
            };
            let change = record::judge(proposal, &standing).map_err(Fault::Refused)?;
            info!(
                namespace,
                cluster = around.sets.cluster,
                pod = who.pod,
                ?change,
                "Judged a proposal"
            );
            if let Some(record) = self.store().change(namespace, &around.record, &change).await? {
                self.store().note(namespace, &around.sets, &record).await;
                let before = members.get(&who.pod).cloned();
                return Ok(self.view_around(&who, Around { record, ..around }, before));
            }
        }
        Err(Fault::Unavailable("the record keeps changing".to_owned()))
    }
}

// === impl Store ===

impl Store {
    /// Writes a change; `None` if the record is not the one that was judged any more.
    pub(super) async fn change(
        &self,
        namespace: &str,
        judged: &ClusterRecord,
        change: &Change,
    ) -> Result<Option<ClusterRecord>, Fault> {
        let api = self.records(namespace);
        let name = judged.metadata.name.as_deref().unwrap_or_default();
        let version = json!({"resourceVersion": judged.metadata.resource_version});
        let params = PatchParams::default();
        let written = match change {
            Change::Nothing => return Ok(Some(judged.clone())),
            Change::Generation(generation) => {
                // The past that was lost with a deleted record is over with it.
                let spec = json!({"plan": {"generation": generation}, "restored": null});
                let patch = json!({"metadata": version, "spec": spec});
                api.patch(name, &params, &Patch::Merge(patch)).await
            }
            Change::Succession(from, succession) => {
                let patch = json!({
                    "metadata": version,
                    "status": {"successions": {from.as_str(): succession}},
                });
                api.patch_status(name, &params, &Patch::Merge(patch)).await
            }
        };
        match written {
            Ok(record) => Ok(Some(record)),
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
