//! Does this set have a life behind it? Then no plan may be made true.
//!
//! Guarantees: pure. It errs towards a past: a member that joins is late, a second cluster beside
//! the first is a loss.

use std::collections::BTreeMap;

use crate::id::Ordinal;
use crate::plan::Plan;
use crate::protocol::{Member, Pod};
use crate::record::planned;

/// When the API server made something, in milliseconds of its clock.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Made(pub i64);

/// What is known of a cluster.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// The pod that asks.
    pub pod: &'a str,
    /// The record's plan.
    pub plan: &'a Plan,
    /// When its record was made.
    pub recorded: Made,
    /// Whether that one took the place of one that was deleted.
    pub restored: bool,
    /// Its StatefulSets.
    pub sets: &'a [SetFacts],
    /// The namespace's claims.
    pub claims: &'a [Claim],
    /// Its pods.
    pub pods: &'a BTreeMap<String, Pod>,
    /// The record's entries.
    pub members: &'a BTreeMap<String, Member>,
}

/// One StatefulSet of a cluster.
#[derive(Clone, Debug)]
pub struct SetFacts {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Made,
    /// `spec.ordinals.start`.
    pub start: u32,
    /// Whether its pods are made all at once.
    pub parallel: bool,
    /// The names of its claim templates.
    pub templates: Vec<String>,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug)]
pub struct Claim {
    /// `<template>-<pod>`.
    pub name: String,
    /// When it was made.
    pub created: Made,
    /// Whether it was filled from somewhere: a snapshot, another claim, a backup.
    pub restored: bool,
}

/// Why the set may have a life behind it, one sentence each.
pub fn past(facts: &Facts<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    if facts.restored {
        reasons.push("the cluster's record was deleted, and this one was made anew".to_owned());
    }
    for set in facts.sets.iter().filter(|set| set.start > 0) {
        reasons.push(format!(
            "spec.ordinals.start of {} is {}: the set may have been split off another one",
            set.name, set.start
        ));
    }
    for (name, pod) in facts.pods {
        if !pod.injected {
            reasons.push(format!(
                "pod {name} runs without the step: the set may be a cluster already"
            ));
        } else if is_unrecorded(name, pod, facts.members) {
            reasons.push(match facts.members.contains_key(name) {
                false => format!(
                    "pod {name} runs and is not in the record, which is younger than the cluster"
                ),
                true => format!(
                    "pod {name} runs and the record knows the one before it: it was restored"
                ),
            });
        }
    }
    // A record that knows that the asking one has begun was not put back from before that.
    let begun = facts.members.get(facts.pod).is_some_and(|member| member.bootstrapped);
    let later = if begun { None } else { later_claim(facts) };
    reasons.extend(later.map(|claim| {
        format!("claim {claim} was made, which is not before {} has been ready", facts.pod)
    }));
    for claim in facts.claims {
        let Some(set) = facts.sets.iter().find(|set| ordinal_of(&claim.name, set).is_some()) else {
            continue;
        };
        if claim.restored {
            reasons.push(format!("claim {} was restored from a copy", claim.name));
        } else if is_older(claim, set, facts.recorded) {
            reasons.push(format!(
                "claim {} is older than the cluster's record: it may hold data",
                claim.name
            ));
        } else if !begun && is_of_another_life(claim, set) {
            reasons.push(format!(
                "claim {} is older than its StatefulSet: it may hold data",
                claim.name
            ));
        }
    }
    for (name, member) in facts.members {
        let planned = planned(facts.plan, facts.cluster, name).map(|p| p.node_id);
        // What a disk was that has been lost since counts as well, and who a guest is now.
        let identity = member.disk.identity.as_ref().or(member.was.as_ref());
        let ids = identity.map(|i| i.node_id).into_iter().chain(member.node_id);
        if let Some(id) = ids.into_iter().find(|id| Some(*id) != planned) {
            reasons.push(format!("member {name} is or was node {id}, which is not the plan's"));
        }
    }
    reasons
}

/// Whether a member's server runs, or has run in a pod that is still there, and the record does not know
/// it, or an earlier pod only: a blank one registers before it starts, so the record was lost or restored
/// since.
pub fn is_unrecorded(name: &str, pod: &Pod, members: &BTreeMap<String, Member>) -> bool {
    let known = members.get(name).is_some_and(|member| member.pod_uid == pod.uid);
    pod.injected && (pod.running || pod.ended_at.is_some()) && !known
}

