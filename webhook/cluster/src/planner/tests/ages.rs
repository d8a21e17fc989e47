//! How old what is on a disk is.

use super::*;

/// Found by the simulator: answers were lost, and of two replicas the one that had to try again seemed to
/// have the newer data.
#[test]
fn a_registration_that_is_tried_again_says_how_old_the_disk_is_by_then() {
    let stopped = Stopped { ago: 700, offset: 5, linked_ago: Some(900) };
    let disk = DiskSeen {
        nodes_conf: Some(file(0, 99).into_bytes()),
        data: true,
        written_ago: Some(800),
        stopped: Some(stopped),
        ..DiskSeen::default()
    };
    let mut tries = 0;
    let (actions, _) = drive(cluster(), |action| {
        Some(match action {
            Action::ReadDisk => Fact::Disk(disk.clone()),
            Action::Register(_) if tries < 3 => {
                tries += 1;
                Fact::RegistryFailed { why: "lost".to_owned(), retry: true }
            }
            Action::Register(_) => Fact::Registered(Box::new(view(&[0, 1, 2, 3, 4, 5]))),
            Action::Write { .. } => Fact::Written(Ok(())),
            Action::Report(_) => Fact::Reported(Ok(())),
            Action::Probe(at) => Fact::Probed { at: *at, answer: Answer::Nobody },
            _ => return None,
        })
    });
    let ages = |action: &Action| match action {
        Action::Register(r) => {
            let stopped = r.disk.stopped.as_ref()?;
            Some((r.disk.written_ago? - 800, stopped.ago - 700, stopped.linked_ago? - 900))
        }
        _ => None,
    };
    let ages: Vec<_> = actions.iter().filter_map(ages).collect();
    assert_eq!(ages.len(), 4, "{actions:?}");
    assert_eq!(ages[0], (0, 0, 0));
    assert!(ages.windows(2).all(|two| two[0].0 < two[1].0), "{ages:?}");
    assert!(ages.iter().all(|(a, b, c)| a == b && b == c), "{ages:?}");
}

/// A hundred members that began at once on two cores asked each other all the time: it was their own
/// questions that made the answers late.
#[test]
fn answers_that_took_long_are_used_and_those_that_lay_about_are_asked_for_again() {
    let mut weighing = Weighing::default();
    let asked = |weighing: &mut Weighing, now| {
        let mut poll = Poll::default();
        let done =
            weighing.look_around(Millis(now), BTreeSet::from([at(9).client().unwrap()]), &mut poll);
        (done, poll.actions.len())
    };
    assert_eq!(asked(&mut weighing, 0), (false, 1));
    assert_eq!(asked(&mut weighing, 200), (false, 0));
    weighing.inspected(at(9).client().unwrap(), Inspected::Nobody);
    // This step had no processor for so long.
    assert_eq!(asked(&mut weighing, 5_000), (true, 0));
    assert_eq!(asked(&mut weighing, 6_000), (true, 0), "the registry has been asked meanwhile");
    assert_eq!(asked(&mut weighing, 6_001), (false, 1));
    // Who does not answer in time is asked no more often.
    assert_eq!(asked(&mut weighing, 6_301), (true, 0));
    assert_eq!(asked(&mut weighing, 7_302), (false, 1));
}
