//! What only the record knows, noted on the StatefulSets themselves.
//!
//! Somebody may delete a record while its cluster runs. A new one with another salt would take a
//! member that lost its disk for a stranger, and, while a cluster forms, found a second one beside
//! it; and an heir that was just named would not know of it. So the plan and the successions stand on
//! the StatefulSets as well, from the first registration on, and a record that is gone begins with
//! them again.
//!
//! Guarantees: a note counts on the very object that it was written for (by its uid) and for the
//! cluster that it names: a copied manifest, or a set that was made again, begins with a plan of its
//! own. No step is answered before the note is tried; a note that can not be written stops nobody. In a
//! cluster of so many successions that a note has no room for them it says the plan alone.

use std::collections::BTreeMap;

use cluster::id::NodeId;
use cluster::plan::{MIN_SHARDS, Plan};
use cluster::protocol::Succession;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{info, warn};

use super::record::ClusterRecord;
use super::sets::Sets;
use super::store::Store;
use crate::names;

/// What a record begins with that takes the place of one that is gone.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Noted {
    /// Its plan.
    pub plan: Plan,
    /// Its successions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub successions: BTreeMap<NodeId, Succession>,
}

/// The annotation's value.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Note {
    /// The uid of the StatefulSet that carries it.
    uid: String,
    /// The cluster's name.
    cluster: String,
    #[serde(flatten)]
    noted: Noted,
}

/// What all annotations of an object have room for is four times as much.
const MOST_BYTES: usize = 64 * 1024;

// === impl Sets ===

impl Sets {
    /// What stands on these StatefulSets, the latest where they differ.
    pub(super) fn noted(&self) -> Option<Noted> {
        let notes = self.all().filter_map(|(_, set)| self.note_on(set));
        notes.max_by_key(|Noted { plan, successions }| {
            let epoch = successions.values().map(|s| s.epoch).max();
            (plan.generation, plan.sets.len(), epoch)
        })
    }

    fn note_on(&self, set: &StatefulSet) -> Option<Noted> {
        let text = set.metadata.annotations.as_ref()?.get(names::RECORD)?;
        if text.len() > MOST_BYTES {
            return None;
        }
        let note: Note = serde_json::from_str(text).ok()?;
        let own = set.metadata.uid.as_deref() == Some(&note.uid) && note.cluster == self.cluster;
        let Plan { salt, shards, generation, .. } = &note.noted.plan;
        // What the API server would not take for a record's.
        let sound = !salt.is_empty() && *shards >= MIN_SHARDS && *generation > 0;
        (own && sound).then_some(note.noted)
    }
}

// === impl Store ===

impl Store {
    /// Notes a record on the StatefulSets that do not carry it yet.
    pub(super) async fn note(&self, namespace: &str, sets: &Sets, record: &ClusterRecord) {
        let noted = Noted::of(record);
        let api = self.sets(namespace);
        for (name, set) in sets.all().filter(|(_, set)| sets.note_on(set).as_ref() != Some(&noted))
        {
            let Some(uid) = set.metadata.uid.clone() else { continue };
            let note = Note { uid, cluster: sets.cluster.clone(), noted: noted.clone() };
            // The uid is a precondition, too: this name may be another StatefulSet's by now.
            let patch = json!({"metadata": {
                "uid": note.uid,
                "annotations": {names::RECORD: json!(note).to_string()},
            }});
            let params = PatchParams {
                field_manager: Some(names::MANAGER.to_owned()),
                ..PatchParams::default()
            };
            match api.patch_metadata(name, &params, &Patch::Merge(patch)).await {
                Ok(_) => info!(namespace, name, "Noted the record on its StatefulSet"),
                Err(error) => warn!(namespace, name, %error, "The record was not noted"),
            }
        }
    }
}

// === impl Noted ===

impl Noted {
    fn of(record: &ClusterRecord) -> Self {
        let successions = record.status.as_ref().map(|s| s.successions.clone()).unwrap_or_default();
        let noted = Self { plan: record.spec.plan.clone(), successions };
        match json!(noted).to_string().len() + ROOM <= MOST_BYTES {
            true => noted,
            false => Self { successions: BTreeMap::new(), ..noted },
        }
    }
}

/// For the rest of a note.
const ROOM: usize = 1024;

#[cfg(test)]
mod tests {
    use cluster::id::Ordinal;

    use super::super::record::{Spec, Status};
    use super::*;

    fn plan(generation: u64) -> Plan {
        let (salt, sets) = ("s".to_owned(), Vec::new());
        Plan { salt, shards: 3, replicas_per_shard: 1, generation, sets }
    }

    fn sets(uid: &str, note: &str) -> Sets {
        let set = serde_json::from_value(json!({
            "metadata": {"name": "cache", "uid": uid, "annotations": {names::RECORD: note}},
        }));
        Sets::with(set.unwrap(), "cache", BTreeMap::new())
    }

    fn noted(plan: Plan) -> Noted {
        Noted { plan, successions: BTreeMap::new() }
    }

    fn note(uid: &str, cluster: &str, plan: Plan) -> String {
        let note = Note { uid: uid.to_owned(), cluster: cluster.to_owned(), noted: noted(plan) };
        json!(note).to_string()
    }

    fn succeeded(successions: u32) -> ClusterRecord {
        let mut record = ClusterRecord::new("cache", Spec { plan: plan(1), restored: false });
        let id = |ordinal| plan(1).node_id(Ordinal(ordinal));
        let succession = |from: u32| {
            let (slots, reason) = (Vec::new(), "x".repeat(100));
            let heir = id(from + 10_000);
            (id(from), Succession { heir, slots, epoch: 4, held: None, reason })
        };
        let successions = (0..successions).map(succession).collect();
        record.status = Some(Status { successions, ..Status::default() });
        record
    }

    #[test]
    fn successions_are_noted_where_there_is_room_for_them() {
        let few = Noted::of(&succeeded(3));
        let text = json!(Note { uid: "u".into(), cluster: "cache".into(), noted: few.clone() });
        assert_eq!((few.successions.len(), sets("u", &text.to_string()).noted()), (3, Some(few)));
        assert_eq!(Noted::of(&succeeded(1_000)), noted(plan(1)));
    }

    #[test]
    fn a_note_counts_where_it_was_written() {
        let own = note("u", "cache", plan(2));
        assert_eq!(sets("u", &own).noted(), Some(noted(plan(2))));
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
                    "annotations": {names::RECORD: note(name, "group", plan(generation))},
                },
            });
            (name.to_owned(), serde_json::from_value::<StatefulSet>(set).unwrap())
        };
        let (masters, replicas) = (set("masters", 3), set("replicas", 2));
        let group = Sets::with(masters.1, "masters", BTreeMap::from([replicas]));
        assert_eq!(group.noted(), Some(noted(plan(3))));
    }
}
