//! A master that comes back and finds nobody.

use super::*;
use crate::moment;
use crate::nodes::Flag;

const NOW: u64 = 1_772_323_200_000_000;

/// A view in which all others run and registered so many seconds before this member.
fn running(before: u64) -> View {
    let mut view = view(&[0, 1, 2, 3, 4, 5]);
    view.parallel = true;
    for (name, member) in &mut view.members {
        let at = if *name == view.pod { NOW } else { NOW - before * 1_000_000 };
        member.registered_at = moment::rfc3339(at);
    }
    view
}

/// Whether a master comes back held back when its peers answer like this; and after how long.
fn held_back(view: View, answer: impl Fn(SocketAddr) -> Option<Answer>) -> (bool, Millis) {
    let disk = disk(&file(0, 200));
    let mut others = answers(disk, view);
    let (actions, after) = drive(cluster(), |action| match action {
        Action::Probe(at) => answer(*at).map(|answer| Fact::Probed { at: *at, answer }),
        other => others(other),
    });
    let conf = written(&actions);
    let peer = conf.node(plan().node_id(Ordinal(1))).unwrap();
    (peer.flags.contains(&Flag::PossiblyFailing), after)
}

#[test]
fn who_finds_none_of_those_that_run_takes_no_writes_until_it_has_met_one() {
    for answer in [Some(Answer::Nobody), Some(Answer::Silent), None] {
        assert!(held_back(running(60), |_| answer).0, "{answer:?}");
    }
}

#[test]
fn one_answer_is_enough_and_nobody_else_is_waited_for() {
    let one = |at: SocketAddr| (at.ip() == ip(13)).then_some(Answer::Unclear);
    assert_eq!(held_back(running(60), one), (false, Millis(0)));
}

#[test]
fn those_that_come_back_at_the_same_time_are_not_asked() {
    let nobody = |at| panic!("{at} is asked");
    assert_eq!(held_back(running(2), nobody), (false, Millis(0)));
    let mut unknown = running(60);
    unknown.members.get_mut("cache-4").unwrap().registered_at = String::new();
    assert_eq!(held_back(unknown, nobody), (false, Millis(0)));
}

#[test]
fn a_set_whose_pods_wait_for_each_others_readiness_is_not_held_up() {
    let mut ordered = running(60);
    ordered.parallel = false;
    let mut setup = cluster();
    setup.hold_back = HoldBack::Forbidden;
    let disk = disk(&file(0, 200));
    let (actions, _) = drive(setup, answers(disk, ordered));
    assert!(!actions.iter().any(|a| matches!(a, Action::Probe(_))), "{actions:?}");
}

/// Whoever starts before all others is in a minority until they come. If that is seen, it takes no
/// writes for a node timeout after they have.
#[test]
fn the_first_one_waits_for_a_second_one() {
    let run = |comes: Option<u64>, parallel: bool| {
        let alone = || {
            let mut view = running(0);
            view.parallel = parallel;
            view.members.retain(|name, _| *name == view.pod);
            view.pods.retain(|name, _| *name == view.pod);
            view
        };
        let mut setup = cluster();
        setup.hold_back = HoldBack::Allowed;
        let text = disk(&file(0, 200));
        let mut asked = 0;
        let (actions, after) = drive(setup, |action| {
            let view = match action {
                Action::Register(_) => {
                    asked += 1;
                    if comes.is_some_and(|n| asked > n) { running(0) } else { alone() }
                }
                _ => alone(),
            };
            answers(text.clone(), view)(action)
        });
        let conf = written(&actions);
        let peer = conf.node(plan().node_id(Ordinal(1))).unwrap();
        let stays = actions.iter().find_map(|a| match a {
            Action::Write { stays, .. } => Some(*stays),
            _ => None,
        });
        (peer.flags.contains(&Flag::PossiblyFailing), after, stays.unwrap())
    };
    assert_eq!(run(Some(3), true), (false, Millis(600), Millis(0)));
    assert_eq!(run(None, true), (true, Millis(10_000), Millis(0)), "nobody comes");
    assert_eq!(run(None, false), (true, Millis(0), Millis(0)), "the next one waits for this one");
}
