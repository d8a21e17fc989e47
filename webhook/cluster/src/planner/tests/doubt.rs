//! Disks of which something can not be relied on.

use super::*;
use crate::protocol::Identity;

fn marked(namespace: &str) -> Mark {
    Mark {
        namespace: namespace.to_owned(),
        name: "cache".to_owned(),
        salt: "salt".to_owned(),
        node_id: plan().node_id(Ordinal(0)),
    }
}

fn identity(ordinal: u32) -> Identity {
    NodesConf::parse(file(ordinal, 99).as_bytes()).unwrap().identity().unwrap()
}

/// What the record said of this pod before: an id, and whose mark was beside it.
fn before(ordinal: u32, mark: Option<Mark>) -> Member {
    let disk = Disk {
        identity: Some(identity(ordinal)),
        data: true,
        keeps: true,
        mark,
        ..Disk::default()
    };
    Member { disk, pod_uid: "uid-of-the-pod-before".to_owned(), ..member(0, 99) }
}

/// Drives a planner whose disk is read with these doubts.
fn run(
    seen: &DiskSeen,
    view: Option<&View>,
    mut doubts: impl FnMut() -> Vec<Doubt>,
) -> Vec<Action> {
    let mut planner = Planner::new(cluster());
    let mut now = Millis(0);
    let mut done = Vec::new();
    for _ in 0..10_000 {
        let poll = planner.poll(now);
        if poll.actions.is_empty() {
            now = poll.wake.expect("the planner waits for nothing");
        }
        for action in poll.actions {
            match &action {
                Action::ReadDisk => {
                    for doubt in doubts() {
                        planner.observe(now, Fact::Doubt(doubt));
                    }
                    planner.observe(now, Fact::Disk(seen.clone()));
                }
                Action::Register(_) => planner.observe(
                    now,
                    match view {
                        Some(view) => Fact::Registered(Box::new(view.clone())),
                        None => Fact::RegistryFailed { why: "away".to_owned(), retry: true },
                    },
                ),
                Action::Write { .. } => planner.observe(now, Fact::Written(Ok(()))),
                Action::Report(_) => planner.observe(now, Fact::Reported(Ok(()))),
                Action::Resolve => planner.observe(now, Fact::Resolved(Vec::new())),
                Action::Probe(at) => {
                    planner.observe(now, Fact::Probed { at: *at, answer: Answer::Nobody });
                }
                Action::Inspect(at) => {
                    planner.observe(now, Fact::Inspected { at: *at, answer: Inspected::Nobody });
                }
                _ => {}
            }
            let last = matches!(action, Action::Start(_) | Action::Refuse(_));
            done.push(action);
            if last {
                return done;
            }
        }
    }
    panic!("no end: {done:?}");
}

fn unreadable() -> Vec<Doubt> {
    vec![Doubt::Mark("it is no JSON".to_owned())]
}

#[test]
fn a_mark_that_can_not_be_read_is_not_no_mark() {
    let damaged = disk(&file(0, 99).replace("myself,", "myself,what,"));
    let orphaned = DiskSeen { nodes_conf: None, ..disk("") };
    for seen in [disk(&file(0, 99)), damaged, orphaned] {
        for view in [None, Some(view(&[0, 1]))] {
            let actions = run(&seen, view.as_ref(), unreadable);
            let why = refusal(&actions);
            assert!(why.contains("it is no JSON") && why.contains("delete .mooring.json"), "{why}");
            assert!(!actions.iter().any(|a| matches!(a, Action::Write { .. })));
        }
    }
    // Without anything that could be somebody else's, nothing is at stake.
    let actions = run(&DiskSeen::default(), Some(&view(&[1])), unreadable);
    assert!(matches!(actions.last(), Some(Action::Start(None))), "{actions:?}");
}

#[test]
fn a_record_that_knows_the_disk_by_its_mark_answers_for_it() {
    let with = |before: Member| {
        let mut view = view(&[0, 1]);
        view.before = Some(before);
        run(&disk(&file(0, 99)), Some(&view), unreadable)
    };
    let actions = with(before(0, Some(marked("shop"))));
    let Some(Action::Write { mark: Some(mark), .. }) =
        actions.iter().find(|a| matches!(a, Action::Write { .. }))
    else {
        panic!("{actions:?}")
    };
    assert_eq!(*mark, marked("shop"), "the mark is written anew");

    // Neither another id, nor another set's mark, nor an entry without a mark proves it.
    for other in
        [before(1, Some(marked("shop"))), before(0, Some(marked("elsewhere"))), before(0, None)]
    {
        assert!(refusal(&with(other)).contains("delete .mooring.json"));
    }
}

#[test]
fn a_lock_is_waited_for_until_the_pod_before_is_known_to_have_ended() {
    let locked = || vec![Doubt::Locked];
    let mut view = view(&[0, 1]);
    view.before = Some(before(0, None));

    // It was seen to end: the lock was left behind.
    let actions = run(&disk(&file(0, 99)), Some(&view), locked);
    assert!(matches!(actions.last(), Some(Action::Start(_))), "{actions:?}");
    assert_eq!(actions.iter().filter(|a| **a == Action::ReadDisk).count(), 1);

    // It was deleted by force, and goes on for five seconds.
    view.predecessor_ended = false;
    let mut looks = 0;
    let actions = run(&disk(&file(0, 99)), Some(&view), || {
        looks += 1;
        if looks <= 5 { locked() } else { Vec::new() }
    });
    assert!(matches!(actions.last(), Some(Action::Start(_))), "{actions:?}");
    let last_look = actions.iter().rposition(|a| *a == Action::ReadDisk).unwrap();
    let registered = actions[last_look..].iter().any(|a| matches!(a, Action::Register(_)));
    assert!(registered, "what the server wrote at its end is told to the others");

    // It goes on for good, as far as anybody knows; this pod's own entry proves nothing.
    let mut again = view.clone();
    again.before = Some(member(0, 10));
    again.predecessor_ended = true;
    for view in [None, Some(&view), Some(&again)] {
        let actions = run(&disk(&file(0, 99)), view, locked);
        assert!(refusal(&actions).contains("holds the lock on nodes.conf"), "{actions:?}");
        assert!(!actions.iter().any(|a| matches!(a, Action::Write { .. })));
    }
}
