//! What the record decides: heirs, a set that begins anew, and copies of other sets' disks.

use super::*;

#[test]
fn the_heir_takes_over_by_its_file() {
    let mut world = World::stopped(&[]);
    let view = world.view.as_mut().unwrap();
    let slots = vec![plan().slots(0).unwrap()];
    let succession = named(id(3), 7);
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
    let succession = named(id(3), 7);
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
    let members = world.view.as_mut().unwrap().members.iter_mut();
    members.filter(|(name, _)| *name != "cache-0").for_each(|(_, m)| m.node_id = None);
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

/// Found by the simulator: a copy of the set, with the same password, got the former address of this
/// member's pod.
#[test]
fn whoever_has_this_members_former_address_by_now_says_nothing_of_its_cluster() {
    let mut world = World::stopped(&[1, 2, 3, 4, 5]);
    for ordinal in 1..6 {
        world.member(ordinal, Disk::default());
    }
    let view = world.view.as_mut().unwrap();
    let others = view.members.iter_mut().filter(|(name, _)| *name != "cache-0");
    others.for_each(|(_, m)| m.node_id = None);
    view.before = Some(Member { pod_uid: "old".to_owned(), ..member(0, 77) });
    view.predecessor_ended = false;
    let mut strange = seen_by(1);
    strange.rename("another salt");
    world.servers.insert(SocketAddr::new(ip(77), 6379), strange);
    let (actions, _) = world.run();
    assert!(matches!(actions.last(), Some(Action::Start(None))), "{actions:?}");
    assert_eq!(world.view.unwrap().plan.generation, 2, "it begins anew, and is no guest");
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
        view.past = vec!["the record is younger than the set".to_owned()];
        let (actions, _) = world.run();
        assert_eq!(reason(&actions), "StartedAsGuest", "{unseen:?}");
        // A record that is as old as the set has seen everybody who has ever begun (seed 9229573).
        let view = world.view.as_mut().unwrap();
        view.past.clear();
        view.claims.get_or_insert_default().insert("cache-3".to_owned());
        let (actions, _) = world.run();
        assert_eq!((reason(&actions), written(&actions).myself().unwrap().id), ("Rebuilt", id(0)));
    }
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
    world.disk = DiskSeen { mark: Some(mark), ..disk(&conf.to_string()) };
    assert_eq!(written(&world.run().0).myself().unwrap().id, renamed(0));

    // A set that lives under ids of its own takes no copy of another's.
    let member = member(1, 11);
    world.view.as_mut().unwrap().earlier.insert("cache-1".to_owned(), member);
    world.disk.nodes_conf = Some(file(0, 99).into_bytes());
    let (actions, _) = world.run();
    assert!(refusal(&actions).contains("belongs to elsewhere/cache"), "{}", refusal(&actions));
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
        mark: Some(Mark {
            namespace: "elsewhere".to_owned(),
            name: "cache".to_owned(),
            salt: "other".to_owned(),
            node_id: id(0),
        }),
        ..disk(&file(0, 99))
    };
    let (actions, now) = world.run();
    assert_eq!(written(&actions).myself().unwrap().id, crate::nodes::renamed(id(0), "own"));
    assert!(now < Millis(1000), "{now:?}");
}

/// The step that wrote the plan's file was cut short before it told so, and the next one found the file
/// (seed 7101315 of the simulator): without this the member would begin again once its disk is lost.
#[test]
fn a_disk_of_the_plan_is_recorded_as_begun() {
    let run = |begun: bool| {
        let mut world = World::running();
        world.disk = disk(&file(0, 99));
        world.own(full_disk(0), false);
        let own = world.view.as_mut().unwrap().members.get_mut("cache-0").unwrap();
        own.bootstrapped = begun;
        let (actions, _) = world.run();
        assert_eq!(reason(&actions), "Repaired");
        actions.iter().any(|a| matches!(a, Action::Report(r) if r.bootstrapped))
    };
    assert_eq!((run(false), run(true)), (true, false));
}

/// Seed 9002061 of the simulator: those that come after it never came, so that they have no disk.
#[test]
fn where_no_claim_is_there_is_no_disk_that_could_know_better() {
    let slots = |claims: &[u32]| {
        let mut world = World::stopped(&[]);
        let view = world.view.as_mut().unwrap();
        view.past = vec!["the record is younger than the set".to_owned()];
        view.earlier.retain(|name, _| name == "cache-1" || name == "cache-2");
        view.claims = Some(claims.iter().map(|o| format!("cache-{o}")).collect());
        let (actions, _) = world.run();
        (reason(&actions).to_owned(), written(&actions).myself().unwrap().slots.len())
    };
    assert_eq!(slots(&[0, 1, 2]), ("Rebuilt".to_owned(), 1));
    assert_eq!(slots(&[0, 1, 2, 3]), ("StartedAsGuest".to_owned(), 0));
}
