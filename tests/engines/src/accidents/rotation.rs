//! A rotation of passwords that has both for a while: three rollouts, and three back.
//!
//! Guarantees: after every single restart all links are up, the cluster is whole by everybody's word, and
//! the same members own slots; post-start, which shows the password of its own pod to the others, has
//! nothing to do or to say. In the control the password is another one at once, and the first pod that is
//! restarted gets no link.

use std::thread;
use std::time::Duration;

use cluster::id::NodeId;

use super::passwords::{held, owners_in, replicas, rolled};
use super::{EMPTIED, formed, hook};
use crate::client::{Client, PASSWORD};
use crate::member::Door;
use crate::set::{Control, Measured, Set, Shape};

const NEW: &str = "changed";

/// What each rollout gives all members: both are let in, then the new one is shown, then the old one is
/// taken away; and back, so that the cases after it find the set as it was.
const ROLLOUTS: [Door; 6] = [
    Door::Both { shows: PASSWORD, other: NEW },
    Door::Both { shows: NEW, other: PASSWORD },
    Door::Other(NEW),
    Door::Both { shows: NEW, other: PASSWORD },
    Door::Both { shows: PASSWORD, other: NEW },
    Door::Locked,
];

/// The slowest of all restarts.
pub(super) fn run(beside: &Set) -> Result<Measured, String> {
    let control = control(beside).map_err(|why| format!("control: {why}"))?;
    let mut set = formed(beside, "rotation", Shape::USUAL)?;
    let name = set.fill()?;
    let before = owners(&set, 0)?;
    let mut slowest = Duration::ZERO;
    for (rollout, door) in ROLLOUTS.into_iter().enumerate() {
        for n in (0..set.members.len()).rev() {
            let took = restarted(&mut set, n, door)
                .map_err(|why| format!("rollout {}, member {n}: {why}", rollout + 1))?;
            slowest = slowest.max(took);
            let after = owners(&set, n)?;
            if after != before {
                return Err(format!(
                    "somebody was promoted: {before:?} owned slots, now {after:?}"
                ));
            }
        }
    }
    set.wait_until_whole()?;
    let lost = set.lost(&name)?;
    let seconds = slowest.as_secs_f64();
    Ok(Measured { seconds, whole: seconds, lost, control: Some(control), ..Measured::NOTHING })
}

/// Without a time in which both are let in the first replica gets no link.
fn control(beside: &Set) -> Result<Control, String> {
    let mut set = formed(beside, "rotation-control", Shape::USUAL)?;
    let first = *replicas(&set)?.last().ok_or("nobody is a replica")?;
    held(&mut rolled(&mut set, first)?).map(|()| Control::Unlinked)
}

/// A member is restarted behind this door; how long until all is well again.
fn restarted(set: &mut Set, n: usize, door: Door) -> Result<Duration, String> {
    let member = set.members.get_mut(n).ok_or("there is no such member")?;
    member.door = door;
    let (pod, at) = (member.pod.clone(), member.address());
    let began = set.restart_in_place(n)?;
    let hook = hook::start(&set.common, &pod, at, shows(door));
    let whole = loop {
        match (0..set.members.len()).try_for_each(|n| is_well(set, n)) {
            Ok(()) => break began.elapsed(),
            Err(why) if began.elapsed() > EMPTIED => return Err(why),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    };
    let reports = hook.join().map_err(|_| "the hook panicked")??;
    match reports.is_empty() {
        true => Ok(whole),
        false => Err(format!("the hook has something to say of it: {reports:?}")),
    }
}

/// Whether a member is in its cluster, and linked if it is a replica.
fn is_well(set: &Set, n: usize) -> Result<(), String> {
    let mut server = open(set, n)?;
    let state = server.text(&["CLUSTER", "INFO"])?;
    if !state.contains("cluster_state:ok") {
        return Err(format!("the cluster is not ok by member {n}'s word"));
    }
    let said = server.info("replication")?;
    let is = |name: &str, value: &str| said.get(name).is_some_and(|v| v == value);
    match is("role", "slave") && !is("master_link_status", "up") {
        true => Err(format!("member {n} has no link")),
        false => Ok(()),
    }
}

/// Who owns slots, by a member's word.
fn owners(set: &Set, n: usize) -> Result<Vec<NodeId>, String> {
    owners_in(&open(set, n)?.text(&["CLUSTER", "NODES"])?)
}

fn open(set: &Set, n: usize) -> Result<Client, String> {
    let member = set.members.get(n).ok_or("there is no such member")?;
    Client::connect_by(member.address(), shows(member.door), EMPTIED)
}

/// The password that a member shows to others, which lets one in as well.
fn shows(door: Door) -> &'static str {
    match door {
        Door::Locked | Door::Open => PASSWORD,
        Door::Other(password) | Door::Both { shows: password, .. } => password,
    }
}
