//! Blank members whose record is lost, too.

use super::*;
use crate::protocol::Lingering;

/// The record was made anew, and all others run that it does not know.
fn unrecorded() -> World {
    let mut world = World::running();
    let view = world.view.as_mut().unwrap();
    view.plan.salt = "another".to_owned();
    view.members.retain(|name, _| name == "cache-0");
    let own = view.members.get_mut("cache-0").unwrap();
    (own.was, own.node_id, own.bootstrapped) = (None, None, false);
    view.past = vec!["pod cache-1 runs and is not in the record".to_owned()];
    world
}

fn others_see(world: &mut World, flags: &str) {
    for nodes in world.servers.values_mut() {
        let text = nodes.to_string().replace(
            &format!("{} 10.0.0.100:6379@16379 master", id(0)),
            &format!("{} 10.0.0.100:6379@16379 {flags}", id(0)),
        );
        *nodes = NodesConf::parse(text.as_bytes()).unwrap();
    }
}

#[test]
fn the_one_that_all_others_miss_is_who_it_was() {
    let mut world = unrecorded();
    others_see(&mut world, "master,fail");
    let (actions, _) = world.run();
    assert_eq!(forced(&actions), Some((id(3), How::Vote)), "its replica has the data");
    assert_eq!((written(&actions).myself().unwrap().id, reason(&actions)), (id(0), "Rejoined"));
}

#[test]
fn while_others_have_not_given_it_up_nothing_is_certain() {
    let mut world = unrecorded();
    let (actions, at) = world.run();
    assert!(refusal(&actions).contains("not all others have given up"), "{actions:?}");
    assert!(at >= Millis(10_000), "{at:?}");
}

#[test]
fn where_one_does_not_say_who_it_is_it_may_be_that_one() {
    let mut world = unrecorded();
    others_see(&mut world, "master,fail");
    world.servers.remove(&server(5));
    world.view.as_mut().unwrap().parallel = true;
    // It runs: seed 9109579 of the simulator.
    let (actions, at) = world.run();
    assert!(refusal(&actions).contains("members that run do not answer"), "{actions:?}");
    assert!(at >= Millis(10_000));
    world.view.as_mut().unwrap().pods.get_mut("cache-5").unwrap().running = false;
    let (actions, at) = world.run();
    assert_eq!(reason(&actions), "StartedAsGuest");
    assert!(at >= Millis(10_000), "it is given time to (seed 9018455 of the simulator)");
    world.view.as_mut().unwrap().parallel = false;
    let (actions, at) = world.run();
    assert_eq!(reason(&actions), "StartedAsGuest");
    assert!(at < Millis(1_000), "one after the other it may not come before this one is ready");
    assert_eq!(forced(&actions), None);
    // Its id is known before it starts, and marked as this set's: a copy of the disk is known as one.
    let conf = written(&actions);
    let me = conf.myself().unwrap();
    assert_eq!((conf.nodes().count(), me.slots.len(), me.master), (1, 0, None));
    let marked =
        |a: &Action| matches!(a, Action::Write { mark: Some(m), .. } if m.node_id == me.id);
    assert!(actions.iter().any(marked), "{actions:?}");
}

/// Where all come at once and nobody owns anything there is nothing to join.
#[test]
fn a_member_with_a_past_is_no_guest_of_nobody() {
    let run = |parallel: bool| {
        let mut world = unrecorded();
        world.servers.clear();
        let view = world.view.as_mut().unwrap();
        view.parallel = parallel;
        view.pods.retain(|name, _| name == "cache-0");
        world.run().0
    };
    assert!(refusal(&run(true)).contains("no member runs that owns slots"));
    assert_eq!(
        reason(&run(false)),
        "StartedAsGuest",
        "one after the other the next would not come"
    );
}

