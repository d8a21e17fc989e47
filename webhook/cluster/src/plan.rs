//! The plan: which ordinal is which node of which shard with which slots, on first start.
//!
//! Guarantees: the same plan gives the same ids, slots and epochs on every member, whoever asks
//! and whenever; ids of different salts, ordinals or generations never coincide (SHA-256); slots
//! are covered once. A plan says how a cluster begins. Afterwards the disks say who is who.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{NodeId, Ordinal, ShardId};
use crate::slot::{SLOTS, SlotRange};

/// How a cluster begins. Recorded once, by the registry.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Random text of the record, never a name: equal ids in two clusters would merge them.
    pub salt: String,
    /// Number of shards; at least [`MIN_SHARDS`].
    pub shards: u32,
    /// Replicas of each shard.
    pub replicas_per_shard: u32,
    /// How often the cluster began anew; 1 for the first time.
    pub generation: u64,
    /// The StatefulSets of a group in the order of their seats; none where the cluster is one
    /// StatefulSet of the record's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<Part>,
}

/// One StatefulSet's part in the plan of a group.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Part {
    /// The StatefulSet's name.
    pub name: String,
    /// How many of its pods have seats; later ones are beyond the plan.
    pub pods: u32,
}

/// One ordinal's part in a plan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seat {
    /// Index of its shard, from 0.
    pub shard: u32,
    /// Whether it starts as the shard's master; else as its replica.
    pub master: bool,
}

/// Fewer masters cannot elect anybody: a majority of one or two is all of them.
pub const MIN_SHARDS: u32 = 3;

/// The number of pods does not make a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShapeError {
    /// It has to be said how many replicas a shard has.
    Ambiguous {
        /// Number of pods.
        pods: u32,
    },
    /// Fewer than [`MIN_SHARDS`] masters.
    TooFewMasters {
        /// Number of pods.
        pods: u32,
        /// Replicas asked for.
        replicas_per_shard: u32,
    },
    /// A StatefulSet of a group does not say the shape of the whole.
    Unsaid,
    /// The StatefulSets of a group have more pods than the cluster is to begin with.
    Overfull {
        /// Pods of all of them.
        pods: u32,
        /// The shape that they say.
        shape: Shape,
    },
    /// The number of shards is not what the pods make.
    Contradicted {
        /// The number that was said.
        shards: u32,
        /// What the pods make.
        shape: Shape,
    },
    /// The pods do not divide into shards of that size.
    Uneven {
        /// Number of pods.
        pods: u32,
        /// Replicas asked for.
        replicas_per_shard: u32,
    },
}

/// Shards and replicas of a shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// Number of shards.
    pub shards: u32,
    /// Replicas of each.
    pub replicas_per_shard: u32,
}

// === impl Shape ===

impl Shape {
    /// The shape of a group: its first StatefulSet can not tell how many pods the others will have.
    pub fn of_group(shards: Option<u32>, asked: Option<u32>) -> Result<Self, ShapeError> {
        let (Some(shards), Some(replicas_per_shard)) = (shards, asked) else {
            return Err(ShapeError::Unsaid);
        };
        if shards < MIN_SHARDS {
            let pods = shards.saturating_mul(replicas_per_shard.saturating_add(1));
            return Err(ShapeError::TooFewMasters { pods, replicas_per_shard });
        }
        Ok(Self { shards, replicas_per_shard })
    }

    /// The shape of one StatefulSet that may say how many shards it means.
    pub fn of_one(pods: u32, shards: Option<u32>, asked: Option<u32>) -> Result<Self, ShapeError> {
        let shape = Self::of(pods, asked)?;
        match shards.filter(|shards| *shards != shape.shards) {
            Some(shards) => Err(ShapeError::Contradicted { shards, shape }),
            None => Ok(shape),
        }
    }

    /// How many pods it has.
    pub fn pods(self) -> u32 {
        self.shards.saturating_mul(self.replicas_per_shard.saturating_add(1))
    }

    /// The shape of `pods` pods where `asked` replicas a shard are asked for, or none is named:
    /// then 1 for an even number from 6 on, 0 for 3 to 5, and anything else has to be said.
    pub fn of(pods: u32, asked: Option<u32>) -> Result<Self, ShapeError> {
        let replicas_per_shard = match asked {
            Some(n) => n,
            None if pods >= 6 && pods.is_multiple_of(2) => 1,
            None if (3..=5).contains(&pods) => 0,
            None if pods < MIN_SHARDS => 0,
            None => return Err(ShapeError::Ambiguous { pods }),
        };
        let size = replicas_per_shard.saturating_add(1);
        let shards = pods / size;
        if shards < MIN_SHARDS {
            return Err(ShapeError::TooFewMasters { pods, replicas_per_shard });
        }
        if !pods.is_multiple_of(size) {
            return Err(ShapeError::Uneven { pods, replicas_per_shard });
        }
        Ok(Self { shards, replicas_per_shard })
    }
}

// === impl Plan ===

impl Plan {
    /// How many pods it seats.
    pub fn pods(&self) -> u32 {
        self.shape().pods()
    }

