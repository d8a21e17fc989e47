//! All stop; all come back but for one master, or two of three. Those come later: with the disk that
//! they had, after the others have taken new writes, or with an empty disk.
//!
//! Guarantees: in the control the others have their steps and no hook names an heir: slots stay without
//! an owner, and with an empty disk also when those have come back. Who comes back is a replica.

use std::time::{Duration, Instant};

use super::hook::{self, Hook};
use super::{HANGS, formed};
use crate::cases::nobody_refuses;
use crate::client::PASSWORD;
use crate::member::Outcome;
use crate::set::{Control, Measured, Set, Shape};

/// By when everything has to be writable: a node timeout, and the wait for a majority.
const PATIENCE: Duration = Duration::from_secs(40);

/// How many masters are missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Masters {
    /// One: the other two could elect.
    One,
    /// Two of three: nobody could.
    Two,
}

/// What becomes of the disks of those that come later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Disks {
    /// They are as they were.
    Kept,
    /// They are lost.
    Lost,
}

/// What is special about the pod of a missing one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pod {
    /// It is not there.
    Absent,
    /// It is there, and no machine takes it.
    Pending,
}

/// Who is missing in a round, each with its pod and what becomes of its disk.
type Round = Vec<(Pod, Disks)>;

/// The slowest of the rounds, and all keys that were lost in them.
pub(super) fn run(beside: &Set, masters: Masters, disks: Disks) -> Result<Measured, String> {
    let control = control(beside, masters, disks).map_err(|why| format!("control: {why}"))?;
    let mut set = formed(beside, &format!("missing-{masters:?}-{disks:?}"), Shape::USUAL)?;
    let mut all = Measured::NOTHING;
    for missing in rounds(masters, disks) {
        let once = round(&mut set, &missing).map_err(|why| format!("{missing:?}: {why}"))?;
        println!("      {missing:?}: {:.2} s, {} lost", once.seconds, once.lost);
        all.add(once);
    }
    Ok(Measured { control: Some(control), ..all })
}

fn rounds(masters: Masters, disks: Disks) -> Vec<Round> {
    let both = vec![(Pod::Pending, disks), (Pod::Absent, disks)];
    match (masters, disks) {
        (Masters::One, _) => vec![vec![(Pod::Absent, disks)], vec![(Pod::Pending, disks)]],
        (Masters::Two, Disks::Kept) => vec![both],
        (Masters::Two, Disks::Lost) => {
            vec![both, vec![(Pod::Pending, Disks::Kept), (Pod::Absent, Disks::Lost)]]
        }
    }
}

fn masters_of(set: &Set, n: usize) -> Result<Vec<usize>, String> {
    let masters = set.masters()?;
    masters.get(..n).map(<[usize]>::to_vec).ok_or_else(|| format!("there are not {n} masters"))
}

/// The same without the hook: it stays down. With an empty disk also when the server of that one runs.
fn control(beside: &Set, masters: Masters, disks: Disks) -> Result<Control, String> {
    let folder = format!("missing-{masters:?}-{disks:?}-control");
    let mut set = formed(beside, &folder, Shape::USUAL)?;
    let missing = match masters {
        Masters::One => 1,
        Masters::Two => 2,
    };
    let victims = masters_of(&set, missing)?;
    set.fill()?;
    set.kill(|_| true)?;
    set.swap_addresses();
    nobody_refuses(&set.start_but(&victims, &[])?)?;
    if disks == Disks::Lost {
        for victim in victims {
            set.members.get(victim).ok_or("there is no such member")?.wipe()?;
            set.launch(victim)?;
        }
    }
    match set.wait_for_masters(HANGS) {
        Ok(()) => {
            Err("all slots are writable without Mooring, so the case shows nothing".to_owned())
        }
        Err(_) => Ok(Control::Hangs),
    }
}

/// An outage, and what comes after it.
fn round(set: &mut Set, missing: &Round) -> Result<Measured, String> {
    let victims = masters_of(set, missing.len())?;
    let those = || victims.iter().copied().zip(missing.iter().copied());
    let pending = those().filter(|(_, (pod, _))| *pod == Pod::Pending).map(|(n, _)| n);
    let pending: Vec<usize> = pending.collect();
    let before = set.fill()?;
    set.kill(|_| true)?;
    set.swap_addresses();
    let outcomes = set.start_but(&victims, &pending)?;
    nobody_refuses(&outcomes)?;
    let last = outcomes.iter().filter_map(|o| o.started).max().ok_or("nobody was started")?;
    let members = set.members.iter().enumerate().filter(|(n, _)| !victims.contains(n));
    let hooks: Vec<Hook> =
        members.map(|(_, m)| hook::start(&set.common, &m.pod, m.address(), PASSWORD)).collect();
    let servers = set.addresses();
    let writable = set.writable_at(&servers, PATIENCE);
    let heirs = heirs(hooks)?;
    let writable = writable.map_err(|why| format!("{why}; of the hooks {heirs} have succeeded"))?;
    if heirs != victims.len() {
        return Err(format!("{heirs} heirs have reported for {} masters", victims.len()));
    }
    let mut lost = set.lost(&before)?;
    // What they write now is newer than what the missing ones have.
    let (_, since) = set.write_all()?;
    let began = Instant::now();
    for (victim, (_, disks)) in those() {
        if disks == Disks::Lost {
            set.members.get(victim).ok_or("there is no such member")?.wipe()?;
        }
        let outcome = set.start_one(victim)?;
        nobody_refuses(std::slice::from_ref(&outcome))?;
        must_say(&outcome, disks)?;
    }
    set.wait_until_whole()?;
    if let Some(victim) = set.masters()?.iter().find(|n| victims.contains(n)) {
        return Err(format!("member {victim} was succeeded, comes back, and is a master"));
    }
    let whole = began.elapsed().as_secs_f64();
    lost = lost.max(set.lost(&before)?).max(set.lost(&since)?);
    let seconds = writable.saturating_duration_since(last).as_secs_f64();
    Ok(Measured { seconds, lost, whole, ..Measured::NOTHING })
}

/// Who comes back after it was succeeded says so.
fn must_say(outcome: &Outcome, disks: Disks) -> Result<(), String> {
    let expected: &[&str] = match disks {
        Disks::Kept => &["SteppedDown"],
        Disks::Lost => &["Rejoined", "Rebuilt", "Yielded"],
    };
    match outcome.reports.last() {
        Some((said, _)) if expected.contains(&said.as_str()) => Ok(()),
        other => Err(format!("who comes back says {other:?} ({disks:?})")),
    }
}

/// Waits for the hooks: how many have made their server the heir.
fn heirs(hooks: Vec<Hook>) -> Result<usize, String> {
    let mut heirs = 0;
    for hook in hooks {
        for (said, message) in hook.join().map_err(|_| "a hook panicked")?? {
            println!("      {said}: {message}");
            heirs += usize::from(said == "Succeeded");
        }
    }
    Ok(heirs)
}
