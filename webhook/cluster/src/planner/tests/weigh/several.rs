//! Two accidents and more at once, each found by the simulator.

use super::*;
use crate::protocol::{Lingering, Role, Stopped};

/// A replica that the engine had elected lost its data at once, and gave the slots back to the former
/// master, which was cut off and has not heard of any of it (seed 9204123).
#[test]
fn what_a_registered_disk_owned_may_have_been_given_back_since() {
    let mut world = World::running();
    world.disk = disk(&file(0, 99));
    let elected = Identity { node_id: id(3), config_epoch: 4, current_epoch: 4, ..identity(0) };
    world.member(3, Disk { identity: Some(elected), keeps: true, ..Disk::default() });
    let (actions, _) = world.run();
    assert_eq!(reason(&actions), "SteppedDown");
    world.view.as_mut().unwrap().successions.insert(id(3), named(id(0), 5));
    let (actions, _) = world.run();
    let me = written(&actions).myself().cloned().unwrap();
    assert_eq!((reason(&actions), me.master, me.config_epoch), ("Succeeded", None, 5));
    assert_eq!(me.slots, [plan().slots(0).unwrap()]);
}

/// It named an heir while it waited, and began as the owner nevertheless (seed 9220106).
#[test]
fn a_member_that_begins_anew_follows_the_heir_that_the_record_names() {
    let mut world = World::stopped(&[]);
    let next = Plan { generation: 2, ..plan() };
    let view = world.view.as_mut().unwrap();
    view.earlier.clear();
    view.members.get_mut("cache-0").unwrap().was = None;
    view.plan = next.clone();
    let heir = next.node_id(Ordinal(3));
    view.successions.insert(next.node_id(Ordinal(0)), named(heir, 2_000_000));
    let (actions, _) = world.run();
    let me = written(&actions).myself().cloned().unwrap();
    assert_eq!((me.id, me.master), (next.node_id(Ordinal(0)), Some(heir)));
}

/// One replica was on a machine that was lost, the other one was deleted with all the rest and has not
/// ended yet (seed 9231053).
#[test]
fn of_two_disks_that_of_the_pod_on_its_way_out_is_the_heir() {
    let mut world = World::stopped(&[]);
    let view = world.view.as_mut().unwrap();
    let lost = view.earlier.get_mut("cache-3").unwrap();
    lost.disk = full_disk(3);
    lost.registered_at = "2025-12-31T00:00:00.000000Z".to_owned();
    let other = Identity { node_id: id(9), ..identity(3) };
    let disk = Disk { identity: Some(other), ..full_disk(3) };
    let mate = Member { disk, node_id: Some(id(9)), ..member(9, 109) };
    view.members.insert("cache-9".to_owned(), mate);
    view.pods.insert("cache-9".to_owned(), Pod { deleting: true, ..pod(9, 109) });
    world.run();
    assert_eq!(world.view.unwrap().successions[&id(0)].heir, id(9));
}

/// The record that opened the generation was deleted: nobody knows whether this member had begun in it (seed
/// 9881606).
#[test]
fn a_generation_that_a_new_record_only_took_over_is_not_begun_in() {
    let is_refused = |restored: bool| {
        let mut world = World::stopped(&[]);
        let view = world.view.as_mut().unwrap();
        view.earlier.clear();
        let own = view.members.get_mut("cache-0").unwrap();
        (own.was, own.node_id, own.bootstrapped) = (None, None, false);
        (view.plan, view.restored) = (Plan { generation: 2, ..plan() }, restored);
        view.past = vec!["the cluster's record was deleted".to_owned()];
        view.parallel = true;
        view.claims = Some(["cache-0", "cache-3"].map(str::to_owned).into());
        let (actions, _) = world.run();
        matches!(actions.last(), Some(Action::Refuse(_)))
    };
    assert!(is_refused(true), "cache-3 may have its data");
    assert!(!is_refused(false));
}

/// Both have ended with all the rest; one of them had come back only just before that (seed 9875610).
#[test]
fn of_two_that_ended_in_the_same_moment_the_one_that_had_run_for_longer_is_the_heir() {
    let heir = |second: u32| {
        let mut world = World::stopped(&[]);
        let view = world.view.as_mut().unwrap();
        let at = |second: u32| format!("2026-01-01T00:00:{second:02}.000000Z");
        let long = view.earlier.get_mut("cache-3").unwrap();
        (long.disk, long.registered_at) = (full_disk(3), at(5));
        let other = Identity { node_id: id(9), ..identity(3) };
        let disk = Disk { identity: Some(other), ..full_disk(3) };
        let mate = Member { disk, node_id: Some(id(9)), registered_at: at(29), ..member(9, 109) };
        view.earlier.insert("cache-9".to_owned(), mate);
        view.ended.insert("cache-3".to_owned(), at(30));
        view.ended.insert("cache-9".to_owned(), at(second));
        world.run();
        world.view.unwrap().successions[&id(0)].heir
    };
    assert_eq!(heir(31), id(3));
    assert_eq!(heir(38), id(9), "it has run on without the other one");
}

