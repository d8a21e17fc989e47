//! Who is named, by whom it is made master, and when.

use super::*;

#[test]
fn an_heir_is_named_after_a_node_timeout_and_then_elected() {
    let (done, end) = World::new().run();
    let [named, promoted, told] = done.as_slice() else { panic!("{done:?}") };
    assert_eq!(epoch(named), 4);
    assert_eq!(promoted, &Action::Promote(How::Vote));
    assert_eq!(reason(told), "Succeeded");
    let Action::Report(report) = told else { panic!() };
    assert!(report.message.contains("the pod cache-0 is not there"), "{}", report.message);
    assert!((NODE_TIMEOUT..NODE_TIMEOUT + SECOND).contains(&end.0), "{end:?}");
}

#[test]
fn time_that_the_server_took_to_load_counts_but_the_pod_is_seen_missing_for_a_while() {
    let mut world = World::new();
    world.own.uptime = Millis(60 * SECOND);
    let (done, end) = world.run();
    assert_eq!(done.len(), 3);
    assert!((ABSENT_PATIENCE.0..ABSENT_PATIENCE.0 + SECOND).contains(&end.0), "{end:?}");
}

#[test]
fn without_a_majority_the_records_word_counts() {
    let mut world = World::new();
    world.linked = vec![2];
    let (done, end) = world.run();
    assert_eq!(done[1], Action::Promote(How::Record));
    assert_eq!(reason(&done[2]), "Succeeded");
    assert!(end.0 >= NODE_TIMEOUT + MAJORITY_PATIENCE.0);
}

#[test]
fn a_vote_that_fails_is_tried_again_only_where_that_helps_and_then_the_record_decides() {
    let mut world = World::new();
    (world.vote, world.own.votes_anew) = (None, false);
    let (done, _) = world.run();
    let promotions: Vec<_> = done.iter().filter(|a| matches!(a, Action::Promote(_))).collect();
    assert_eq!(promotions, [&Action::Promote(How::Vote), &Action::Promote(How::Record)]);

    let mut world = World::new();
    (world.vote, world.own.votes_anew) = (None, true);
    let (done, _) = world.run();
    let votes = done.iter().filter(|a| **a == Action::Promote(How::Vote)).count();
    assert_eq!(votes, 5, "{done:?}");
    assert_eq!(done[votes + 1], Action::Promote(How::Record));
}

#[test]
fn the_record_says_the_epoch_that_the_engine_has_chosen() {
    let mut world = World::new();
    world.vote = Some(9);
    let (done, _) = world.run();
    assert_eq!((epoch(&done[0]), epoch(&done[2])), (4, 9));
    assert_eq!(reason(&done[3]), "Succeeded");
}

#[test]
fn whoever_is_named_already_acts_at_once_and_nobody_beside_it() {
    let mut world = World::new();
    let slots = file(0).node(id(0)).unwrap().slots.clone();
    let named = |heir| Named {
        heir: id(heir),
        slots: slots.clone(),
        epoch: 4,
        held: None,
        reason: String::new(),
    };
    world.view.successions.insert(id(0), named(3));
    let (done, end) = world.run();
    assert_eq!(done[0], Action::Promote(How::Vote));
    assert!(end.0 < SECOND);

    let mut world = World::new();
    world.view.successions.insert(id(0), named(5));
    assert_eq!(world.run().0, []);

    // The master has had its slots again since.
    let mut world = World::new();
    let mut old = named(5);
    old.epoch = 1;
    world.view.successions.insert(id(0), old);
    assert_eq!(reason(world.run().0.last().unwrap()), "Succeeded");
}

#[test]
fn what_the_registry_refuses_is_told_and_nothing_is_done() {
    let mut world = World::new();
    world.propose = Err("somebody else knows better".to_owned());
    let (done, end) = world.run();
    assert!(done.iter().all(|a| !matches!(a, Action::Promote(_))));
    let Some(Action::Report(report)) = done.last() else { panic!() };
    assert!(report.message.contains("somebody else knows better"), "{}", report.message);
    assert!(end.0 <= 30 * SECOND);
}

#[test]
fn nobody_is_named_who_could_not_be_made_master_in_time() {
    let mut world = World::new();
    world.deadline = NODE_TIMEOUT + SECOND;
    assert!(world.told().contains("too short"));
    let mut world = World::new();
    world.deadline = NODE_TIMEOUT - SECOND;
    assert!(world.told().contains("is not over"));
}

#[test]
fn a_named_heir_that_does_not_become_master_is_told() {
    let mut world = World::new();
    (world.vote, world.takeover) = (None, None);
    let (done, _) = world.run();
    let Some(Action::Report(report)) = done.last() else { panic!() };
    assert!(report.message.contains("delete its pod"), "{}", report.message);
}