    /// Its shards and their size.
    pub fn shape(&self) -> Shape {
        Shape { shards: self.shards, replicas_per_shard: self.replicas_per_shard }
    }

    /// The seat of an ordinal: masters first, then the replicas shard by shard, so that
    /// a set keeps its first masters when it grows. `None` beyond the plan.
    pub fn seat(&self, ordinal: Ordinal) -> Option<Seat> {
        (ordinal.0 < self.pods() && self.shards > 0)
            .then(|| Seat { shard: ordinal.0 % self.shards, master: ordinal.0 < self.shards })
    }

    /// A pod's number in the plan of the cluster of this name: its ordinal, or in a group the
    /// ordinals of the sets before its own are counted as well. `None` for a pod of no set of the
    /// cluster, and in a group for one that came after the plan was complete.
    pub fn number(&self, cluster: &str, pod: &str) -> Option<Ordinal> {
        if self.sets.is_empty() {
            return Ordinal::of_pod(pod, cluster);
        }
        let mut first = 0u32;
        for part in &self.sets {
            if let Some(Ordinal(own)) = Ordinal::of_pod(pod, &part.name) {
                return (own < part.pods).then(|| Ordinal(first.saturating_add(own)));
            }
            first = first.saturating_add(part.pods);
        }
        None
    }

    /// The pod with this number: the inverse of [`Plan::number`].
    pub fn pod(&self, cluster: &str, number: Ordinal) -> Option<String> {
        if self.sets.is_empty() {
            return Some(number.pod_of(cluster));
        }
        let mut first = 0u32;
        for part in &self.sets {
            let own = number.0.checked_sub(first)?;
            if own < part.pods {
                return Some(Ordinal(own).pod_of(&part.name));
            }
            first = first.saturating_add(part.pods);
        }
        None
    }

    /// How many seats of a group nobody has yet, because a StatefulSet of it was not seen. A
    /// cluster must not begin before: which pod is whose replica would be decided too early.
    pub fn vacant(&self) -> u32 {
        if self.sets.is_empty() {
            return 0;
        }
        let taken = self.sets.iter().fold(0u32, |sum, part| sum.saturating_add(part.pods));
        self.pods().saturating_sub(taken)
    }

    /// All ordinals of the plan.
    pub fn ordinals(&self) -> impl Iterator<Item = Ordinal> + use<> {
        (0..self.pods()).map(Ordinal)
    }

    /// The node id of an ordinal.
    pub fn node_id(&self, ordinal: Ordinal) -> NodeId {
        NodeId::from_digest(&self.digest("node", ordinal.0))
    }

    /// The node id of a member that has no seat, by the uid of its pod.
    pub fn guest_id(&self, pod_uid: &str) -> NodeId {
        let text = format!("mooring guest\0{}\0{pod_uid}", self.salt);
        NodeId::from_digest(&Sha256::digest(text).into())
    }

    /// The id of a shard.
    pub fn shard_id(&self, shard: u32) -> ShardId {
        ShardId::from_digest(&self.digest("shard", shard))
    }

    /// The slots of a shard: equal parts, the first ones one slot larger where it does not divide.
    pub fn slots(&self, shard: u32) -> Option<SlotRange> {
        if shard >= self.shards {
            return None;
        }
        let at = |i: u32| (u64::from(i) * u64::from(SLOTS)).div_ceil(u64::from(self.shards));
        let start = u16::try_from(at(shard)).ok()?;
        let end = u16::try_from(at(shard + 1)).ok()?.checked_sub(1)?;
        SlotRange::new(start, end).ok()
    }

    /// The config epoch with which a shard's master begins. Distinct ones avoid the collisions
    /// that the engine otherwise resolves one by one (`clusterHandleConfigEpochCollision`);
    /// a later generation begins above all epochs of the one before.
    pub fn epoch(&self, shard: u32) -> u64 {
        let begun = self.generation.saturating_sub(1);
        begun.saturating_mul(1_000_000) + u64::from(shard) + 1
    }

    /// `currentEpoch` with which all members begin.
    pub fn current_epoch(&self) -> u64 {
        self.epoch(self.shards.saturating_sub(1))
    }

    fn digest(&self, what: &str, index: u32) -> [u8; 32] {
        let text = format!("mooring {what}\0{}\0{}\0{index}", self.salt, self.generation);
        Sha256::digest(text).into()
    }
}

