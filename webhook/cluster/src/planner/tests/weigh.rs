//! Empty, unreadable and copied disks, against a registry that judges as the real one does and
//! servers that do what they are told.

use super::*;
use crate::protocol::Identity;
use crate::record::{self, Change, Standing};

/// What is around the member `cache-0`, the first master.
struct World {
    disk: DiskSeen,
    view: Option<View>,
    servers: BTreeMap<SocketAddr, NodesConf>,
    /// Servers that hold keys.
    full: BTreeSet<NodeId>,
    /// Replicas that have read their log and have not met their master since.
    just_read: BTreeSet<NodeId>,
    /// Whether a replica that is told to is elected.
    elects: bool,
}

impl World {
    /// All others run; `cache-3` is this member's replica.
    fn running() -> Self {
        let mut world = Self {
            disk: DiskSeen::default(),
            view: Some(view(&[0, 1, 2, 3, 4, 5])),
            servers: BTreeMap::new(),
            full: plan().ordinals().map(|o| plan().node_id(o)).collect(),
            just_read: BTreeSet::new(),
            elects: true,
        };
        for ordinal in 1..6 {
            world.servers.insert(server(ordinal), seen_by(ordinal));
        }
        world.own(Disk::default(), true);
        world
    }

    /// All have stopped, and only those members have registered since.
    fn stopped(registered: &[u32]) -> Self {
        let mut world = Self::running();
        world.servers.clear();
        if let Some(view) = &mut world.view {
            let back = |name: &str| registered.iter().any(|o| name == format!("cache-{o}"));
            for (name, member) in std::mem::take(&mut view.members) {
                match name == view.pod || back(&name) {
                    true => view.members.insert(name, member),
                    false => view.earlier.insert(name, member),
                };
            }
            view.pods.retain(|name, _| *name == view.pod || back(name));
            for pod in view.pods.values_mut() {
                pod.running = false;
            }
        }
        world
    }

    /// What the registry says of this member.
    fn own(&mut self, disk: Disk, was: bool) {
        if let Some(view) = &mut self.view {
            let blank = disk.identity.is_none();
            let own = view.members.get_mut("cache-0").unwrap();
            own.was = (blank && was).then(|| identity(0));
            own.node_id = disk.identity.as_ref().map(|i| i.node_id);
            own.disk = disk;
        }
    }

    /// nodes.conf is there and the data are not.
    fn emptied(mut self) -> Self {
        self.disk = DiskSeen { nodes_conf: Some(file(0, 99).into_bytes()), ..self.disk };
        self.own(Disk { identity: Some(identity(0)), ..Disk::default() }, true);
        self
    }

    fn member(&mut self, ordinal: u32, disk: Disk) {
        let view = self.view.as_mut().unwrap();
        let name = format!("cache-{ordinal}");
        let member = view.members.get_mut(&name).or(view.earlier.get_mut(&name)).unwrap();
        member.disk = disk;
    }

    fn run(&mut self) -> (Vec<Action>, Millis) {
        let mut setup = cluster();
        setup.hold_back = HoldBack::Allowed;
        let world = std::cell::RefCell::new(self);
        drive(setup, |action| world.borrow_mut().answer(action))
    }

    fn answer(&mut self, action: &Action) -> Option<Fact> {
        Some(match action {
            Action::ReadDisk => Fact::Disk(self.disk.clone()),
            Action::Register(body) => match &mut self.view {
                Some(view) => {
                    let own = view.members.get("cache-0").cloned();
                    let place = Place { namespace: &view.namespace, name: &view.name };
                    let entry =
                        record::entry(place, &view.plan, "cache-0", body, own.as_ref(), &view.past);
                    let own = view.members.get_mut("cache-0").unwrap();
                    own.node_id = entry.node_id;
                    own.disk = entry.disk;
                    own.was = entry.was;
                    Fact::Registered(Box::new(view.clone()))
                }
                None => Fact::RegistryFailed { why: "away".to_owned(), retry: true },
            },
            Action::Resolve => Fact::Resolved(self.servers.keys().map(SocketAddr::ip).collect()),
            Action::Write { .. } => Fact::Written(Ok(())),
            Action::Report(_) => Fact::Reported(Ok(())),
            Action::Probe(at) => Fact::Probed {
                at: *at,
                answer: match self.servers.get(at).and_then(NodesConf::myself) {
                    Some(me) => Answer::Node(me.id),
                    None => Answer::Nobody,
                },
            },
            Action::Inspect(at) => Fact::Inspected {
                at: *at,
                answer: match self.servers.get(at) {
                    Some(nodes) => Inspected::Node(Box::new(self.inspection(nodes))),
                    None => Inspected::Nobody,
                },
            },
            Action::Force { at, id, how } => {
                assert_eq!(self.servers[at].myself().map(|me| me.id), Some(*id));
                if self.elects || *how == How::Record {
                    self.promote(*id);
                }
                Fact::Forced { at: *at, result: Ok(()) }
            }
            Action::Propose(proposal) => Fact::Proposed(self.judge(proposal)),
            Action::Start(_) | Action::Refuse(_) => return None,
        })
    }

