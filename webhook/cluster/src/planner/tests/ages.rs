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