/// Where pods come one after the other, the claim of one that comes after the asking one: it was ready
/// then, so it has begun, although the record does not know. Claims that somebody made along with the
/// StatefulSet say nothing.
fn later_claim<'a>(facts: &'a Facts<'_>) -> Option<&'a str> {
    let ordered = facts.sets.iter().filter(|set| !set.parallel);
    let (set, own) =
        ordered.filter_map(|s| Some((s, Ordinal::of_pod(facts.pod, &s.name)?))).next()?;
    let later = facts.claims.iter().find(|claim| {
        let made_by_controller = claim.created.0 > set.created.0 + BESIDE;
        made_by_controller && ordinal_of(&claim.name, set).is_some_and(|ordinal| ordinal > own)
    });
    later.map(|claim| claim.name.as_str())
}

/// Of which pod of a set a claim is: its name is `<template>-<set>-<ordinal>`.
fn ordinal_of(claim: &str, set: &SetFacts) -> Option<Ordinal> {
    set.templates.iter().find_map(|template| {
        let pod = claim.strip_prefix(template.as_str())?.strip_prefix('-')?;
        Ordinal::of_pod(pod, &set.name)
    })
}

/// Older than the record, with one exception: where only the pod template opts in, or API
/// servers' clocks differ, the record of a new set comes a moment after its first claims.
fn is_older(claim: &Claim, set: &SetFacts, recorded: Made) -> bool {
    let new_set = set.created.0 >= recorded.0 - MOMENT;
    claim.created < recorded && (is_of_another_life(claim, set) || !new_set)
}

/// Older than its StatefulSet, which was made again over it; the record may be one that was put back.
fn is_of_another_life(claim: &Claim, set: &SetFacts) -> bool {
    claim.created.0 < set.created.0 - CLOCK
}

