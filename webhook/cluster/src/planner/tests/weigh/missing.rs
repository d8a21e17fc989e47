//! Blank members whose record is lost, too.

use super::*;

/// The record was made anew, and all others run that it does not know.
fn unrecorded() -> World {
    let mut world = World::running();
    let view = world.view.as_mut().unwrap();
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
    let (actions, _) = world.run();
    assert_eq!(reason(&actions), "StartedAsGuest");
    assert_eq!(forced(&actions), None);
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
