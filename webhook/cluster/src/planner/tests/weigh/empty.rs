//! Masters whose data are gone while their nodes.conf or the record still names them.

use super::*;

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
        // Should its disk be lost again, the record knows who was elected (seed 9008608 of the simulator).
        let named = &world.view.unwrap().successions[&id(0)];
        assert_eq!(
            (named.heir, named.epoch, &named.slots),
            (id(3), 9, &vec![plan().slots(0).unwrap()])
        );
    }
}

/// Found by the simulator: a master's table had another one's epoch for this one, which it had taken
/// from whoever had its address, and voted for none of its replicas.
#[test]
fn where_those_who_could_vote_do_not_the_record_decides() {
    let mut world = World::running().emptied();
    world.elects = false;
    let (actions, now) = world.run();
    let forces: Vec<_> = actions
        .iter()
        .filter_map(|a| match a {
            Action::Force { id, how, .. } => Some((*id, *how)),
            _ => None,
        })
        .collect();
    assert_eq!(forces, [(id(3), How::Vote), (id(3), How::Record)]);
    assert_eq!(reason(&actions), "Rejoined");
    assert_eq!(world.view.unwrap().successions[&id(0)].heir, id(3), "it was named first");
    assert!(now >= Millis(5_000) && now < Millis(7_000), "{now:?}");
}

#[test]
fn an_empty_master_is_not_started_when_nobody_is_elected() {
    let mut world = World::running().emptied();
    world.elects = false;
    world.view = None;
    let (actions, now) = world.run();
    assert!(refusal(&actions).contains("not elected in time"), "{}", refusal(&actions));
    // 10 s for the registry, 5 s and more for the election.
    assert!(now >= Millis(15_000) && now < Millis(17_000), "{now:?}");
}

/// It was told to take over and is cut off, and the record has been lost since (seed 9872516).
#[test]
fn an_heir_that_the_record_names_and_does_not_know_is_waited_for_where_somebody_runs_out_of_reach()
{
    for known in [true, false] {
        let mut world = World::running().emptied();
        world.servers.remove(&server(3));
        let view = world.view.as_mut().unwrap();
        view.successions.insert(id(0), named(id(3), 9));
        if !known {
            view.members.remove("cache-3");
            view.pods.get_mut("cache-3").unwrap().running = true;
        }
        let (actions, at) = world.run();
        assert!(refusal(&actions).contains("has not said yet that it is their master"), "{known}");
        assert!(at >= Millis(10_000), "{at:?}");
    }
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
        // It began without any data, as a guest of another id (seed 9854807).
        let mut guest =
            World { view: world.view.clone(), disk: world.disk.clone(), ..World::running() };
        guest.servers.remove(&server(3));
        let replica = guest.view.as_mut().unwrap().members.get_mut("cache-3").unwrap();
        (replica.node_id, replica.was) = (Some(NodeId::from_digest(&[7; 32])), Some(identity(3)));
        let (actions, _) = guest.run();
        assert!(!matches!(actions.last(), Some(Action::Refuse(_))), "{actions:?}");
        // A pod that is being deleted runs no more for anybody.
        world.view.as_mut().unwrap().pods.get_mut("cache-3").unwrap().deleting = true;
        let (actions, _) = world.run();
        assert!(!matches!(actions.last(), Some(Action::Refuse(_))), "{actions:?}");
    }
}