/// A record comes so many milliseconds after its new set at most.
const MOMENT: i64 = 5_000;
/// What the clocks of API servers differ by.
const CLOCK: i64 = 1_000;
/// What is in one manifest is made within so many milliseconds.
const BESIDE: i64 = 2_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Made {
        Made((1_000_000 + second) * 1000)
    }

    fn claim(name: &str, second: i64) -> Claim {
        Claim { name: name.to_owned(), created: at(second), restored: false }
    }

    struct World {
        plan: Plan,
        restored: bool,
        created: i64,
        start: u32,
        claims: Vec<Claim>,
        pods: BTreeMap<String, Pod>,
        members: BTreeMap<String, Member>,
        parallel: bool,
    }

    impl World {
        fn new() -> Self {
            let plan = Plan {
                salt: "s".into(),
                shards: 3,
                replicas_per_shard: 0,
                generation: 1,
                sets: Vec::new(),
            };
            Self {
                plan,
                restored: false,
                created: 0,
                start: 0,
                claims: Vec::new(),
                pods: BTreeMap::new(),
                members: BTreeMap::new(),
                parallel: true,
            }
        }

        fn past(&self) -> Vec<String> {
            let set = SetFacts {
                name: "c".to_owned(),
                created: at(self.created),
                start: self.start,
                parallel: self.parallel,
                templates: vec!["data".to_owned()],
            };
            past(&Facts {
                cluster: "c",
                pod: "c-2",
                plan: &self.plan,
                recorded: at(0),
                restored: self.restored,
                sets: &[set],
                claims: &self.claims,
                pods: &self.pods,
                members: &self.members,
            })
        }

        fn with_member(mut self, pod: &str, id: &str) -> Self {
            let member = json!({"ips": [], "ports": {"bus": 1}, "podUid": "u", "registeredAt": "t",
                "disk": {"identity": {"nodeId": id, "role": {"is": "master"}, "configEpoch": 1,
                "currentEpoch": 1}}});
            self.members.insert(pod.to_owned(), serde_json::from_value(member).unwrap());
            self
        }
    }

    #[test]
    fn a_new_set_has_none() {
        let mut world = World::new();
        world.claims = vec![claim("data-c-0", 0), claim("data-c-1", 5), claim("data-other-0", -99)];
        let planned = world.plan.node_id(Ordinal(1)).to_string();
        let world = world.with_member("c-1", &planned);
        assert_eq!(world.past(), Vec::<String>::new());
    }

    /// Found by the simulator: the record of a set without claims was deleted while it ran.
    #[test]
    fn a_member_that_runs_and_is_not_in_the_record_tells() {
        let pod = |running: bool| Pod {
            uid: "u".to_owned(),
            ips: Vec::new(),
            injected: true,
            scheduled: true,
            ended_at: None,
            running,
            ready: running,
            deleting: false,
        };
        let mut world = World::new();
        world.pods.insert("c-1".to_owned(), pod(false));
        assert_eq!(world.past(), Vec::<String>::new(), "its step has not registered yet");
        world.pods.insert("c-1".to_owned(), pod(true));
        assert!(world.past()[0].contains("c-1 runs and is not in the record"));
        let ended = Pod { ended_at: Some("2026-01-01T00:00:00Z".to_owned()), ..pod(false) };
        world.pods.insert("c-1".to_owned(), ended);
        assert!(
            world.past()[0].contains("c-1 runs and is not"),
            "it has run, and is on its way out"
        );
        let planned = world.plan.node_id(Ordinal(1)).to_string();
        assert_eq!(world.with_member("c-1", &planned).past(), Vec::<String>::new());
    }

    #[test]
    fn claims_tell() {
        let mut world = World::new();
        world.claims = vec![claim("data-c-0", -100)];
        assert!(world.past()[0].contains("claim data-c-0 is older"));
        // The set was made just before its record, and its claim after it.
        world.created = -2;
        world.claims = vec![claim("data-c-0", -1)];
        assert!(world.past().is_empty());
        // Here the claim was there before the set.
        world.claims = vec![claim("data-c-0", -5)];
        assert_eq!(world.past().len(), 1);
        world.claims = vec![Claim { restored: true, ..claim("data-c-2", 50) }];
        assert!(world.past()[0].contains("restored"));
        // A retained claim of a record that was made anew.
        world.created = -5000;
        world.claims = vec![claim("data-c-0", -1)];
        assert_eq!(world.past().len(), 1);
    }

    /// Seed 9814831 of the simulator: the note on the StatefulSet gave it the plan again.
    #[test]
    fn a_record_in_the_place_of_a_deleted_one_tells() {
        let mut world = World::new();
        world.restored = true;
        assert!(world.past()[0].contains("record was deleted"), "{:?}", world.past());
    }

    /// Seed 9820791 of the simulator: the record is the oldest of all, and nobody stands in it.
    #[test]
    fn a_claim_of_a_set_that_was_made_again_tells() {
        let mut world = World::new();
        (world.created, world.claims) = (600, vec![claim("data-c-3", 30)]);
        assert!(world.past()[0].contains("data-c-3 is older than its StatefulSet"));
        let planned = world.plan.node_id(Ordinal(2)).to_string();
        let mut begun = World { claims: world.claims.clone(), created: 600, ..World::new() }
            .with_member("c-2", &planned);
        begun.members.get_mut("c-2").unwrap().bootstrapped = true;
        assert!(begun.past().is_empty(), "it is known to have begun (seed 9872069)");
        world.claims = vec![claim("data-c-3", 600)];
        assert!(world.past().is_empty(), "all of it was made again");
    }

    /// Found by the simulator: the record was restored from when c-2 had not registered yet.
    #[test]
    fn where_pods_come_one_after_the_other_a_later_claim_tells() {
        let mut world = World::new();
        world.claims = vec![claim("data-c-3", 9), claim("data-c-2", 60)];
        assert!(world.past().is_empty(), "all at once they say nothing");
        world.parallel = false;
        assert!(world.past()[0].contains("claim data-c-3 was made"), "{:?}", world.past());
        world.claims = vec![claim("data-c-3", 1), claim("data-c-1", 9)];
        assert!(world.past().is_empty(), "made with the StatefulSet, by hand");
        let planned = world.plan.node_id(Ordinal(2)).to_string();
        world.claims = vec![claim("data-c-3", 9)];
        let mut world = world.with_member("c-2", &planned);
        world.members.get_mut("c-2").unwrap().bootstrapped = true;
        assert!(world.past().is_empty(), "it is known to have begun");
    }

    #[test]
    fn a_pod_that_runs_and_of_which_an_earlier_one_is_known_tells() {
        let planned = World::new().plan.node_id(Ordinal(1)).to_string();
        let mut world = World::new().with_member("c-1", &planned);
        let pod = json!({"uid": "u", "injected": true, "running": true, "ready": true,
            "deleting": false});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        world.pods.insert("c-1".to_owned(), pod.clone());
        assert!(world.past().is_empty());
        world.pods.insert("c-1".to_owned(), Pod { uid: "later".to_owned(), ..pod });
        assert!(world.past()[0].contains("it was restored"), "{:?}", world.past());
    }

    #[test]
    fn identities_pods_and_ordinals_tell() {
        assert!(World::new().with_member("c-1", &"f".repeat(40)).past()[0].contains("c-1"));
        let beyond = World::new().plan.node_id(Ordinal(7)).to_string();
        assert_eq!(World::new().with_member("c-7", &beyond).past().len(), 1);
        let mut world = World::new();
        let pod = json!({"uid": "u", "injected": false, "running": true, "ready": true,
            "deleting": false});
        world.pods.insert("c-2".to_owned(), serde_json::from_value(pod).unwrap());
        world.start = 3;
        assert_eq!(world.past().len(), 2);
    }
}