/// A pod was deleted by force, its server is out of reach for a moment and gives its replica a first
/// write (seed 9237314).
#[test]
fn slots_do_not_begin_empty_while_a_server_of_the_pod_before_may_run() {
    let at = |lingers: bool| {
        let mut world = World::running().emptied();
        world.full.clear();
        let own = world.view.as_mut().unwrap().members.get_mut("cache-0").unwrap();
        let place = Lingering { ips: vec![ip(77)], ports: Ports::plain(6379) };
        own.lingering = if lingers { vec![place] } else { Vec::new() };
        let (actions, at) = world.run();
        assert_eq!(reason(&actions), "Repaired");
        at
    };
    assert!(at(false) < Millis(1_000));
    assert!(at(true) >= Millis(10_000));
}

/// The newest data are on a pod that no machine takes (seed 9239526): of those that are there only fresh
/// ones are promoted without being asked.
#[test]
fn a_replica_that_is_more_than_a_minute_behind_one_that_may_come_is_a_persons_decision() {
    let run = |behind: u64, heirs: HeirPolicy| {
        let mut world = World::running().emptied();
        let stopped = |offset, ago| Some(Stopped { ago: 0, offset, linked_ago: Some(ago) });
        world.member(3, Disk { stopped: stopped(100, behind), ..full_disk(3) });
        let view = world.view.as_mut().unwrap();
        view.heirs = heirs;
        let other = Identity { node_id: id(9), ..identity(3) };
        let disk = Disk { identity: Some(other), stopped: stopped(200, 0), ..full_disk(3) };
        let mate = Member { disk, node_id: Some(id(9)), ..member(9, 109) };
        view.members.insert("cache-9".to_owned(), mate);
        view.pods.insert("cache-9".to_owned(), Pod { running: false, ready: false, ..pod(9, 109) });
        let at = "2026-01-01T00:00:00.000000Z";
        view.members.values_mut().for_each(|m| m.registered_at = at.to_owned());
        world.run().0
    };
    let heir = Some((id(3), How::Vote));
    assert_eq!(forced(&run(50_000, HeirPolicy::Fresh)), heir);
    assert_eq!(forced(&run(70_000, HeirPolicy::Always)), heir);
    let refused = run(70_000, HeirPolicy::Fresh);
    assert_eq!(forced(&refused), None);
    assert!(refusal(&refused).contains("more than a minute newer"), "{}", refusal(&refused));
}

/// A master had handed over a moment before it stopped, and its file was cut off afterwards: not all have
/// heard that it is a replica now (seed 9302746).
#[test]
fn who_followed_its_successor_already_follows_it_with_a_file_made_whole() {
    let mut world = World::running();
    world.promote(id(3));
    let whole = file(0, 99);
    let cut = whole.len() * 3 / 4;
    world.disk = disk(&whole[..cut]);
    world.own(Disk { data: true, keeps: true, ..Disk::default() }, true);
    let own = world.view.as_mut().unwrap().members.get_mut("cache-0").unwrap();
    let follows = Role::Replica { of: id(3) };
    own.was = Some(Identity { role: follows, slots: Vec::new(), ..identity(0) });
    let (actions, _) = world.run();
    assert_eq!(written(&actions).myself().unwrap().master, Some(id(3)), "{actions:?}");
    assert_eq!(reason(&actions), "Salvaged");
}

/// Slots had been moved away just before the master lost its disk, and its heir knew it (seed 9233732).
#[test]
fn an_heir_need_not_have_what_was_moved_away_before() {
    let mut world = World::running();
    world.promote(id(3));
    for nodes in world.servers.values_mut() {
        let text = nodes.to_string();
        let text =
            text.replace(" 0-5460", " 0-100").replace(" 2 connected 5461-", " 4 connected 101-");
        *nodes = NodesConf::parse(text.as_bytes()).unwrap();
    }
    let mut conf = NodesConf::parse(file(0, 99).as_bytes()).unwrap();
    conf.step_down(id(3), 5).unwrap();
    world.disk = disk(&conf.to_string());
    world.member(3, full_disk(3));
    let (actions, at) = world.run();
    assert_eq!((forced(&actions), reason(&actions)), (None, "Repaired"));
    assert!(at < Millis(1_000), "{at:?}");
}

