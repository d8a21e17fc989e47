//! All stop; all come back but for one master, or two of three. Those come later: one with the
//! disk that it had, after the others have taken new writes, one with an empty disk.

use std::time::{Duration, Instant};

use super::{CONTROL, count, decision, hooks, measured};
use crate::set::{Control, Measured, Set};

/// By when everything has to be writable: a node timeout, and the wait for a majority.
const PATIENCE: Duration = Duration::from_secs(40);

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
pub(crate) fn missing_master(set: &mut Set) -> Result<Measured, String> {
    let victim = set.a_master()?;
    let control = control(set, &[victim])?;
    let mut all = round(set, &[victim], &[], Disks::Kept)?;
    let victim = set.a_master()?;
    all.add(round(set, &[victim], &[victim], Disks::Lost)?);
    Ok(Measured { control: Some(control), ..all })
}

/// Two of three masters are missing: nobody could elect.
pub(crate) fn missing_two(set: &mut Set) -> Result<Measured, String> {
    let victims = two_masters(set)?;
    let control = control(set, &victims)?;
    let mut all = round(set, &victims, &victims[..1], Disks::Kept)?;
    let victims = two_masters(set)?;
    all.add(round(set, &victims, &victims[..1], Disks::Lost)?);
    Ok(Measured { control: Some(control), ..all })
}

fn two_masters(set: &Set) -> Result<Vec<usize>, String> {
    let masters = set.masters()?;
    masters.get(..2).map(<[usize]>::to_vec).ok_or_else(|| "there are no two masters".to_owned())
}

/// The same without the hook: it stays down. All are there again afterwards.
fn control(set: &mut Set, victims: &[usize]) -> Result<Control, String> {
    set.fill()?;
    set.kill(|_| true)?;
    set.swap_addresses();
    let outcomes = set.start_but(victims, &[])?;
    outcomes.iter().try_for_each(|o| decision(o).map(|_| ()))?;
    let recovered = usize::from(set.writable(&outcomes, CONTROL).is_ok());
    for victim in victims {
        decision(&set.start_one(*victim)?)?;
    }
    set.write_all()?;
    set.wait_until_whole()?;
    Ok(Control { word: "recovered", what: "without Mooring's hook", value: recovered, bound: 0 })
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
    for outcome in &outcomes {
        println!("      {}", decision(outcome)?);
    }
    let others: Vec<usize> = (0..set.members.len()).filter(|n| !victims.contains(n)).collect();
    let hooks = hooks(set, &others);
    let writable = set.writable(&outcomes, PATIENCE);
    let heirs = count(hooks, "Succeeded")?;
    let seconds = writable?;
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
        let said = decision(&outcome)?;
        println!("      {} comes back: {:?}", victim, outcome.reports.last());
        let expected: &[&str] = match disks {
            Disks::Kept => &["SteppedDown"],
            Disks::Lost => &["Rejoined", "Rebuilt"],
        };
        if !expected.contains(&said) {
            return Err(format!("who comes back says {said}"));
        }
    }
    set.wait_until_whole()?;
    let whole = began.elapsed().as_secs_f64();
    lost = lost.max(set.lost(&before)?).max(set.lost(&since)?);
    Ok(measured(seconds, lost, whole, None))
}