    fn inspection(&self, nodes: &NodesConf) -> Inspection {
        let me = nodes.myself().unwrap();
        Inspection {
            nodes: nodes.clone(),
            offset: match self.full.contains(&me.id) && !self.just_read.contains(&me.id) {
                true => 100,
                false => 0,
            },
            link: me.master.map(|_| Link::Down),
            keys: self.full.contains(&me.id),
        }
    }

    /// As after an election that all have heard of.
    fn promote(&mut self, id: NodeId) {
        for nodes in self.servers.values_mut() {
            let text: String = nodes
                .to_string()
                .lines()
                .map(|line| promoted(line, id, plan().node_id(Ordinal(0))) + "\n")
                .collect();
            *nodes = NodesConf::parse(text.as_bytes()).unwrap();
        }
    }

    fn judge(&mut self, proposal: &Proposal) -> Result<Box<View>, String> {
        let view = self.view.as_mut().ok_or("away")?;
        let mut members = view.earlier.clone();
        members.extend(view.members.clone());
        let standing = Standing {
            set: &view.name,
            replicas: view.replicas,
            pod: &view.pod,
            plan: &view.plan,
            members: &members,
            pods: &view.pods,
            claims: view.claims.as_ref(),
            successions: &view.successions,
        };
        match record::judge(proposal, &standing)? {
            Change::Generation(generation) => view.plan.generation = generation,
            Change::Succession(from, succession) => {
                view.successions.insert(from, succession);
            }
            Change::Nothing => {}
        }
        Ok(Box::new(view.clone()))
    }
}

fn server(ordinal: u32) -> SocketAddr {
    SocketAddr::new(ip(ordinal as u8 + 10), 6379)
}

fn identity(ordinal: u32) -> Identity {
    NodesConf::parse(file(ordinal, 99).as_bytes()).unwrap().identity().unwrap()
}

/// A running member's CLUSTER NODES.
fn seen_by(ordinal: u32) -> NodesConf {
    let text = file(ordinal, ordinal as u8 + 10).replace("disconnected", "connected");
    NodesConf::parse(text.as_bytes()).unwrap()
}

fn promoted(line: &str, heir: NodeId, from: NodeId) -> String {
    let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
    let mine = if words.get(2).is_some_and(|f| f.starts_with("myself")) { "myself," } else { "" };
    if words[0] == heir.as_str() {
        words.truncate(8);
        words[2] = format!("{mine}master");
        words[3] = "-".to_owned();
        words[6] = "9".to_owned();
        words.push(plan().slots(0).unwrap().to_string());
    } else if words[0] == from.as_str() {
        words[2] = "master,fail".to_owned();
        words.truncate(8);
    }
    words.join(" ")
}

fn reason(actions: &[Action]) -> &str {
    match actions.last() {
        Some(Action::Start(Some(report))) => &report.reason,
        other => panic!("{other:?}"),
    }
}

fn forced(actions: &[Action]) -> Option<(NodeId, How)> {
    actions.iter().find_map(|a| match a {
        Action::Force { id, how, .. } => Some((*id, *how)),
        _ => None,
    })
}

fn id(ordinal: u32) -> NodeId {
    plan().node_id(Ordinal(ordinal))
}

fn full_disk(ordinal: u32) -> Disk {
    Disk { identity: Some(identity(ordinal)), data: true, keeps: true, ..Disk::default() }
}