/// Seed 7001501 of the simulator: the replica's server was killed in its pod, and its step has not
/// registered again yet.
#[test]
fn a_disk_that_was_looked_at_before_its_server_ran_is_no_empty_disk() {
    let slots = |ended: Option<&str>| {
        let mut world = World::running().emptied();
        world.servers.remove(&server(3));
        world.member(3, Disk { keeps: true, ..Disk::default() });
        let view = world.view.as_mut().unwrap();
        let replica = view.members.get_mut("cache-3").unwrap();
        (replica.bootstrapped, replica.generation) = (true, 1);
        replica.registered_at = "2026-01-01T00:00:05.500000Z".to_owned();
        let pod = view.pods.get_mut("cache-3").unwrap();
        (pod.running, pod.ended_at) = (false, ended.map(str::to_owned));
        let (actions, _) = world.run();
        let named = world.view.as_ref().unwrap().successions.contains_key(&id(0));
        match actions.last() {
            // It may start again in its container, as a replica of this one.
            Some(Action::Refuse(why)) if named && why.contains("has not said yet") => 0,
            _ => written(&actions).myself().unwrap().slots.len(),
        }
    };
    assert_eq!(slots(None), 1, "it is empty, and nobody has anything");
    assert_eq!(slots(Some("2026-01-01T00:00:04Z")), 1, "it ended before");
    assert_eq!(slots(Some("2026-01-01T00:00:05Z")), 0, "moments are cut to the second");
    assert_eq!(slots(Some("2026-01-01T00:00:09Z")), 0);
}