/// Found by the simulator, in sets that keep nothing: the record was made anew, or is older than the
/// pods, and the replica that has the data in memory is cut off for a moment.
#[test]
fn a_replica_that_runs_out_of_reach_may_have_the_data_whatever_the_record_knows_of_it() {
    for known in [false, true] {
        let mut world = World::running().emptied();
        world.servers.remove(&server(3));
        let view = world.view.as_mut().unwrap();
        let mut replica = view.members.remove("cache-3").unwrap();
        let identity = NodesConf::parse(file(3, 13).as_bytes()).unwrap().identity();
        replica.disk = Disk { identity, ..Disk::default() };
        if known {
            let older = Member { pod_uid: "of a pod before".to_owned(), ..replica };
            view.earlier.insert("cache-3".to_owned(), older);
        }
        let mut keeps_nothing = cluster();
        let words = ["--cluster-enabled", "yes", "--save", "", "--appendonly", "no"];
        keeps_nothing.config = read(&words);
        let world = std::cell::RefCell::new(world);
        let (actions, at) = drive(keeps_nothing, |action| world.borrow_mut().answer(action));
        assert!(refusal(&actions).contains("may have"), "{actions:?}");
        assert!(at >= Millis(10_000), "it is waited for: {at:?}");
    }
}

/// Found by the simulator: pods on their way out were all that told of a life before.
#[test]
fn a_past_that_was_told_once_is_not_forgotten() {
    let mut world = World::stopped(&[]);
    let view = world.view.as_mut().unwrap();
    view.earlier.clear();
    let own = view.members.get_mut("cache-0").unwrap();
    (own.was, own.node_id, own.bootstrapped) = (None, None, false);
    let mut told = vec!["pod cache-1 runs and is not in the record".to_owned()];
    let world = std::cell::RefCell::new(world);
    let (actions, _) = drive(cluster(), |action| {
        let mut world = world.borrow_mut();
        if matches!(action, Action::Register(_)) {
            world.view.as_mut().unwrap().past = std::mem::take(&mut told);
        }
        world.answer(action)
    });
    assert_ne!(reason(&actions), "Bootstrapped", "{actions:?}");
}

/// The pod before was deleted by force: its server runs on, and takes writes under this id.
#[test]
fn a_server_that_still_runs_as_this_member_is_waited_for_by_a_blank_one() {
    let mut world = World::running();
    let before = Member { pod_uid: "old".to_owned(), ..member(0, 77) };
    let view = world.view.as_mut().unwrap();
    (view.before, view.predecessor_ended) = (Some(before), false);
    world.servers.insert(SocketAddr::new(ip(77), 6379), seen_by(0));
    let (actions, at) = world.run();
    assert!(refusal(&actions).contains("still runs as this member"), "{actions:?}");
    assert!(at >= Millis(60_000), "{at:?}");
}

#[test]
fn without_the_registry_a_replica_of_the_file_that_is_not_there_may_have_the_data() {
    let mut world = World::running().emptied();
    world.view = None;
    world.servers.remove(&server(3));
    let (actions, _) = world.run();
    assert!(refusal(&actions).contains("without the registry nobody knows"), "{actions:?}");
}

/// Seed 7321096 of the simulator: the record was rolled back to when this member had not begun.
#[test]
fn who_has_been_heard_of_does_not_begin_again() {
    let rolled_back = |heard: bool| {
        let mut world = World::running();
        let own = world.view.as_mut().unwrap().members.get_mut("cache-0").unwrap();
        (own.was, own.bootstrapped) = (None, false);
        own.node_id = Some(id(0));
        for nodes in world.servers.values_mut().filter(|_| heard) {
            let line = format!("{} 10.0.0.100:6379@16379 master - 0", id(0));
            let text = nodes.to_string().replace(&format!("{line} 0"), &format!("{line} 17"));
            *nodes = NodesConf::parse(text.as_bytes()).unwrap();
        }
        world
    };
    let mut world = rolled_back(true);
    let (actions, _) = world.run();
    assert_eq!(forced(&actions), Some((id(3), How::Vote)), "its replica has the data");
    assert_eq!((written(&actions).myself().unwrap().id, reason(&actions)), (id(0), "Rejoined"));
    // The server of the pod before, which was deleted by force, may still run.
    let mut world = rolled_back(true);
    let view = world.view.as_mut().unwrap();
    let place = Lingering { ips: vec![ip(77)], ports: Ports::plain(6379) };
    view.members.get_mut("cache-0").unwrap().lingering = vec![place];
    world.servers.insert(SocketAddr::new(ip(77), 6379), seen_by(0));
    let (actions, at) = world.run();
    assert!(refusal(&actions).contains("still runs as this member"), "{actions:?}");
    assert!(at >= Millis(60_000), "{at:?}");
    let (actions, _) = rolled_back(false).run();
    assert_eq!((forced(&actions), written(&actions).myself().unwrap().id), (None, id(0)));
    assert_eq!(reason(&actions), "Bootstrapped");
}