#[test]
fn an_empty_master_whose_replica_has_the_data_has_it_elected_and_starts_as_its_replica() {
    for blank in [false, true] {
        let mut world = World::running();
        if !blank {
            world = world.emptied();
        }
        let (actions, now) = world.run();
        assert_eq!(forced(&actions), Some((id(3), How::Vote)), "{actions:?}");
        let conf = written(&actions);
        let me = conf.myself().unwrap();
        assert_eq!((me.id, me.master, me.slots.len()), (id(0), Some(id(3)), 0));
        assert_eq!(conf.node(id(3)).unwrap().config_epoch, 9);
        assert_eq!(reason(&actions), "Rejoined");
        assert!(now < Millis(1000), "{now:?}");
        let declared =
            actions.iter().any(|a| matches!(a, Action::Register(r) if r.node_id == Some(id(0))));
        assert_eq!(declared, blank, "others have to learn where to find it");
    }
}

#[test]
fn an_empty_master_is_not_started_when_nobody_is_elected() {
    let mut world = World::running().emptied();
    world.elects = false;
    let (actions, now) = world.run();
    assert!(refusal(&actions).contains("not elected in time"), "{}", refusal(&actions));
    assert!(now >= Millis(5_000) && now < Millis(7_000), "{now:?}");
}

/// What a replica's disk held when it registered is less than what it has copied since: one that is
/// cut off may be the last to have the data (seeds 298 and 1317 of the simulator).
#[test]
fn an_empty_master_does_not_begin_while_its_replica_runs_out_of_reach() {
    for emptied in [false, true] {
        let mut world = World::running();
        if emptied {
            world = world.emptied();
        }
        world.servers.remove(&server(3));
        world.member(3, Disk { keeps: true, ..Disk::default() });
        let replica = world.view.as_mut().unwrap().members.get_mut("cache-3").unwrap();
        (replica.bootstrapped, replica.generation) = (true, 1);
        let (actions, at) = world.run();
        let Some(Action::Refuse(why)) = actions.last() else { panic!("{actions:?}") };
        assert!(
            why.contains("cache-3, which may have its data, runs and does not answer"),
            "{why}"
        );
        assert!(at >= Millis(10_000), "it is waited for");
        // A pod that is being deleted runs no more for anybody.
        world.view.as_mut().unwrap().pods.get_mut("cache-3").unwrap().deleting = true;
        let (actions, _) = world.run();
        assert!(!matches!(actions.last(), Some(Action::Refuse(_))), "{actions:?}");
    }
}

#[test]
fn an_empty_shard_starts_as_it_was() {
    let mut world = World::running().emptied();
    world.full.remove(&id(3));
    let (actions, _) = world.run();
    assert_eq!((forced(&actions), reason(&actions)), (None, "Repaired"));
    assert_eq!(written(&actions).myself().unwrap().slots.len(), 1);
}

#[test]
fn without_a_majority_the_record_names_the_heir_before_it_takes_over() {
    let mut world = World::running().emptied();
    world.servers.retain(|at, _| *at == server(3));
    let alone = file(3, 13);
    world.servers.insert(server(3), NodesConf::parse(alone.as_bytes()).unwrap());
    world.member(3, full_disk(3));
    let (actions, _) = world.run();
    let propose = actions.iter().position(|a| matches!(a, Action::Propose(_))).unwrap();
    let force = actions.iter().position(|a| matches!(a, Action::Force { .. })).unwrap();
    assert!(propose < force);
    assert_eq!(forced(&actions), Some((id(3), How::Record)));
    assert_eq!(reason(&actions), "Rejoined");
}

#[test]
fn an_empty_master_yields_to_the_disk_that_has_the_data() {
    for blank in [false, true] {
        let mut world = World::stopped(&[]);
        world.member(3, full_disk(3));
        if !blank {
            world = world.emptied();
        }
        let (actions, now) = world.run();
        let view = world.view.as_ref().unwrap();
        let succession = &view.successions[&id(0)];
        assert_eq!((succession.heir, succession.epoch), (id(3), 4));
        // A guest that meets nobody now would stay outside for good.
        assert_eq!(reason(&actions), if blank { "Rebuilt" } else { "Yielded" });
        let conf = written(&actions);
        let me = conf.myself().unwrap();
        assert_eq!((me.id, me.master), (id(0), Some(id(3))));
        assert!(now < Millis(1000), "nobody is there to be waited for: {now:?}");
    }
}

