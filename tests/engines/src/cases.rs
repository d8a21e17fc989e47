//! What is done to a set, and what has to come of it.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::disk;
use crate::member::Outcome;
use crate::set::{MEMBERS, Measured, Set};

/// A case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Case {
    /// Six members begin on empty disks.
    Form,
    /// All are killed and come back at once, each with another one's address.
    OutageParallel,
    /// The same, but they come back one after the other.
    OutageOrdered,
    /// One member's nodes.conf is damaged, in one way after the other.
    Damaged,
    /// All disks are emptied.
    Empty,
}

/// All of them. Each begins with the set as the one before has left it.
pub(crate) const CASES: [Case; 5] =
    [Case::Form, Case::OutageParallel, Case::OutageOrdered, Case::Damaged, Case::Empty];

/// A damage to nodes.conf.
type Damage = (&'static str, fn(&[u8]) -> Vec<u8>);

/// Those that are done. None leaves a file that still says everything.
const DAMAGES: [Damage; 10] = [
    ("cut in half", |b| b.get(..b.len() / 2).unwrap_or_default().to_vec()),
    ("cut within the first line", |b| b.get(..60).unwrap_or_default().to_vec()),
    ("the last line without its end", |b| {
        b.get(..b.len().saturating_sub(12)).unwrap_or_default().to_vec()
    }),
    ("zero bytes from the middle on", |b| zeroed(b, b.len() / 2, b.len())),
    ("zero bytes throughout", |b| zeroed(b, 0, b.len())),
    ("a hole of zero bytes", |b| zeroed(b, b.len() / 4, b.len() / 4 + 100)),
    ("no line of its own", |b| without(b, "myself")),
    ("noise in the middle", |b| noisy(b, b.len() / 2, b.len() / 2 + 150)),
    ("the first line without its head", |b| b.get(30..).unwrap_or_default().to_vec()),
    ("an empty file", |_| Vec::new()),
];

/// When a step that has refused is started again; the kubelet's first pauses are longer.
const RETRIES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

// === impl Case ===

impl Case {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::OutageParallel => "outage-parallel",
            Self::OutageOrdered => "outage-ordered",
            Self::Damaged => "damaged",
            Self::Empty => "empty",
        }
    }

    /// Does it to the set.
    pub(crate) fn run(self, set: &mut Set) -> Result<Measured, String> {
        match self {
            Self::Form => {
                let outcomes = set.start_all()?;
                all_are(&outcomes, "Bootstrapped")?;
                later_knows_earlier(set.measure(&outcomes, None)?)
            }
            Self::OutageParallel | Self::OutageOrdered => {
                let name = set.fill()?;
                set.kill(|_| true)?;
                set.swap_addresses();
                let outcomes = match self {
                    Self::OutageOrdered => set.start_in_order()?,
                    _ => set.start_all()?,
                };
                nobody_refuses(&outcomes)?;
                later_knows_earlier(set.measure(&outcomes, Some(&name))?)
            }
            Self::Damaged => damaged(set),
            Self::Empty => {
                set.fill()?;
                set.kill(|_| true)?;
                for member in &set.members {
                    member.wipe()?;
                }
                set.swap_addresses();
                let outcomes = set.start_all()?;
                all_are(&outcomes, "Bootstrapped")?;
                later_knows_earlier(set.measure(&outcomes, None)?)
            }
        }
    }
}

/// Of any two members the later one has to know where the earlier one is: then one of the two
/// greets the other. Where neither does, the cluster falls apart a node-timeout after it was
/// writable, and heals late or never.
fn later_knows_earlier(measured: Measured) -> Result<Measured, String> {
    let pairs = usize::from(MEMBERS) * usize::from(MEMBERS - 1) / 2;
    if measured.unknown > pairs {
        return Err(format!(
            "{} addresses were unknown at the start, and of {pairs} pairs of members the later one \
             has to know the earlier one's: writable after {:.2} s, whole only after {:.2} s",
            measured.unknown, measured.seconds, measured.whole
        ));
    }
    Ok(measured)
}

