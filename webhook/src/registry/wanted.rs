//! Which record a StatefulSet is to have.
//!
//! Guarantees: pure. The seats of a group are given in the order in which its StatefulSets came,
//! and none that is given moves.

use cluster::plan::{Part, Plan, Shape, ShapeError};
use serde_json::Value;

use super::noted::Noted;
use super::sets::{Sets, made, replicas};
use crate::knobs::Knobs;

/// The record that a StatefulSet is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The record's name.
    pub cluster: String,
    /// The StatefulSet's name.
    pub set: String,
    /// The shape of a new plan.
    pub shape: Shape,
    /// The StatefulSets of the group in the order in which they came, with their pods; none where
    /// the cluster is one StatefulSet.
    pub parts: Vec<Part>,
    /// What a record said that is gone.
    pub noted: Option<Noted>,
    /// Whether the StatefulSet is being created: a record without pods and claims is then one of
    /// an earlier life that is over.
    pub created: bool,
}

// === impl Wanted ===

impl Wanted {
    /// The shape by a StatefulSet's numbers; `None` if it has no pods yet, or no valid settings
    /// (which admission says to its owner).
    pub fn shape(set: &Value) -> Option<Result<Shape, ShapeError>> {
        let knobs = Knobs::of_set(set).ok()?;
        if knobs.group.is_some() {
            return Some(Shape::of_group(knobs.shards, knobs.replicas_per_shard));
        }
        let pods = u32::try_from(set["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap_or(u32::MAX);
        (pods > 0).then(|| Shape::of_one(pods, knobs.shards, knobs.replicas_per_shard))
    }

    /// The record of a cluster's StatefulSets as they are; `None` as with [`Wanted::shape`].
    pub(super) fn of(sets: &Sets) -> Option<Result<Self, ShapeError>> {
        let own = sets.own()?;
        let value = serde_json::to_value(own).unwrap_or_default();
        let shape = Self::shape(&value)?;
        let set = sets.own.clone();
        let group = Knobs::of_set(&value).is_ok_and(|knobs| knobs.group.is_some());
        let parts = if group { parts(sets) } else { Vec::new() };
        let (cluster, noted) = (sets.cluster.clone(), sets.noted());
        Some(shape.map(|shape| Self { cluster, set, shape, parts, noted, created: false }))
    }

    /// How many pods the other StatefulSets of the group have.
    pub fn others(&self) -> u32 {
        let others = self.parts.iter().filter(|part| part.name != self.set);
        others.fold(0, |sum, part| part.pods.saturating_add(sum))
    }

    /// Whether a record of this name can be this cluster's; another cluster may have its name.
    pub(super) fn is_of(&self, plan: &Plan) -> bool {
        let planned = |name: &str| plan.sets.iter().any(|part| part.name == name);
        match (self.parts.is_empty(), plan.sets.is_empty()) {
            (true, true) => true,
            // A StatefulSet that grew into a group, or left it.
            (false, true) => self.parts.iter().any(|part| part.name == self.cluster),
            (true, false) => planned(&self.set),
            (false, false) => true,
        }
    }

    /// The parts that a plan's StatefulSets are to have; where nobody has registered (`unused`)
    /// those that are gone lose theirs.
    pub(super) fn arranged(&self, plan: &Plan, unused: bool) -> Vec<Part> {
        match (self.parts.is_empty(), unused) {
            // A record of this name that nobody uses is this StatefulSet's.
            (true, true) => return Vec::new(),
            (true, false) => return plan.sets.clone(),
            // One that grew into a group: its seats are all taken.
            (false, false) if plan.sets.is_empty() => return Vec::new(),
            (false, _) => {}
        }
        let shape = if unused { self.shape } else { plan.shape() };
        let there = |name: &str| self.parts.iter().find(|part| part.name == name);
        let kept = plan.sets.iter().filter_map(|part| match unused {
            true => there(&part.name),
            false => Some(part),
        });
        let new = self.parts.iter().filter(|p| !plan.sets.iter().any(|k| k.name == p.name));
        let mut room = shape.pods();
        let mut parts: Vec<Part> = Vec::new();
        for part in kept.chain(new) {
            let pods = part.pods.min(room);
            room -= pods;
            if pods > 0 {
                parts.push(Part { name: part.name.clone(), pods });
            }
        }
        parts
    }
}

/// The StatefulSets of a group by when they were made.
fn parts(sets: &Sets) -> Vec<Part> {
    let mut all: Vec<_> = sets
        .all()
        .map(|(name, set)| (made(set.metadata.creation_timestamp.as_ref()), name, replicas(set)))
        .collect();
    // One that is being made has no time yet.
    all.sort_by_key(|(made, name, _)| (if made.0 == 0 { i64::MAX } else { made.0 }, *name));
    all.into_iter().map(|(_, name, pods)| Part { name: name.to_owned(), pods }).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn set(replicas: u32, labels: &Value) -> Value {
        let mut labels = labels.clone();
        labels["mooring.dev/cluster"] = json!("enabled");
        json!({"metadata": {"labels": labels}, "spec": {"replicas": replicas}})
    }

    fn shape(shards: u32, replicas_per_shard: u32) -> Shape {
        Shape { shards, replicas_per_shard }
    }

    #[test]
    fn the_shape_is_the_sets() {
        assert_eq!(Wanted::shape(&set(6, &json!({}))), Some(Ok(shape(3, 1))));
        let two = json!({"mooring.dev/replicas-per-shard": "2"});
        assert_eq!(Wanted::shape(&set(9, &two)), Some(Ok(shape(3, 2))));
        assert_eq!(Wanted::shape(&set(0, &json!({}))), None);
        assert!(matches!(Wanted::shape(&set(7, &json!({}))), Some(Err(_))));
        let four = json!({"mooring.dev/shards": "4"});
        let contradiction = Wanted::shape(&set(6, &four)).unwrap().unwrap_err();
        assert!(
            contradiction.to_string().starts_with("mooring.dev/shards is 4"),
            "{contradiction}"
        );
    }

    #[test]
    fn a_group_says_the_shape_of_the_whole() {
        let mut labels = json!({"mooring.dev/group": "c"});
        assert_eq!(Wanted::shape(&set(3, &labels)), Some(Err(ShapeError::Unsaid)));
        labels["mooring.dev/shards"] = json!("3");
        labels["mooring.dev/replicas-per-shard"] = json!("1");
        assert_eq!(Wanted::shape(&set(3, &labels)), Some(Ok(shape(3, 1))));
        assert_eq!(Wanted::shape(&set(0, &labels)), Some(Ok(shape(3, 1))));
    }

    fn part(text: &str) -> Part {
        let (name, pods) = text.split_once(':').unwrap();
        Part { name: name.to_owned(), pods: pods.parse().unwrap() }
    }

    fn parts(text: &str) -> Vec<Part> {
        text.split_whitespace().map(part).collect()
    }

    #[rstest]
    #[case::first("", "m:3", true, "m:3")]
    #[case::second("m:3", "m:3 r:3", true, "m:3 r:3")]
    #[case::order_stays("m:3", "a:3 m:3", true, "m:3 a:3")]
    #[case::never_made("m:3 typo:3", "m:3 r:3", true, "m:3 r:3")]
    #[case::scaled("m:2 r:3", "m:3 r:3", true, "m:3 r:3")]
    #[case::in_use("m:3 gone:3", "m:3 r:3", false, "m:3 gone:3")]
    #[case::adopted_one_by_one("m:3", "m:3 r:4", false, "m:3 r:3")]
    #[case::grown("m:3 r:3", "m:4 r:4 more:2", false, "m:3 r:3")]
    #[case::one_alone("a:3 b:3", "", true, "")]
    #[case::one_that_left("m:3 r:3", "", false, "m:3 r:3")]
    #[case::one_that_grew("", "m:3 r:3", false, "")]
    fn seats_are_given_once(
        #[case] planned: &str,
        #[case] there: &str,
        #[case] unused: bool,
        #[case] arranged: &str,
    ) {
        let plan = Plan {
            salt: "s".into(),
            shards: 3,
            replicas_per_shard: 1,
            generation: 1,
            sets: parts(planned),
        };
        let wanted = Wanted {
            cluster: "c".into(),
            set: "m".into(),
            shape: shape(3, 1),
            parts: parts(there),
            noted: None,
            created: false,
        };
        assert_eq!(wanted.arranged(&plan, unused), parts(arranged));
    }

    #[test]
    fn a_record_of_the_same_name_may_be_another_clusters() {
        let wanted = |set: &str, cluster: &str, there: &str| Wanted {
            cluster: cluster.into(),
            set: set.into(),
            shape: shape(3, 0),
            parts: parts(there),
            noted: None,
            created: false,
        };
        let plan = |sets: &str| Plan {
            salt: "s".into(),
            shards: 3,
            replicas_per_shard: 0,
            generation: 1,
            sets: parts(sets),
        };
        assert!(wanted("c", "c", "").is_of(&plan("")));
        assert!(wanted("c-b", "c", "c:3 c-b:3").is_of(&plan("")), "c grew into a group");
        assert!(!wanted("c-b", "c", "c-a:3 c-b:3").is_of(&plan("")), "c is no part of the group");
        assert!(!wanted("c", "c", "").is_of(&plan("c-a:3")), "the group c is without the set c");
        assert!(wanted("c", "c", "").is_of(&plan("c:3 c-b:3")));
    }
}