#[test]
fn the_heir_takes_over_by_its_file() {
    let mut world = World::stopped(&[]);
    let view = world.view.as_mut().unwrap();
    let slots = vec![plan().slots(0).unwrap()];
    let succession = crate::protocol::Succession {
        heir: id(3),
        slots: slots.clone(),
        epoch: 7,
        reason: String::new(),
    };
    view.successions.insert(id(0), succession);
    world.disk = disk(&file(3, 99));
    let (actions, _) = world.run();
    let conf = written(&actions);
    let me = conf.myself().unwrap();
    assert!(me.is_master() && me.slots == slots && me.config_epoch == 7);
    assert_eq!(conf.node(id(0)).unwrap().master, Some(id(3)));
    assert_eq!(reason(&actions), "Succeeded");
}

#[test]
fn a_master_with_an_heir_in_the_record_steps_down() {
    let mut world = World::stopped(&[]);
    let slots = vec![plan().slots(0).unwrap()];
    let succession =
        crate::protocol::Succession { heir: id(3), slots, epoch: 7, reason: String::new() };
    world.view.as_mut().unwrap().successions.insert(id(0), succession);
    world.disk = disk(&file(0, 99));
    let (actions, _) = world.run();
    assert_eq!(reason(&actions), "SteppedDown");
    assert_eq!(written(&actions).myself().unwrap().master, Some(id(3)));
}

#[test]
fn all_disks_are_empty_and_it_forms_anew() {
    let mut world = World::stopped(&[1, 2, 3, 4, 5]);
    for ordinal in 1..6 {
        world.member(ordinal, Disk::default());
    }
    let (actions, now) = world.run();
    let conf = written(&actions);
    let next = Plan { generation: 2, ..plan() };
    assert_eq!(conf.myself().unwrap().id, next.node_id(Ordinal(0)));
    assert!(now < Millis(500), "{now:?}");
    let told = |a: &Action| matches!(a, Action::Register(r) if r.node_id == Some(next.node_id(Ordinal(0))));
    assert!(actions.iter().any(told), "others have to learn the new id's address: {actions:?}");
    let last = actions.iter().rev().nth(1);
    assert!(matches!(last, Some(Action::Report(r)) if r.bootstrapped), "{last:?}");
}

#[test]
fn without_claims_nobody_is_waited_for() {
    let mut world = World::stopped(&[]);
    world.view.as_mut().unwrap().claims = Some(BTreeSet::new());
    let (actions, now) = world.run();
    assert_eq!(world.view.unwrap().plan.generation, 2);
    assert!(now < Millis(500) && matches!(actions.last(), Some(Action::Start(None))), "{now:?}");
}

#[test]
fn one_disk_that_may_hold_something_forbids_to_form_anew() {
    let mut world = World::stopped(&[1, 2, 4, 5]);
    for ordinal in [1, 2, 4, 5] {
        world.member(ordinal, Disk::default());
    }
    world.view.as_mut().unwrap().earlier.get_mut("cache-3").unwrap().disk.data = true;
    let (actions, _) = world.run();
    let view = world.view.unwrap();
    assert_eq!(view.plan.generation, 1);
    assert_eq!(view.successions[&id(0)].heir, id(3), "it may have the data");
    assert_eq!(reason(&actions), "Rebuilt");
    assert_eq!(written(&actions).myself().unwrap().master, Some(id(3)));
}

#[test]
fn a_disk_that_the_record_has_never_seen_forbids_to_go_on_by_the_record() {
    for unseen in [None, Some("cache-7")] {
        let mut world = World::stopped(&[1, 2, 4, 5]);
        for ordinal in [1, 2, 4, 5] {
            world.member(ordinal, Disk::default());
        }
        let view = world.view.as_mut().unwrap();
        match unseen {
            Some(name) => view.claims.get_or_insert_default().insert(name.to_owned()),
            None => view.earlier.remove("cache-3").is_some(),
        };
        let (actions, _) = world.run();
        assert_eq!(reason(&actions), "StartedAsGuest", "{unseen:?}");
    }
}

#[test]
fn a_damaged_file_is_made_again_from_what_living_members_see() {
    let mut world = World::running();
    let mut cut = file(0, 99);
    cut.truncate(cut.find("vars").unwrap());
    for damage in ["garbage\n".to_owned(), cut] {
        world.disk = disk(&damage);
        let (actions, _) = world.run();
        assert_eq!(reason(&actions), "Salvaged");
        let conf = written(&actions);
        let me = conf.myself().unwrap();
        assert_eq!((me.id, me.slots.clone()), (id(0), vec![plan().slots(0).unwrap()]));
        assert_eq!(conf.vars().last_vote_epoch, conf.vars().current_epoch);
    }
}

