use super::*;
use crate::id::Ordinal;
use crate::net::Ports;
use crate::sample;
use crate::slot::SlotRange;

const PLACE: Place<'_> = Place { namespace: "shop", set: "c" };

fn plan() -> Plan {
    Plan { salt: "s".to_owned(), shards: 3, replicas_per_shard: 1, generation: 1, sets: Vec::new() }
}

fn register(disk: Disk) -> Register {
    Register {
        step: "1".to_owned(),
        ips: Vec::new(),
        ports: Ports::plain(6379),
        disk,
        node_id: None,
    }
}

fn member(disk: Disk) -> Member {
    Member { disk, ..sample::member("u", None, &[]) }
}

fn pod(uid: &str) -> Pod {
    Pod { running: false, ..sample::pod(uid, &[]) }
}

fn identity(ordinal: u32) -> Identity {
    let mut begun = member(Disk::default());
    begun.generation = 1;
    known_identity(&plan(), "c", &format!("c-{ordinal}"), &begun).unwrap()
}

fn of(ordinal: u32) -> Disk {
    Disk { identity: Some(identity(ordinal)), data: true, keeps: true, ..Disk::default() }
}

#[test]
fn an_id_is_the_disks_or_the_plans_or_none() {
    let planned = Some(plan().node_id(Ordinal(1)));
    let begun = member(Disk::default());
    let id = |disk: Disk, before: Option<&Member>, pod: &str, past: &[String]| {
        entry(PLACE, "c", &plan(), pod, &register(disk), before, past).node_id
    };
    let past = ["a claim is older".to_owned()];
    let blank = Disk::default;
    assert_eq!(id(blank(), None, "c-1", &[]), planned);
    assert_eq!(id(blank(), None, "c-1", &past), None);
    assert_eq!(id(blank(), Some(&begun), "c-1", &[]), None, "its disk was lost");
    assert_eq!(id(blank(), None, "c-6", &[]), None, "beyond the plan");
    assert_eq!(id(Disk { data: true, ..blank() }, None, "c-1", &[]), None, "a restored dump");
    assert_eq!(id(of(4), Some(&begun), "c-1", &past), Some(plan().node_id(Ordinal(4))));
}

#[test]
fn what_a_member_was_is_remembered_until_a_disk_says_more_or_the_cluster_begins_anew() {
    let begun = member(Disk::default());
    let mut body = register(Disk::default());
    let first = entry(PLACE, "c", &plan(), "c-1", &body, Some(&begun), &[]);
    assert_eq!((first.node_id, first.was.clone()), (None, Some(identity(1))));

    // Again, by the same container's next try; then it says which id it keeps.
    let before = Member { was: first.was, ..begun };
    body.node_id = Some(identity(2).node_id);
    assert_eq!(entry(PLACE, "c", &plan(), "c-1", &body, Some(&before), &[]).node_id, None);
    body.node_id = Some(identity(1).node_id);
    let kept = entry(PLACE, "c", &plan(), "c-1", &body, Some(&before), &[]);
    assert_eq!(kept.node_id, Some(identity(1).node_id));

    let next = Plan { generation: 2, ..plan() };
    let anew = entry(PLACE, "c", &next, "c-1", &register(Disk::default()), Some(&before), &[]);
    assert_eq!((anew.node_id, anew.was), (Some(next.node_id(Ordinal(1))), None));
}

/// Found by the simulator: under OrderedReady the later members of a cluster that began anew were
/// still taken for what their disks had said before, and stayed guests.
#[test]
fn what_a_disk_said_before_the_cluster_began_anew_is_over() {
    let next = Plan { generation: 2, ..plan() };
    let before = member(of(1));
    let anew = entry(PLACE, "c", &next, "c-1", &register(Disk::default()), Some(&before), &[]);
    assert_eq!((anew.node_id, anew.was), (Some(next.node_id(Ordinal(1))), None));
    let same = entry(PLACE, "c", &plan(), "c-1", &register(Disk::default()), Some(&before), &[]);
    assert_eq!((same.node_id, same.was), (None, Some(identity(1))));
}

