//! Whether the data of an heir are new enough.

use super::*;

#[test]
fn data_that_may_be_old_are_for_a_person_to_judge() {
    let told = |change: fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        world.told()
    };
    let all = told(|w| w.view.heirs = HeirPolicy::Never);
    assert!(all.contains("is never") && all.contains("`mooring promote -n shop cache cache-3`"));
    let old = told(|w| w.disk(3).written_ago = Some(15 * 60 * SECOND));
    assert!(old.contains("300 s older"), "{old}");
    assert!(told(|w| w.disk(3).written_ago = None).contains("nobody knows when"));
    assert!(told(|w| w.disk(3).data = false).contains("was empty"));
    assert!(told(|w| w.disk(1).failed = [id(3)].into()).contains("it had failed before"));
    assert!(told(|w| drop(w.view.members.remove(&name(3)))).contains("could not register"));
    // The master had started again after this one's last write.
    let later = told(|w| w.view.earlier.get_mut(&name(0)).unwrap().registered_at = time(15 * 60));
    assert!(later.contains("300 s older"), "{later}");
    let alone = told(|w| {
        for other in [1, 2, 4, 5] {
            w.view.members.remove(&name(other));
            w.view.pods.remove(&name(other));
        }
    });
    assert!(alone.contains("no other member has registered"), "{alone}");
    // It was linked last long before it was stopped, whatever its files say.
    let cut_off = told(|w| {
        let stopped = Stopped { ago: 600_000, offset: 5, linked_ago: Some(900_000) };
        w.disk(3).stopped = Some(stopped);
    });
    assert!(cut_off.contains("300 s older"), "{cut_off}");
}

#[test]
fn somebody_who_has_not_stopped_knows_when_the_master_was_last_alive() {
    let mut world = World::new();
    let living = |pong: &str| {
        let text = file(1).to_string();
        let line = format!("{} 10.0.0.10:6379@16379 master - 0 0", id(0));
        let with = format!("{} 10.0.0.10:6379@16379 master - 0 {pong}", id(0));
        let nodes = NodesConf::parse(text.replace(&line, &with).as_bytes()).unwrap();
        let inspection =
            Inspection { nodes, offset: 0, link: None, linked_ago: None, stream: None, keys: 1 };
        vec![Inspected::Node(Box::new(inspection)), Inspected::Nobody]
    };
    // 18:10:30 and 18:15.
    let base = crate::moment::micros(&time(0)).unwrap() / 1_000_000;
    world.around = living(&format!("{}000", base + 630));
    let near = World { around: world.around.clone(), ..world.again() };
    assert_eq!(reason(near.run().0.last().unwrap()), "Succeeded");
    world.around = living(&format!("{}000", base + 900));
    assert!(world.told().contains("300 s older"));
}

#[test]
fn old_data_are_better_than_none_if_the_owner_says_so() {
    let mut world = World::new();
    world.view.heirs = HeirPolicy::Always;
    world.disk(3).written_ago = Some(5 * 24 * 3600 * SECOND);
    assert_eq!(reason(world.run().0.last().unwrap()), "Succeeded");
}

#[test]
fn of_two_replicas_the_one_with_newer_data_acts() {
    let with = |change: fn(&mut World)| {
        let mut world = World::new();
        world.disk(5).identity = Some(Identity { node_id: id(5), ..file(3).identity().unwrap() });
        change(&mut world);
        world.run().0
    };
    assert_eq!(reason(with(|_| {}).last().unwrap()), "Succeeded", "as new, and before it");
    let newer = with(|w| w.disk(5).written_ago = Some(599 * SECOND));
    assert!(
        matches!(newer.as_slice(), [Action::Report(r)] if r.message.contains("cache-5 has more"))
    );
    assert_eq!(reason(with(|w| w.disk(5).data = false).last().unwrap()), "Succeeded");
    let by_offset = with(|w| {
        let stopped = |offset| Stopped { ago: 600_000, offset, linked_ago: Some(600_000) };
        w.disk(3).stopped = Some(stopped(11));
        w.disk(5).stopped = Some(stopped(10));
        w.disk(5).written_ago = Some(599 * SECOND);
    });
    assert_eq!(reason(by_offset.last().unwrap()), "Succeeded");
}