#[test]
fn a_damaged_file_is_refused_when_nobody_is_there_to_ask() {
    let mut world = World::stopped(&[]);
    world.disk = disk("x");
    let (actions, _) = world.run();
    assert!(refusal(&actions).contains("nodes.conf is damaged"), "{}", refusal(&actions));
}

#[test]
fn without_the_registry_an_empty_master_does_not_guess() {
    let mut world = World::stopped(&[]).emptied();
    world.view = None;
    let (actions, _) = world.run();
    assert!(refusal(&actions).contains("disk is empty"), "{}", refusal(&actions));
}

#[test]
fn the_first_to_come_back_takes_no_writes_until_it_has_met_others() {
    let flags = |world: &mut World| {
        world.disk = disk(&file(0, 99));
        let (actions, _) = world.run();
        let conf = written(&actions);
        [1, 2]
            .map(|o| conf.node(id(o)).unwrap().flags.contains(&crate::nodes::Flag::PossiblyFailing))
    };
    assert_eq!(flags(&mut World::stopped(&[])), [true, true]);
    assert_eq!(flags(&mut World::stopped(&[4])), [false, false], "two would fail the others");
    assert_eq!(flags(&mut World::running()), [false, false]);
}

#[test]
fn a_copy_of_another_sets_disk_gets_ids_of_its_own() {
    let mark = Mark {
        namespace: "elsewhere".to_owned(),
        name: "cache".to_owned(),
        salt: "other".to_owned(),
        node_id: id(0),
    };
    let mut world = World::stopped(&[]);
    world.disk = DiskSeen { mark: Some(mark.clone()), ..disk(&file(0, 99)) };
    let view = world.view.as_mut().unwrap();
    view.earlier.clear();
    view.plan.salt = "own".to_owned();
    let (actions, _) = world.run();
    let conf = written(&actions);
    let renamed = |o: u32| crate::nodes::renamed(id(o), "own");
    assert_eq!(conf.myself().unwrap().id, renamed(0));
    assert!((0..6).all(|o| conf.node(id(o)).is_none() && conf.node(renamed(o)).is_some()));
    let Some(Action::Write { mark: Some(new), .. }) =
        actions.iter().find(|a| matches!(a, Action::Write { .. }))
    else {
        panic!("{actions:?}")
    };
    assert_eq!((new.namespace.as_str(), new.node_id), ("shop", renamed(0)));

    // The file was renamed and the mark was not: it is not renamed twice.
    let again = conf.to_string().into_bytes();
    world.disk = DiskSeen {
        nodes_conf: Some(again),
        data: true,
        files: true,
        mark: Some(mark),
        ..DiskSeen::default()
    };
    assert_eq!(written(&world.run().0).myself().unwrap().id, renamed(0));

    // A set that lives under ids of its own takes no copy of another's.
    let member = member(1, 11);
    world.view.as_mut().unwrap().earlier.insert("cache-1".to_owned(), member);
    world.disk.nodes_conf = Some(file(0, 99).into_bytes());
    let (actions, _) = world.run();
    assert!(refusal(&actions).contains("belongs to elsewhere/cache"), "{}", refusal(&actions));
}

#[test]
fn without_anybody_to_ask_the_record_completes_what_is_left_of_a_file() {
    let run = |ordinal: u32, left: &str| {
        let mut world = World::stopped(&[]);
        let view = world.view.as_mut().unwrap();
        view.members.get_mut("cache-0").unwrap().was = Some(identity(ordinal));
        // The pod with this disk and the first one have changed places.
        if let Some(other) = view.earlier.get_mut(&format!("cache-{ordinal}")) {
            other.was = Some(identity(0));
        }
        world.disk = disk(left);
        world.run().0
    };
    // Three of six lines: the own one is whole.
    let left: String = file(0, 99).split_inclusive('\n').take(3).collect();
    let actions = run(0, &left);
    assert_eq!(reason(&actions), "Salvaged");
    let conf = written(&actions);
    assert_eq!(conf.nodes().count(), 6);
    assert_eq!(conf.myself().unwrap().slots, [plan().slots(0).unwrap()]);

    // Zero bytes: a replica owns nothing that could have changed, a master does.
    let zeroes = "\0".repeat(600);
    let actions = run(3, &zeroes);
    assert_eq!(reason(&actions), "Salvaged");
    let conf = written(&actions);
    assert_eq!(conf.myself().map(|me| (me.id, me.master)), Some((id(3), Some(id(0)))));
    let actions = run(0, &zeroes);
    assert!(refusal(&actions).contains("nodes.conf is damaged"), "{}", refusal(&actions));
}