#[test]
fn an_heir_may_have_owned_the_very_same_slots_before() {
    let mut world = World::of(of);
    let mut former = of(3);
    former.identity = Some(Identity { node_id: identity(3).node_id, ..identity(0) });
    world.members.insert("c-3".to_owned(), member(former));
    let mut succession = Succession {
        heir: identity(3).node_id,
        slots: vec![SlotRange::new(0, 5461).unwrap()],
        epoch: 4,
        held: None,
        reason: String::new(),
    };
    let from = identity(0).node_id;
    let propose =
        |succession: &Succession| Proposal::Succeed { from, succession: succession.clone() };
    assert!(world.judge(&propose(&succession)).is_ok());
    succession.slots = vec![SlotRange::new(0, 5000).unwrap()];
    assert!(world.judge(&propose(&succession)).unwrap_err().contains("owns slots of its own"));
}

#[test]
fn a_copy_is_registered_under_the_ids_it_will_have() {
    let mark = |node_id| Mark {
        namespace: "elsewhere".to_owned(),
        name: "c".to_owned(),
        salt: "t".to_owned(),
        node_id,
    };
    let renamed = |o: u32| renamed(identity(o).node_id, "s");
    let disk = Disk { mark: Some(mark(identity(3).node_id)), ..of(3) };
    let made = entry(PLACE, "c", &plan(), "c-3", &register(disk), None, &[]);
    assert_eq!(made.node_id, Some(renamed(3)));
    let own = made.disk.identity.unwrap();
    assert_eq!(own.role, Role::Replica { of: renamed(0) });

    // Its file is renamed already, and a crash kept the mark.
    let disk = Disk { mark: Some(mark(identity(3).node_id)), identity: Some(own), ..of(3) };
    let again = entry(PLACE, "c", &plan(), "c-3", &register(disk), None, &[]);
    assert_eq!(again.node_id, Some(renamed(3)));
}

struct World {
    members: BTreeMap<String, Member>,
    pods: BTreeMap<String, Pod>,
    claims: Option<BTreeSet<String>>,
    successions: BTreeMap<NodeId, Succession>,
}

impl World {
    /// All six are registered with these disks.
    fn of(disk: impl Fn(u32) -> Disk) -> Self {
        let name = |o: u32| format!("c-{o}");
        Self {
            members: (0..6).map(|o| (name(o), member(disk(o)))).collect(),
            pods: (0..6).map(|o| (name(o), pod("u"))).collect(),
            claims: Some((0..6).map(name).collect()),
            successions: BTreeMap::new(),
        }
    }

    fn judge(&self, proposal: &Proposal) -> Result<Change, String> {
        let plan = plan();
        judge(
            proposal,
            &Standing {
                set: "c",
                wanted: (0..6).map(|o| format!("c-{o}")).collect(),
                pod: "c-0",
                plan: &plan,
                members: &self.members,
                pods: &self.pods,
                claims: self.claims.as_ref(),
                successions: &self.successions,
            },
        )
    }
}

#[test]
fn the_cluster_begins_anew_only_when_every_disk_is_known_to_be_empty() {
    let anew = Proposal::Anew { generation: 1 };
    // Whose disk is blank is nobody until it says that it goes on as who it was.
    let blank = |disk: fn(u32) -> Disk| {
        let mut world = World::of(disk);
        world.members.values_mut().for_each(|m| m.node_id = None);
        world
    };
    let mut world = blank(|_| Disk::default());
    assert_eq!(world.judge(&anew), Ok(Change::Generation(2)));
    world.members.get_mut("c-4").unwrap().node_id = Some(plan().node_id(Ordinal(4)));
    assert!(world.judge(&anew).unwrap_err().contains("goes on as what it was"));
    world.members.get_mut("c-4").unwrap().node_id = None;
    assert_eq!(world.judge(&Proposal::Anew { generation: 0 }), Ok(Change::Nothing), "it has");

    // One is not there. With a claim it may have a disk.
    world.pods.remove("c-4");
    assert!(world.judge(&anew).unwrap_err().contains("c-4 is not there"));
    world.claims = Some(BTreeSet::new());
    assert_eq!(world.judge(&anew), Ok(Change::Generation(2)));
    world.claims = None;
    assert!(world.judge(&anew).is_err(), "where it is not known");

    let mut world = blank(|_| Disk::default());
    world.pods.insert("c-4".to_owned(), pod("another"));
    assert!(world.judge(&anew).unwrap_err().contains("has not registered yet"));
    let mut world = blank(|o| if o == 4 { of(4) } else { Disk::default() });
    assert!(world.judge(&anew).unwrap_err().contains("is not empty"));
    world.members.insert("c-4".to_owned(), member(Disk::default()));
    world.pods.get_mut("c-4").unwrap().running = true;
    assert!(world.judge(&anew).unwrap_err().contains("has begun and goes on"));
}

