//! The plan, noted on the StatefulSets themselves.
//!
//! Somebody may delete a record while its cluster runs. A new one with another salt would take a
//! member that lost its disk for a stranger, and, while a cluster forms, found a second one beside
//! it. So the plan stands on the StatefulSets as well, from the first registration on, and a record
//! that is gone begins with it again.
//!
//! Guarantees: a note counts on the very object that it was written for (by its uid) and for the
//! cluster that it names: a copied manifest, or a set that was made again, begins with a plan of its
//! own. No step is answered before the note is tried; a note that can not be written stops nobody.

use cluster::plan::{MIN_SHARDS, Plan};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{info, warn};

use super::sets::Sets;
use super::store::Store;
use crate::names;

/// The annotation's value.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Note {
    /// The uid of the StatefulSet that carries it.
    uid: String,
    /// The cluster's name.
    cluster: String,
    plan: Plan,
}

/// More than a plan of this project can be; what is longer is none.
const MOST_BYTES: usize = 64 * 1024;

// === impl Sets ===

impl Sets {
    /// The plan that stands on these StatefulSets, the latest generation where they differ.
    pub(super) fn noted(&self) -> Option<Plan> {
        let notes = self.all().filter_map(|(_, set)| self.note_on(set));
        notes.max_by_key(|plan| (plan.generation, plan.sets.len()))
    }

    fn note_on(&self, set: &StatefulSet) -> Option<Plan> {
        let text = set.metadata.annotations.as_ref()?.get(names::PLAN)?;
        if text.len() > MOST_BYTES {
            return None;
        }
        let note: Note = serde_json::from_str(text).ok()?;
        let own = set.metadata.uid.as_deref() == Some(&note.uid) && note.cluster == self.cluster;
        let Plan { salt, shards, generation, .. } = &note.plan;
        // What the API server would not take for a record's.
        let sound = !salt.is_empty() && *shards >= MIN_SHARDS && *generation > 0;
        (own && sound).then_some(note.plan)
    }
}

// === impl Store ===

impl Store {
    /// Notes the plan on the StatefulSets that do not carry it yet.
    pub(super) async fn note(&self, namespace: &str, sets: &Sets, plan: &Plan) {
        let api = self.sets(namespace);
        for (name, set) in sets.all().filter(|(_, set)| sets.note_on(set).as_ref() != Some(plan)) {
            let Some(uid) = set.metadata.uid.clone() else { continue };
            let note = Note { uid, cluster: sets.cluster.clone(), plan: plan.clone() };
            // The uid is a precondition, too: this name may be another StatefulSet's by now.
            let patch = json!({"metadata": {
                "uid": note.uid,
                "annotations": {names::PLAN: json!(note).to_string()},
            }});
            let params = PatchParams {
                field_manager: Some(names::MANAGER.to_owned()),
                ..PatchParams::default()
            };
            match api.patch_metadata(name, &params, &Patch::Merge(patch)).await {
                Ok(_) => info!(namespace, name, generation = plan.generation, "Noted the plan"),
                Err(error) => warn!(namespace, name, %error, "The plan was not noted"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn plan(generation: u64) -> Plan {
        let (salt, sets) = ("s".to_owned(), Vec::new());
        Plan { salt, shards: 3, replicas_per_shard: 1, generation, sets }
    }

    fn sets(uid: &str, note: &str) -> Sets {
        let set = serde_json::from_value(json!({
            "metadata": {"name": "cache", "uid": uid, "annotations": {names::PLAN: note}},
        }));
        Sets::with(set.unwrap(), "cache", BTreeMap::new())
    }

    fn note(uid: &str, cluster: &str, plan: Plan) -> String {
        json!(Note { uid: uid.to_owned(), cluster: cluster.to_owned(), plan }).to_string()
    }

    #[test]
    fn a_note_counts_where_it_was_written() {
        let own = note("u", "cache", plan(2));
        assert_eq!(sets("u", &own).noted(), Some(plan(2)));
        assert_eq!(sets("another", &own).noted(), None, "a copied manifest, or a set made again");
        assert_eq!(sets("u", &note("u", "group", plan(2))).noted(), None, "it has left its group");
    }

    #[test]
    fn what_is_no_note_is_passed_over() {
        let long = " ".repeat(MOST_BYTES) + &note("u", "cache", plan(1));
        let unsound = note("u", "cache", Plan { shards: 2, ..plan(1) });
        for text in ["", "{", "[]", r#"{"uid":"u","cluster":"cache"}"#, &long, &unsound] {
            assert_eq!(sets("u", text).noted(), None);
        }
    }

    #[test]
    fn the_latest_generation_of_a_group_counts() {
        let set = |name: &str, generation| {
            let set = json!({
                "metadata": {
                    "name": name,
                    "uid": name,
                    "labels": {names::CLUSTER: "enabled", names::GROUP: "group"},
                    "annotations": {names::PLAN: note(name, "group", plan(generation))},
                },
            });
            (name.to_owned(), serde_json::from_value::<StatefulSet>(set).unwrap())
        };
        let (masters, replicas) = (set("masters", 3), set("replicas", 2));
        let group = Sets::with(masters.1, "masters", BTreeMap::from([replicas]));
        assert_eq!(group.noted(), Some(plan(3)));
    }
}