/// Each damage once: by turns to a master and to a replica, and by turns in an outage of all and
/// while the others run. The slowest of the starts, and all keys that were lost.
fn damaged(set: &mut Set) -> Result<Measured, String> {
    let mut all = Measured { seconds: 0.0, lost: 0, whole: 0.0, unknown: 0, told: 0 };
    for (n, (what, damage)) in DAMAGES.iter().enumerate() {
        let (victim, outage) = (n % set.members.len(), n % 2 == 0);
        let once = damaged_once(set, victim, outage, *damage);
        let (said, measured) = once.map_err(|why| format!("{what}: {why}"))?;
        let scene = if outage { "outage" } else { "alone" };
        println!("      {what}, member {victim}, {scene}: {said}, {:.2} s", measured.seconds);
        all.seconds = all.seconds.max(measured.seconds);
        all.whole = all.whole.max(measured.whole);
        all.lost += measured.lost;
        all.unknown += measured.unknown;
        all.told += measured.told;
    }
    Ok(all)
}

fn damaged_once(
    set: &mut Set,
    victim: usize,
    outage: bool,
    damage: fn(&[u8]) -> Vec<u8>,
) -> Result<(String, Measured), String> {
    let name = set.fill()?;
    set.kill(|n| outage || n == victim)?;
    let path = set.members.get(victim).ok_or("there is no such member")?.nodes_conf();
    let before = disk::read(&path)?.unwrap_or_default();
    let write = |bytes: &[u8]| {
        fs::write(&path, bytes).map_err(|e| format!("{} can not be written: {e}", path.display()))
    };
    write(&damage(&before))?;
    let mut outcomes = if outage { set.start_all()? } else { vec![set.start_one(victim)?] };
    let at = if outage { victim } else { 0 };
    let outcome = outcomes.get_mut(at).ok_or("the member has no outcome")?;
    let mut said = String::new();
    for pause in RETRIES {
        let Some(why) = &outcome.refused else { break };
        if said.is_empty() {
            said = format!("Refused ({why}), then ");
        }
        thread::sleep(pause);
        *outcome = set.start_again(victim)?;
    }
    if outcome.refused.is_some() {
        said.push_str("its file from before: ");
        // What a person would do: put the file back.
        write(&before)?;
        *outcome = set.start_again(victim)?;
    }
    match outcome.reports.last() {
        Some((reason, message)) => said.push_str(&format!("{reason} ({message})")),
        None => return Err("the server was started and nothing was said of the damage".to_owned()),
    }
    nobody_refuses(&outcomes)?;
    let mut measured = set.measure(&outcomes, Some(&name))?;
    // Whoever was down may have been a replica then and serve now.
    measured.lost = measured.lost.max(set.lost(&name)?);
    Ok((said, measured))
}

fn nobody_refuses(outcomes: &[Outcome]) -> Result<(), String> {
    match outcomes.iter().find_map(|o| o.refused.as_ref()) {
        Some(why) => Err(format!("a step refuses: {why}")),
        None => Ok(()),
    }
}

fn all_are(outcomes: &[Outcome], reason: &str) -> Result<(), String> {
    nobody_refuses(outcomes)?;
    let other = outcomes.iter().find(|o| !o.reports.iter().any(|(r, _)| r == reason));
    match other {
        Some(other) => Err(format!("a step was not {reason} but says {:?}", other.reports)),
        None => Ok(()),
    }
}

fn zeroed(bytes: &[u8], from: usize, to: usize) -> Vec<u8> {
    let zero = |(n, byte): (usize, &u8)| if (from..to).contains(&n) { 0 } else { *byte };
    bytes.iter().enumerate().map(zero).collect()
}

/// The same bytes with their highest bit set: text no more.
fn noisy(bytes: &[u8], from: usize, to: usize) -> Vec<u8> {
    let noise =
        |(n, byte): (usize, &u8)| if (from..to).contains(&n) { *byte | 0x80 } else { *byte };
    bytes.iter().enumerate().map(noise).collect()
}

fn without(bytes: &[u8], word: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    text.split_inclusive('\n').filter(|line| !line.contains(word)).collect::<String>().into_bytes()
}