#[test]
fn an_heir_is_a_replica_with_data_and_the_first_one_named() {
    let propose = |from: u32, heir: u32, epoch: u64| Proposal::Succeed {
        from: identity(from).node_id,
        succession: Succession {
            heir: identity(heir).node_id,
            slots: vec![SlotRange::new(0, 5461).unwrap()],
            epoch,
            held: None,
            reason: String::new(),
        },
    };
    let mut world = World::of(of);
    let Ok(Change::Succession(from, made)) = world.judge(&propose(0, 3, 4)) else { panic!() };
    assert_eq!((from, made.heir), (identity(0).node_id, identity(3).node_id));
    assert!(world.judge(&propose(0, 1, 4)).unwrap_err().contains("owns slots of its own"));
    assert!(world.judge(&propose(0, 3, 3)).unwrap_err().contains("is not above"));
    assert!(world.judge(&propose(1, 4, 4)).unwrap_err().contains("c-1 is there itself"));
    world.pods.remove("c-1");
    assert!(world.judge(&propose(1, 4, 4)).is_ok());

    world.successions.insert(from, made);
    assert_eq!(world.judge(&propose(0, 5, 9)), Ok(Change::Nothing), "somebody was first");

    let mut empty = of(3);
    (empty.data, empty.keeps) = (false, false);
    world.successions.clear();
    world.members.insert("c-3".to_owned(), member(empty));
    assert!(world.judge(&propose(0, 3, 4)).unwrap_err().contains("the disk of c-3 is empty"));
    world.pods.get_mut("c-3").unwrap().running = true;
    assert!(world.judge(&propose(0, 3, 4)).is_ok(), "it has them in memory");
}

#[test]
fn an_heir_says_which_epoch_its_engine_has_chosen() {
    let succession = |epoch: u64| Succession {
        heir: identity(3).node_id,
        slots: vec![SlotRange::new(0, 5461).unwrap()],
        epoch,
        held: None,
        reason: String::new(),
    };
    let from = identity(0).node_id;
    let propose = |epoch: u64| Proposal::Succeed { from, succession: succession(epoch) };
    let mut world = World::of(of);
    world.successions.insert(from, succession(9));
    assert_eq!(world.judge(&propose(5)), Ok(Change::Nothing), "only the heir knows");
    let by_heir = |world: &World, epoch| {
        let plan = plan();
        let standing = Standing {
            set: "c",
            wanted: (0..6).map(|o| format!("c-{o}")).collect(),
            pod: "c-3",
            plan: &plan,
            members: &world.members,
            pods: &world.pods,
            claims: None,
            successions: &world.successions,
        };
        judge(&propose(epoch), &standing)
    };
    assert_eq!(by_heir(&world, 5), Ok(Change::Succession(from, succession(5))));
    assert_eq!(by_heir(&world, 12), Ok(Change::Succession(from, succession(12))));
    assert_eq!(by_heir(&world, 1), Ok(Change::Nothing), "the former owner has it");
}

