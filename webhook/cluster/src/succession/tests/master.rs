//! Where the master is, and whether anybody has to take its place.

use super::*;

#[test]
fn a_master_that_may_run_or_is_about_to_is_left_alone() {
    let with = |change: fn(&mut Pod)| {
        let mut world = World::new();
        let mut other = Pod { uid: "new".to_owned(), running: false, ..pod(0) };
        change(&mut other);
        world.view.pods.insert(name(0), other);
        world.run()
    };
    let (scheduled, end) = with(|_| {});
    assert_eq!((scheduled, end.0), (vec![], 30 * SECOND), "waited for");
    assert_eq!(with(|p| p.deleting = true).0, []);
    assert_eq!(with(|p| (p.scheduled, p.deleting) = (false, true)).0, []);
    let (runs, end) = with(|p| p.running = true);
    assert_eq!((runs, end.0), (vec![], 0), "nothing to wait for");
    assert_eq!(with(|p| (p.running, p.deleting) = (true, true)).0, [], "on a lost machine");
    let (pending, _) = with(|p| p.scheduled = false);
    assert_eq!(reason(pending.last().unwrap()), "Succeeded");

    let mut world = World::new();
    let registered = world.view.earlier.remove(&name(0)).unwrap();
    world.view.members.insert(name(0), registered);
    world.view.pods.insert(name(0), Pod { running: false, scheduled: false, ..pod(0) });
    assert_eq!(world.run().0, [], "it has registered");
}

/// Found by the simulator: under OrderedReady a master's pod that lost its disk is Ready as a guest
/// before its replica comes, and keeps what it was in its entry.
#[test]
fn a_master_that_came_back_as_a_guest_is_missing() {
    let guest = |node_id: Option<NodeId>, running: bool| {
        let mut world = World::new();
        let was = world.view.earlier.remove(&name(0)).and_then(|m| m.disk.identity);
        let disk = Disk { identity: None, data: false, ..member(0, 60, 0).disk };
        let entry = Member { node_id, was, disk, ..member(0, 60, 0) };
        world.view.members.insert(name(0), entry);
        world.view.pods.insert(name(0), Pod { running, ..pod(0) });
        world
    };
    let other = "f".repeat(40).parse().ok();
    assert_eq!(reason(guest(other, true).run().0.last().unwrap()), "Succeeded");
    assert_eq!(
        reason(guest(None, true).run().0.last().unwrap()),
        "Succeeded",
        "it has not joined yet"
    );
    assert_eq!(guest(None, false).run().0, [], "its step has not decided");
    assert_eq!(guest(Some(id(0)), true).run().0, [], "it goes on as what it was");
}

/// Found by the simulator (seeds 9222751 and 9503962): a record was put back from before the master lost
/// its disk, and still said that the pod was the master.
#[test]
fn whoever_answers_at_the_address_of_the_masters_pod_is_not_the_master() {
    let with = |link: &str| {
        let mut world = World::new();
        let registered = world.view.earlier.remove(&name(0)).unwrap();
        world.view.members.insert(name(0), registered);
        let other = Pod { uid: "new".to_owned(), ips: vec![ip(90)], ..pod(0) };
        world.view.pods.insert(name(0), Pod { running: true, ..other });
        let row = format!("{} {}:6379@16379 master - 0 1 0 {link}\nvars", "f".repeat(40), ip(90));
        let text = world.own.nodes.to_string().replace("vars", &row);
        world.own.nodes = NodesConf::parse(text.as_bytes()).unwrap();
        world.run().0
    };
    assert_eq!(reason(with("connected").last().unwrap()), "Succeeded");
    assert_eq!(with("disconnected"), [], "nobody answers there");
}

#[test]
fn a_pod_that_comes_meanwhile_is_waited_for_anew() {
    let mut world = World::new();
    let mut pods = world.view.pods.clone();
    pods.insert(name(0), Pod { running: false, ..pod(0) });
    world.later = Some((4 * SECOND, pods));
    assert_eq!(world.told(), "");
}

#[test]
fn one_after_the_other_a_later_pod_is_not_missing() {
    let mut world = World::new();
    world.view.parallel = false;
    let (pods, members) = (&mut world.view.pods, &mut world.view.members);
    // cache-0 is the replica, and its master cache-3 is not due before it is ready.
    pods.remove(&name(3));
    members.remove(&name(3));
    world.view.pod = name(0);
    world.view.ordinal = Ordinal(0);
    pods.insert(name(0), pod(0));
    let mut own = member(0, 20 * 60, 10 * 60 * SECOND);
    own.disk.identity = Some(Identity { node_id: id(0), ..file(3).identity().unwrap() });
    members.insert(name(0), own);
    world.view.earlier = BTreeMap::from([(name(3), member(3, 60, 0))]);
    world.own.nodes = file(0);
    world.own.nodes.step_down(id(3), 7).unwrap();
    world.own.master = Some(id(3));
    world.view.parallel = true;
    let again = World {
        view: View { parallel: false, ..world.view.clone() },
        own: world.own.clone(),
        ..World::new()
    };
    assert_eq!(again.run().0, []);
}

#[test]
fn a_master_that_nobody_has_recorded_may_be_any_pod_that_has_not_registered() {
    let mut world = World::new();
    world.view.earlier.clear();
    assert_eq!(reason(World { ..world.again() }.run().0.last().unwrap()), "Succeeded");
    world.view.members.remove(&name(4));
    world.view.pods.get_mut(&name(4)).unwrap().running = false;
    assert_eq!(world.told(), "", "cache-4 is starting, and may be it");
}

#[test]
fn an_engine_that_elects_by_itself_is_not_disturbed() {
    let with = |change: fn(&mut Own)| {
        let mut world = World::new();
        change(&mut world.own);
        world.run()
    };
    assert_eq!(with(|own| own.was_linked = true), (vec![], Millis(0)));
    assert_eq!(with(|own| own.master = None), (vec![], Millis(0)));
    // A first start: nobody is held up by it.
    assert_eq!(with(|own| own.keys = false), (vec![], Millis(0)));
    let heard = with(|own| {
        let text = own.nodes.to_string();
        let line = format!("{} 10.0.0.10:6379@16379 master - 0 0", id(0));
        let now = format!("{} 10.0.0.10:6379@16379 master - 0 1790000000900", id(0));
        assert!(text.contains(&line), "{text}");
        own.nodes = NodesConf::parse(text.replace(&line, &now).as_bytes()).unwrap();
    });
    assert!(!heard.0.iter().any(|a| matches!(a, Action::Propose(_))), "{:?}", heard.0);
}
