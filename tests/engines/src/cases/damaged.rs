//! One member's nodes.conf is damaged, in one way after the other.

use std::fs;
use std::thread;

use super::{RETRIES, nobody_refuses};
use crate::disk;
use crate::set::{Measured, Set};

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

/// Each damage once: by turns to a master and to a replica, and by turns in an outage of all and
/// while the others run. The slowest of the starts, and all keys that were lost.
pub(super) fn run(set: &mut Set) -> Result<Measured, String> {
    let mut all = Measured::NOTHING;
    for (n, (what, damage)) in DAMAGES.iter().enumerate() {
        let (victim, outage) = (n % set.members.len(), n % 2 == 0);
        let once = once(set, victim, outage, *damage);
        let (said, measured) = once.map_err(|why| format!("{what}: {why}"))?;
        let scene = if outage { "outage" } else { "alone" };
        println!("      {what}, member {victim}, {scene}: {said}, {:.2} s", measured.seconds);
        all.add(measured);
    }
    Ok(all)
}

fn once(
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