// === impl ShapeError ===

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ambiguous { pods } => write!(
                f,
                "{pods} pods can be divided in more than one way: set the label \
                 mooring.dev/replicas-per-shard to the number of replicas of each master"
            ),
            Self::Unsaid => f.write_str(
                "a StatefulSet of a group has to say the shape of the whole cluster: set the labels \
                 mooring.dev/shards (the number of masters) and mooring.dev/replicas-per-shard",
            ),
            Self::Overfull { pods, shape } => write!(
                f,
                "the StatefulSets of the group have {pods} pods together, and {} shards with {} \
                 replicas each are {}: change spec.replicas, mooring.dev/shards or \
                 mooring.dev/replicas-per-shard",
                shape.shards,
                shape.replicas_per_shard,
                shape.pods(),
            ),
            Self::Contradicted { shards, shape } => write!(
                f,
                "mooring.dev/shards is {shards}, and {} pods with {} replicas a shard are {}: \
                 change one of them, or remove the label",
                shape.pods(),
                shape.replicas_per_shard,
                shape.shards,
            ),
            Self::TooFewMasters { pods, replicas_per_shard } => write!(
                f,
                "{pods} pods with {replicas_per_shard} replicas a shard make {} masters, and \
                 a cluster needs at least {MIN_SHARDS}: set spec.replicas to {} or more; if it is one of \
                 several StatefulSets of a cluster, set mooring.dev/group on all of them",
                pods / replicas_per_shard.saturating_add(1),
                MIN_SHARDS.saturating_mul(replicas_per_shard.saturating_add(1)),
            ),
            Self::Uneven { pods, replicas_per_shard } => {
                let size = replicas_per_shard.saturating_add(1);
                write!(
                    f,
                    "{pods} pods do not divide into shards of {size} (a master and \
                     {replicas_per_shard} replicas): set spec.replicas to a multiple of {size}, or \
                     change mooring.dev/replicas-per-shard"
                )
            }
        }
    }
}

impl std::error::Error for ShapeError {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn plan(shards: u32, replicas_per_shard: u32) -> Plan {
        Plan { salt: "s".to_owned(), shards, replicas_per_shard, generation: 1, sets: Vec::new() }
    }

    #[test]
    fn shapes() {
        let shape = |shards, replicas_per_shard| Ok(Shape { shards, replicas_per_shard });
        assert_eq!(Shape::of(6, None), shape(3, 1));
        assert_eq!(Shape::of(3, None), shape(3, 0));
        assert_eq!(Shape::of(5, None), shape(5, 0));
        assert_eq!(Shape::of(9, Some(2)), shape(3, 2));
        assert_eq!(Shape::of(7, None), Err(ShapeError::Ambiguous { pods: 7 }));
        assert!(matches!(Shape::of(4, Some(1)), Err(ShapeError::TooFewMasters { .. })));
        assert!(matches!(Shape::of(2, None), Err(ShapeError::TooFewMasters { .. })));
        assert!(matches!(Shape::of(7, Some(1)), Err(ShapeError::Uneven { .. })));
        assert!(matches!(
            Shape::of(u32::MAX, Some(u32::MAX)),
            Err(ShapeError::TooFewMasters { .. })
        ));
    }

    #[test]
    fn the_usual_three_ranges() {
        let ranges: Vec<_> = (0..3).map(|s| plan(3, 1).slots(s).unwrap().to_string()).collect();
        assert_eq!(ranges, ["0-5461", "5462-10922", "10923-16383"]);
    }

    #[test]
    fn the_pods_of_a_group_are_numbered_set_by_set() {
        let part = |name: &str, pods| Part { name: name.to_owned(), pods };
        let group = Plan { sets: vec![part("c-a", 4), part("c-b", 2)], ..plan(3, 1) };
        for (pod, number) in [("c-a-0", 0), ("c-a-3", 3), ("c-b-0", 4), ("c-b-1", 5)] {
            assert_eq!(group.number("c", pod), Some(Ordinal(number)), "{pod}");
            assert_eq!(group.pod("c", Ordinal(number)).as_deref(), Some(pod));
        }
        // It came when all seats were taken, or is of another set.
        for pod in ["c-a-4", "c-b-2", "c-0", "c-c-0"] {
            assert_eq!(group.number("c", pod), None, "{pod}");
        }
        assert_eq!(group.pod("c", Ordinal(6)), None);
        assert_eq!(group.vacant(), 0);
        assert_eq!(Plan { sets: vec![part("c-a", 4)], ..plan(3, 1) }.vacant(), 2);
        assert_eq!(plan(3, 1).vacant(), 0);
        assert_eq!(plan(3, 1).number("c", "c-9"), Some(Ordinal(9)));
        assert_eq!(plan(3, 1).pod("c", Ordinal(2)).as_deref(), Some("c-2"));
    }

    proptest! {
        #[test]
        fn slots_are_covered_once_and_ids_differ(shards in 3u32..200, replicas in 0u32..4) {
            let plan = plan(shards, replicas);
            let mut next = 0u32;
            for shard in 0..shards {
                let range = plan.slots(shard).unwrap();
                prop_assert_eq!(u32::from(range.start().number()), next);
                next = u32::from(range.end().number()) + 1;
            }
            prop_assert_eq!(next, u32::from(SLOTS));
            let ids: BTreeSet<_> = plan.ordinals().map(|o| plan.node_id(o)).collect();
            prop_assert_eq!(ids.len(), plan.pods() as usize);
            let masters = plan.ordinals().filter(|o| plan.seat(*o).unwrap().master).count();
            prop_assert_eq!(masters, shards as usize);
        }
    }
}