#[test]
fn a_master_that_has_its_slots_again_can_be_inherited_from_again() {
    let from = identity(0).node_id;
    let succession = |heir: u32, epoch: u64| Succession {
        heir: identity(heir).node_id,
        slots: vec![SlotRange::new(0, 5461).unwrap()],
        epoch,
        held: None,
        reason: String::new(),
    };
    let propose =
        |heir: u32, epoch: u64| Proposal::Succeed { from, succession: succession(heir, epoch) };
    let mut world = World::of(of);
    world.successions.insert(from, succession(3, 4));
    assert_eq!(world.judge(&propose(3, 9)), Ok(Change::Nothing));
    // It was elected again at epoch 7, and its replica's disk says so.
    let mut replica = of(3);
    replica.identity = Some(Identity { config_epoch: 7, current_epoch: 7, ..identity(3) });
    world.members.insert("c-3".to_owned(), member(replica));
    assert_eq!(world.judge(&propose(3, 9)), Ok(Change::Succession(from, succession(3, 9))));
    // Or nobody's does, and its own is lost (seed 8025690 of the simulator).
    let mut world = World::of(of);
    world.successions.insert(from, succession(3, 4));
    let blank = Member { was: Some(identity(0)), ..member(Disk::default()) };
    world.members.insert("c-0".to_owned(), blank);
    assert_eq!(world.judge(&propose(3, 9)), Ok(Change::Succession(from, succession(3, 9))));
    assert_eq!(world.judge(&propose(4, 9)), Ok(Change::Nothing), "another heir");
    // Or those who run saw it have them again (seed 9803239).
    let held = |held| Succession { held: Some(held), ..succession(4, 9) };
    let propose = |held_at| Proposal::Succeed { from, succession: held(held_at) };
    assert_eq!(world.judge(&propose(4)), Ok(Change::Nothing), "its heir had them at that epoch");
    assert_eq!(world.judge(&propose(6)), Ok(Change::Succession(from, held(6))));
}

/// Seed 8024575 of the simulator: c-3 was made master while it ran, and only c-0 has registered since.
#[test]
fn of_two_that_follow_each_other_the_later_word_counts() {
    let follows = |pod: u32, of: u32, epoch: u64| {
        let role = Role::Replica { of: identity(of).node_id };
        let identity = Identity { role, slots: Vec::new(), config_epoch: epoch, ..identity(pod) };
        (format!("c-{pod}"), member(Disk { identity: Some(identity), ..Disk::default() }))
    };
    let known = |a: u64, b: u64| {
        let members = BTreeMap::from([follows(0, 3, a), follows(3, 0, b)]);
        let of = identities(&plan(), "c", &members);
        (of["c-0"].clone(), of["c-3"].clone())
    };
    let (zero, three) = known(4, 1);
    assert_eq!(zero.role, Role::Replica { of: identity(3).node_id });
    assert_eq!((three.role, three.config_epoch), (Role::Master, 4));
    assert_eq!(three.slots, [SlotRange::new(0, 5461).unwrap()]);
    let (zero, three) = known(1, 1);
    assert_eq!((zero.role, three.role), (identity(0).role, identity(3).role), "as planned");
}

#[test]
fn a_guest_does_not_stand_in_the_way_of_the_heir_of_what_it_was() {
    let propose = Proposal::Succeed {
        from: identity(1).node_id,
        succession: Succession {
            heir: identity(4).node_id,
            slots: vec![SlotRange::new(5462, 10922).unwrap()],
            epoch: 4,
            held: None,
            reason: String::new(),
        },
    };
    let mut world = World::of(of);
    let guest = |node_id| Member {
        node_id,
        was: Some(identity(1)),
        disk: Disk::default(),
        ..member(of(1))
    };
    world.pods.insert("c-1".to_owned(), Pod { running: true, ..pod("u") });
    world.members.insert("c-1".to_owned(), guest("f".repeat(40).parse().ok()));
    assert!(world.judge(&propose).is_ok());
    world.members.insert("c-1".to_owned(), guest(None));
    assert!(world.judge(&propose).is_ok(), "it has not joined yet");
    world.members.insert("c-1".to_owned(), guest(Some(identity(1).node_id)));
    assert!(world.judge(&propose).unwrap_err().contains("c-1 is there itself"));
}

#[test]
fn nobody_inherits_from_a_master_that_runs() {
    let propose = Proposal::Succeed {
        from: identity(1).node_id,
        succession: Succession {
            heir: identity(4).node_id,
            slots: vec![SlotRange::new(5462, 10922).unwrap()],
            epoch: 4,
            held: None,
            reason: String::new(),
        },
    };
    let mut world = World::of(of);
    let another = Pod { running: true, deleting: true, ..pod("another") };
    world.pods.insert("c-1".to_owned(), another);
    assert!(world.judge(&propose).unwrap_err().contains("c-1 runs"));
    world.pods.get_mut("c-1").unwrap().running = false;
    assert!(world.judge(&propose).is_ok());
}