/// Seed 7002392 of the simulator: the record was lost as well.
#[test]
fn an_empty_master_does_not_begin_while_a_replica_of_its_file_is_unheard_of() {
    let run = |claims: &[&str], parallel: bool| {
        let mut world = World::stopped(&[]).emptied();
        let view = world.view.as_mut().unwrap();
        view.earlier.clear();
        view.claims = Some(claims.iter().map(|name| (*name).to_owned()).collect());
        view.parallel = parallel;
        let (actions, at) = world.run();
        let named = world.view.unwrap().successions.get(&id(0)).map(|s| s.heir);
        (actions, at, named)
    };
    let (actions, at, _) = run(&["cache-0", "cache-3"], true);
    assert!(refusal(&actions).contains("of which the record knows nothing"), "{actions:?}");
    assert!(at >= Millis(10_000), "it is waited for");
    // One after the other it would never come while this one is refused.
    let (actions, at, named) = run(&["cache-0", "cache-3"], false);
    assert_eq!((reason(&actions), named), ("Yielded", Some(id(3))));
    assert!(at >= Millis(10_000), "it is waited for");
    // A master without slots may have lost them to another shard (seed 9024157).
    let mut world = World::stopped(&[]).emptied();
    let slots = format!(" {}", plan().slots(1).unwrap());
    world.disk.nodes_conf = Some(file(0, 99).replace(&slots, "").into_bytes());
    let view = world.view.as_mut().unwrap();
    view.earlier.clear();
    view.claims = Some(["cache-0", "cache-1", "cache-3"].map(str::to_owned).into());
    let _ = world.run();
    assert_eq!(world.view.unwrap().successions[&id(0)].heir, id(3));
    let (actions, _, named) = run(&["cache-0"], true);
    assert_eq!(written(&actions).myself().unwrap().slots.len(), 1, "there is no other disk");
    assert_eq!(named, None);
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
fn without_the_registry_an_empty_master_does_not_guess() {
    let mut world = World::stopped(&[]).emptied();
    world.view = None;
    let (actions, _) = world.run();
    assert!(refusal(&actions).contains("disk is empty"), "{}", refusal(&actions));
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

/// All came back at once, and the first one that can be asked is still loading: it will know this
/// member, which must not begin as somebody else meanwhile (seed 7003635 of the simulator).
#[test]
fn a_blank_master_waits_for_members_that_are_loading() {
    let mut world = World::stopped(&[5]);
    let five = server(5);
    world.servers.insert(five, seen_by(5));
    world.loading.insert(five);
    let (actions, at) = world.run();
    assert!(refusal(&actions).contains("loading, or have another password"), "{actions:?}");
    assert!(at >= Millis(10_000) && at < Millis(12_000), "{at:?}");
    world.loading.clear();
    let (actions, _) = world.run();
    assert!(matches!(actions.last(), Some(Action::Start(Some(_)))), "{actions:?}");
    assert_eq!(written(&actions).myself().unwrap().id, id(0), "it is who it was");
}

/// The address of the master went to another member, and its replica has copied that one (seed
/// 7000027 of the simulator): it has nothing any more of what it had.
#[test]
fn a_replica_that_has_copied_another_shard_has_no_data() {
    let mut world = World::running().emptied();
    world.copies.insert(id(3), id(1));
    let (actions, _) = world.run();
    assert_eq!((forced(&actions), reason(&actions)), (None, "Repaired"));
    // Its link is up to a machine that is off: it has the data, and does not know yet.
    let mut world = World::running().emptied();
    world.copies.insert(id(3), id(0));
    let (actions, at) = world.run();
    assert!(refusal(&actions).contains("is linked to a server at"), "{actions:?}");
    assert!(at >= Millis(10_000), "{at:?}");
}

/// Seeds 7304726 and 7323702 of the simulator: the stream of a former master, or of a life before a
/// restart, has an offset of its own, which says nothing beside that of the master's last replica.
#[test]
fn whoever_was_linked_to_the_end_is_promoted_however_high_the_others_offset() {
    let chosen = |linked: &[(u32, u64)]| {
        let mut world = World::running().emptied();
        let second = seen_by(4).to_string();
        let follows = |of: u32| format!("myself,slave {}", id(of));
        let second = second.replace(&follows(1), &follows(0));
        world.servers.insert(server(4), NodesConf::parse(second.as_bytes()).unwrap());
        // Its offset is 0.
        world.just_read.insert(id(3));
        world.linked = linked.iter().map(|(o, ago)| (id(*o), *ago)).collect();
        let (actions, _) = world.run();
        forced(&actions).map(|(id, _)| id)
    };
    assert_eq!(chosen(&[]), Some(id(4)), "by its offset");
    assert_eq!(chosen(&[(3, 1_000)]), Some(id(3)), "the other one never was");
    assert_eq!(chosen(&[(3, 1_000), (4, 30_000)]), Some(id(3)));
    assert_eq!(chosen(&[(3, 1_000), (4, 2_000)]), Some(id(4)), "both were");
}

/// Seed 7000422 of the simulator: two replicas were started since the master stopped, one answers already.
#[test]
fn a_replica_on_its_way_with_newer_data_is_waited_for() {
    let elected_at = |coming: u64, behind: u64| {
        let mut world = World::running().emptied();
        let stopped = |offset| Some(Stopped { ago: 0, offset, linked_ago: Some(0) });
        let older = Some(Stopped { ago: 0, offset: 100, linked_ago: Some(behind) });
        world.member(3, Disk { stopped: older, ..full_disk(3) });
        let view = world.view.as_mut().unwrap();
        let other = Identity { node_id: id(9), ..identity(3) };
        let disk = Disk { identity: Some(other), stopped: stopped(coming), ..full_disk(3) };
        let mate = Member { disk, node_id: Some(id(9)), ..member(9, 109) };
        view.members.insert("cache-9".to_owned(), mate);
        view.pods.insert("cache-9".to_owned(), Pod { running: false, ready: false, ..pod(9, 109) });
        let at = "2026-01-01T00:00:00.000000Z";
        view.members.values_mut().for_each(|m| m.registered_at = at.to_owned());
        let (actions, at) = world.run();
        assert_eq!(forced(&actions), Some((id(3), How::Vote)));
        at
    };
    assert!(elected_at(200, 0) >= Millis(10_000));
    assert!(elected_at(50, 0) < Millis(1_000), "its disk is known to be no newer");
    // The master had begun another stream since the older one stopped (seed 9857129).
    assert!(elected_at(50, 10_000) >= Millis(10_000));
}

/// Seed 9003632 of the simulator: the link was never told that its other end is gone, and soon the
/// replica would copy whoever has the address now.
#[test]
fn a_link_to_a_member_of_another_shard_that_has_the_address_keeps_nobody_from_being_elected() {
    let run = |copied: u32| {
        let mut world = World::running().emptied();
        let place = SocketAddr::new(ip(100), 6379);
        world.servers.insert(place, seen_by(4));
        let other = world.view.as_mut().unwrap().members.get_mut("cache-4").unwrap();
        other.ips = vec![ip(100)];
        world.copies.insert(id(3), id(copied));
        world.run().0
    };
    assert_eq!(forced(&run(0)), Some((id(3), How::Vote)));
    assert!(refusal(&run(4)).contains("is linked to a server"), "it has copied that one");
}