#[test]
fn the_record_mends_an_own_line_that_says_too_little() {
    let replaced = |o: u32, own: &str, rest: &str| -> String {
        let edit = |line: &str| match line.starts_with(id(o).as_str()) {
            true => format!("{} 10.0.0.9:6379@16379 {own} {rest}\n", id(o)),
            false => line.to_owned(),
        };
        file(3, 99).split_inclusive('\n').map(edit).collect()
    };
    let nobody = replaced(3, "myself,slave", "- 0 0 1 connected");
    let nothing = replaced(3, "myself", "- 0 0 1 connected");
    for text in [nobody, nothing] {
        let mut world = World::stopped(&[]);
        world.disk = disk(&text);
        world.view.as_mut().unwrap().members.get_mut("cache-0").unwrap().was = Some(identity(3));
        let conf = written(&world.run().0);
        assert_eq!(conf.myself().map(|me| (me.id, me.master)), Some((id(3), Some(id(0)))));

        let mut unknown = World::stopped(&[]);
        unknown.disk = disk(&text);
        let view = unknown.view.as_mut().unwrap();
        view.members.remove("cache-0");
        view.earlier.clear();
        view.before = None;
        view.members.insert("cache-0".to_owned(), Member { bootstrapped: false, ..member(0, 10) });
        let actions = unknown.run().0;
        assert!(refusal(&actions).contains("nodes.conf is damaged"), "{}", refusal(&actions));
    }
}

#[test]
fn the_last_succession_says_who_of_a_circle_is_the_master() {
    // The former master is a replica of its heir, and the heir still one of it.
    let edit = |line: &str| match line.starts_with(id(0).as_str()) {
        true => format!("{} 10.0.0.9:6379@16379 slave {} 0 0 1 connected\n", id(0), id(3)),
        false => line.to_owned(),
    };
    let text: String = file(3, 99).split_inclusive('\n').map(edit).collect();
    for known in [true, false] {
        let mut world = World::stopped(&[]);
        world.disk = disk(&text);
        let view = world.view.as_mut().unwrap();
        view.members.get_mut("cache-0").unwrap().was = Some(identity(3));
        if !known {
            view.members.get_mut("cache-0").unwrap().was = None;
            view.members.get_mut("cache-0").unwrap().bootstrapped = false;
            view.earlier.clear();
        } else {
            let slots = vec![plan().slots(0).unwrap()];
            let succession =
                crate::protocol::Succession { heir: id(3), slots, epoch: 7, reason: String::new() };
            view.successions.insert(id(0), succession);
        }
        let (actions, _) = world.run();
        if !known {
            assert!(refusal(&actions).contains("nodes.conf is damaged"), "{}", refusal(&actions));
            continue;
        }
        let conf = written(&actions);
        let me = conf.myself().unwrap();
        assert!(me.is_master() && me.config_epoch == 7, "{conf}");
        assert_eq!((me.id, conf.node(id(0)).unwrap().master), (id(3), Some(id(3))));
    }
}

#[test]
fn without_anybody_to_ask_a_replica_starts_with_what_its_own_file_still_says() {
    let run = |ordinal: u32, gone: &[u32]| {
        let keeps = |line: &&str| !gone.iter().any(|o| line.starts_with(id(*o).as_str()));
        let left = file(ordinal, 99);
        let left: String = left.split_inclusive('\n').filter(keeps).collect();
        let mut world = World::stopped(&[]);
        world.view = None;
        world.disk = disk(left.split("vars").next().unwrap());
        world.run().0
    };
    let actions = run(3, &[1, 4]);
    let conf = written(&actions);
    let me = conf.myself().unwrap();
    assert_eq!((me.id, me.master, conf.nodes().count()), (id(3), Some(id(0)), 4));
    assert_eq!(conf.vars().current_epoch, conf.vars().last_vote_epoch, "no vote is given twice");
    assert!(matches!(actions.last(), Some(Action::Start(_))));

    // Without its master's line nobody would tell it who is missing, and a master's slots may
    // have changed since.
    for (ordinal, gone) in [(3, 0), (0, 3)] {
        let actions = run(ordinal, &[gone]);
        assert!(refusal(&actions).contains("nodes.conf is damaged"), "{}", refusal(&actions));
    }
}

