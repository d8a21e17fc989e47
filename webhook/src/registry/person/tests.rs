use cluster::plan::Plan;
use cluster::protocol::{Disk, Member, Role};

use super::*;

/// Of three masters and three replicas, the first master has not registered in this life.
struct World {
    plan: Plan,
    members: BTreeMap<String, Member>,
    successions: BTreeMap<NodeId, Succession>,
}

impl World {
    fn new() -> Self {
        let plan = Plan {
            salt: "s".into(),
            shards: 3,
            replicas_per_shard: 1,
            generation: 1,
            sets: Vec::new(),
        };
        let member = |_| Member {
            bootstrapped: true,
            generation: 1,
            disk: Disk { data: true, keeps: true, ..Disk::default() },
            ..serde_json::from_value(json!({
                "ips": ["10.0.0.1"], "ports": {"tcp": 6379, "bus": 16379}, "podUid": "u",
                "registeredAt": "2026-01-01T00:00:00Z",
            }))
            .unwrap()
        };
        let members = (0..6).map(|n| (format!("c-{n}"), member(n))).collect();
        Self { plan, members, successions: BTreeMap::new() }
    }

    fn id(&self, n: u32) -> NodeId {
        self.plan.node_id(Ordinal(n))
    }

    fn heir(&self, pod: &str) -> Result<Change, String> {
        let pods = BTreeMap::new();
        let standing = Standing {
            set: "c",
            wanted: self.members.keys().cloned().collect(),
            pod: "",
            plan: &self.plan,
            members: &self.members,
            pods: &pods,
            claims: None,
            successions: &self.successions,
        };
        record::judge(&heir(&standing, pod)?, &standing)
    }
}

#[test]
fn a_replica_inherits_what_its_master_had() {
    let world = World::new();
    let Ok(Change::Succession(from, named)) = world.heir("c-3") else { panic!() };
    assert_eq!((from, named.heir), (world.id(0), world.id(3)));
    assert_eq!(named.slots, world.plan.slots(0).into_iter().collect::<Vec<_>>());
    assert!(named.epoch > world.plan.current_epoch());
}

#[test]
fn an_heir_needs_a_master_and_data() {
    let mut world = World::new();
    assert!(world.heir("c-1").unwrap_err().contains("is a master already"));
    assert!(world.heir("c-9").unwrap_err().contains("has never registered"));
    let replica = world.members.get_mut("c-3").unwrap();
    (replica.disk.data, replica.disk.keeps) = (false, false);
    assert!(world.heir("c-3").unwrap_err().contains("the disk of c-3 is empty"));
}

#[test]
fn slots_that_nobody_knows_are_not_guessed() {
    let mut world = World::new();
    let master = world.members.get_mut("c-0").unwrap();
    master.bootstrapped = false;
    let why = world.heir("c-3").unwrap_err();
    assert!(why.contains("does not say which slots"), "{why}");
}

#[test]
fn a_replica_of_an_heir_inherits_what_that_one_inherited() {
    let mut world = World::new();
    let named = |w: &mut World| {
        let Ok(Change::Succession(from, named)) = w.heir("c-3") else { panic!() };
        w.successions.insert(from, named);
    };
    named(&mut world);
    let follows = world.id(3);
    let replica = world.members.get_mut("c-4").unwrap();
    replica.disk.identity = Some(Identity {
        node_id: world.plan.node_id(Ordinal(4)),
        role: Role::Replica { of: follows },
        slots: Vec::new(),
        config_epoch: 0,
        current_epoch: 0,
    });
    let Ok(Change::Succession(from, again)) = world.heir("c-4") else { panic!() };
    assert_eq!((from, again.slots.len()), (follows, 1));
}
