//! All stop; all come back but for one master, or two of three. Those come later: one with the
//! disk that it had, after the others have taken new writes, one with an empty disk.

use std::time::{Duration, Instant};

use super::hook::{self, Hook};
use crate::cases::nobody_refuses;
use crate::member::Outcome;
use crate::set::{Control, Measured, SHARDS, Set};

/// By when everything has to be writable: a node timeout, and the wait for a majority.
const PATIENCE: Duration = Duration::from_secs(40);
/// So long the control is looked at: an engine that heals does within two node timeouts.
const CONTROL: Duration = Duration::from_secs(15);

/// What becomes of the disks of those that come later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Disks {
    /// They are as they were.
    Kept,
    /// They are lost.
    Lost,
}

/// One master is missing: once its pod is not there and it comes back with its disk, once no
/// machine takes its pod and it comes back empty.
pub(crate) fn one(beside: &Set) -> Result<Measured, String> {
    let mut set = formed(beside, "missing-one")?;
    let control = control(&mut set, 1).map_err(|why| format!("control: {why}"))?;
    let victims = masters(&set, 1)?;
    let mut all = round(&mut set, &victims, &[], Disks::Kept)?;
    let victims = masters(&set, 1)?;
    all.add(round(&mut set, &victims, &victims, Disks::Lost)?);
    Ok(Measured { control: Some(control), ..all })
}

/// Two of three masters are missing: nobody could elect.
pub(crate) fn two(beside: &Set) -> Result<Measured, String> {
    let mut set = formed(beside, "missing-two")?;
    let control = control(&mut set, 2).map_err(|why| format!("control: {why}"))?;
    let victims = masters(&set, 2)?;
    let first = victims.get(..1).unwrap_or_default();
    let mut all = round(&mut set, &victims, first, Disks::Kept)?;
    let victims = masters(&set, 2)?;
    let first = victims.get(..1).unwrap_or_default();
    all.add(round(&mut set, &victims, first, Disks::Lost)?);
    Ok(Measured { control: Some(control), ..all })
}

fn formed(beside: &Set, folder: &str) -> Result<Set, String> {
    let mut set = beside.beside_in(folder, SHARDS)?;
    let outcomes = set.start_all()?;
    set.measure(&outcomes, None)?;
    Ok(set)
}

fn masters(set: &Set, n: usize) -> Result<Vec<usize>, String> {
    let masters = set.masters()?;
    masters.get(..n).map(<[usize]>::to_vec).ok_or_else(|| format!("there are not {n} masters"))
}

/// The same without the hook: it stays down. All are there again afterwards, and some of those that
/// were masters may be replicas: the engines elect as soon as one has met its master again.
fn control(set: &mut Set, missing: usize) -> Result<Control, String> {
    let victims = masters(set, missing)?;
    set.fill()?;
    set.kill(|_| true)?;
    set.swap_addresses();
    nobody_refuses(&set.start_but(&victims, &[])?)?;
    if set.wait_for_masters(CONTROL).is_ok() {
        return Err("all slots are writable without Mooring, so the case shows nothing".to_owned());
    }
    for victim in victims {
        nobody_refuses(&[set.start_one(victim)?])?;
    }
    set.write_all()?;
    set.wait_until_whole()?;
    Ok(Control::Hangs)
}

/// An outage; the pods of `pending` are there, and no machine takes them.
fn round(
    set: &mut Set,
    victims: &[usize],
    pending: &[usize],
    disks: Disks,
) -> Result<Measured, String> {
    let before = set.fill()?;
    set.kill(|_| true)?;
    set.swap_addresses();
    let outcomes = set.start_but(victims, pending)?;
    nobody_refuses(&outcomes)?;
    let last = outcomes.iter().filter_map(|o| o.started).max().ok_or("nobody was started")?;
    let members = set.members.iter().enumerate().filter(|(n, _)| !victims.contains(n));
    let hooks: Vec<Hook> =
        members.map(|(_, m)| hook::start(&set.common, &m.pod, m.address())).collect();
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
    for victim in victims {
        if disks == Disks::Lost {
            set.members.get(*victim).ok_or("there is no such member")?.wipe()?;
        }
        let outcome = set.start_one(*victim)?;
        nobody_refuses(std::slice::from_ref(&outcome))?;
        must_say(&outcome, disks)?;
    }
    set.wait_until_whole()?;
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