#[test]
fn a_server_that_kept_an_empty_data_set_starts_at_once() {
    let mut world = World::stopped(&[]).emptied();
    world.member(3, full_disk(3));
    world.disk.files = true;
    let (actions, _) = world.run();
    assert_eq!(reason(&actions), "Repaired");
    assert!(world.view.unwrap().successions.is_empty());
}

#[test]
fn no_replica_is_written_without_its_master() {
    // A hole of zero bytes took the second master's line; its replica's line is there.
    let holed: String = file(3, 99)
        .split_inclusive('\n')
        .map(|line| match line.starts_with(id(1).as_str()) {
            true => "\0".repeat(line.len()),
            false => line.to_owned(),
        })
        .collect();
    let complete = |world: &mut World| {
        world.view.as_mut().unwrap().members.get_mut("cache-0").unwrap().was = Some(identity(3));
        world.disk = disk(&holed);
        let conf = written(&world.run().0);
        assert!(conf.nodes().all(|n| n.master.is_none_or(|of| conf.node(of).is_some())), "{conf}");
        conf.node(id(1)).is_some()
    };
    let mut alone = World::stopped(&[]);
    alone.view.as_mut().unwrap().earlier.clear();
    assert!(!complete(&mut alone), "nobody knows the other master: its replica is left out");
    let mut running = World::running();
    running.servers.remove(&server(3));
    running.view.as_mut().unwrap().members.remove("cache-3");
    assert!(complete(&mut running), "the living members know it");
}

/// Found by the simulator: all were deleted, one master's disk was lost, and its replica was back
/// first. After a start from a log a replica has all keys and the offset 0.
#[test]
fn a_replica_that_has_read_its_log_and_met_nobody_has_the_data() {
    for blank in [false, true] {
        let mut world = World::running();
        if !blank {
            world = world.emptied();
        }
        world.just_read.insert(id(3));
        let (actions, _) = world.run();
        assert_eq!(forced(&actions), Some((id(3), How::Vote)), "{actions:?}");
        assert_eq!(reason(&actions), "Rejoined");
    }
}

/// Found by the simulator: the original's member answers at the address in the copied file.
#[test]
fn the_original_of_a_copied_disk_is_no_twin_of_its_copy() {
    let mut world = World::stopped(&[]);
    let view = world.view.as_mut().unwrap();
    view.earlier.clear();
    view.predecessor_ended = false;
    view.plan.salt = "own".to_owned();
    let original = NodesConf::parse(file(0, 99).as_bytes()).unwrap();
    world.servers.insert(SocketAddr::new(ip(99), 6379), original);
    world.disk = DiskSeen {
        nodes_conf: Some(file(0, 99).into_bytes()),
        data: true,
        files: true,
        mark: Some(Mark {
            namespace: "elsewhere".to_owned(),
            name: "cache".to_owned(),
            salt: "other".to_owned(),
            node_id: id(0),
        }),
        ..DiskSeen::default()
    };
    let (actions, now) = world.run();
    assert_eq!(written(&actions).myself().unwrap().id, crate::nodes::renamed(id(0), "own"));
    assert!(now < Millis(1000), "{now:?}");
}

/// Found by the simulator: the member that this one has taken over from was overlooked, since the
/// record still calls it a master.
#[test]
fn an_empty_master_yields_to_the_one_that_it_took_over_from() {
    let mut world = World::stopped(&[]).emptied();
    let newer = file(0, 99).replace(" 1 connected", " 7 connected");
    world.disk.nodes_conf = Some(newer.clone().into_bytes());
    let own = NodesConf::parse(newer.as_bytes()).unwrap().identity();
    world.own(Disk { identity: own, ..Disk::default() }, true);
    let former = Identity { node_id: id(3), ..identity(0) };
    world.member(3, Disk { identity: Some(former), keeps: true, ..Disk::default() });
    let (actions, _) = world.run();
    let succession = &world.view.as_ref().unwrap().successions[&id(0)];
    assert_eq!((succession.heir, succession.epoch), (id(3), 8));
    assert_eq!(reason(&actions), "Yielded");
    assert_eq!(written(&actions).myself().unwrap().master, Some(id(3)));
}