/// The record was lost while this member started, and the new one has another salt (seed 9223002): its
/// plan's ids are nobody's.
#[test]
fn a_plan_that_is_not_of_this_member_names_no_others() {
    let ids = |salt: &str| {
        // One disk is not empty, so that nothing begins anew.
        let mut world = World::stopped(&[1]);
        world.member(1, full_disk(1));
        let view = world.view.as_mut().unwrap();
        view.earlier.clear();
        view.claims = Some(BTreeSet::new());
        view.plan.salt = salt.to_owned();
        let (actions, _) = world.run();
        assert_eq!(reason(&actions), "Rebuilt");
        let conf = written(&actions);
        (conf.myself().unwrap().id, conf.nodes().count())
    };
    assert_eq!(ids("salt"), (id(0), 6));
    assert_eq!(ids("another"), (id(0), 2));
}

/// The replica's address went to another member, so that nobody knows its address any more, and the record
/// is lost (seed 9402998).
#[test]
fn a_replica_that_others_have_lost_the_address_of_may_have_the_data() {
    let mut world = World::running();
    world.servers.remove(&server(3));
    let view = world.view.as_mut().unwrap();
    view.members.retain(|name, _| name == "cache-0");
    view.parallel = true;
    view.pods.get_mut("cache-3").unwrap().running = false;
    for nodes in world.servers.values_mut() {
        let text = nodes.to_string();
        let (line, lost) = ("10.0.0.103:6379@16379 slave", ":0@0 slave,noaddr");
        *nodes = NodesConf::parse(text.replace(line, lost).as_bytes()).unwrap();
    }
    let (actions, at) = world.run();
    assert!(refusal(&actions).contains("of which the record knows nothing"), "{actions:?}");
    assert!(at >= Millis(10_000), "{at:?}");
}

/// The record was lost after it had named an heir, and named another one when the set was made anew: by
/// then masters ran that knew the first (seed 9220417).
#[test]
fn an_heir_by_the_record_asks_whoever_runs_whether_there_is_another_one() {
    let slots = plan().slots(0).unwrap();
    let master = id(9);
    let own = |line: &str| match line.starts_with(id(0).as_str()) {
        true => format!(
            "{} 10.0.0.99:6379@16379 myself,slave {master} 0 0 0 connected\n\
             {master} 10.0.0.98:6379@16379 master - 0 0 1 disconnected {slots}\n",
            id(0)
        ),
        false => format!("{line}\n"),
    };
    for (epoch, expected) in [(8, "Repaired"), (9, "Repaired"), (10, "Succeeded")] {
        let mut world = World::running();
        world.disk = disk(&file(0, 99).lines().map(own).collect::<String>());
        world.view.as_mut().unwrap().successions.insert(master, named(id(0), epoch));
        // At epoch 9.
        world.promote(id(3));
        let (actions, _) = world.run();
        assert_eq!(reason(&actions), expected, "{epoch}");
    }
}

/// Its replica's address was taken by somebody else, so that nobody lists it any more, and the record is one
/// that took the place of a deleted one (seed 9916055).
#[test]
fn an_heir_whom_nobody_lists_any_more_is_followed_by_the_records_word() {
    let mut world = World::running();
    world.servers.remove(&server(3));
    let gone = BTreeSet::from([id(3)]);
    for nodes in world.servers.values_mut() {
        nodes.forget(&gone);
    }
    let view = world.view.as_mut().unwrap();
    view.members.remove("cache-3");
    view.pods.remove("cache-3");
    view.successions.insert(id(0), named(id(3), 9));
    let (actions, _) = world.run();
    assert_eq!(reason(&actions), "Yielded");
    assert_eq!(written(&actions).myself().unwrap().master, Some(id(3)));
}

/// Its heir of before all disks were lost is nobody any more (seed 9913179).
#[test]
fn what_was_inherited_before_the_cluster_began_anew_is_over() {
    let mut world = World::stopped(&[]);
    let next = Plan { generation: 2, ..plan() };
    let view = world.view.as_mut().unwrap();
    view.earlier.clear();
    (view.plan, view.claims) = (next.clone(), Some(BTreeSet::from(["cache-3".to_owned()])));
    let own = view.members.get_mut("cache-0").unwrap();
    let was =
        Identity { node_id: next.node_id(Ordinal(0)), config_epoch: 1_000_001, ..identity(0) };
    (own.was, own.generation) = (Some(was), 2);
    view.successions.insert(id(0), named(id(3), 4));
    let (actions, _) = world.run();
    let conf = written(&actions);
    assert_eq!(conf.myself().unwrap().id, next.node_id(Ordinal(0)));
    assert!(conf.node(id(3)).is_none(), "{conf}");
}
