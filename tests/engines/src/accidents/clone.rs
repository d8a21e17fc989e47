//! A copy of all disks is started beside the running original. Then a member of the copy gets the
//! address of a dead member of the original, and the other way round.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cluster::secret::Source;

use super::{
    ELECTED, ELECTED_AT_LAST, EMPTIED, FREE_NODE, formed_open, hooks, keys, must_lose, replica_of,
    secret, with_the_secret,
};
use crate::cases::nobody_refuses;
use crate::client::Client;
use crate::set::{Control, Measured, Set};

/// Where the copy's servers listen: in the same nodes' namespaces, so at addresses of their own.
const PORT: u16 = 7379;
/// And where the members go whose addresses are taken.
const FREE_PORTS: [u16; 2] = [8379, 9379];

/// The slower of the two directions, and all keys that were lost in either set.
pub(super) fn run(beside: &Set) -> Result<Measured, String> {
    let control = control(beside).map_err(|why| format!("control: {why}"))?;
    let mut original = formed_open(beside, "original", |_| {})?;
    let name = original.fill()?;
    let mut copy = original.copied("copy", PORT)?;
    let outcomes = copy.start_all()?;
    nobody_refuses(&outcomes)?;
    let mut all = copy.measure(&outcomes, Some(&name))?;
    with_the_secret(&original, ['a', 'b'])?;
    with_the_secret(&copy, ['c', 'd'])?;
    let [first, second] = FREE_PORTS;
    all.add(takes_over(&mut original, &mut copy, ['b', 'd'], first)?);
    all.add(takes_over(&mut copy, &mut original, ['d', 'b'], second)?);
    Ok(Measured { control: Some(control), ..all })
}

/// A master of `victims` dies, and a master of `others` comes back at its address.
fn takes_over(
    victims: &mut Set,
    others: &mut Set,
    [own, theirs]: [char; 2],
    free: u16,
) -> Result<Measured, String> {
    // Each has keys that the other one has not.
    let (before, others_before) = (victims.fill()?, others.fill()?);
    let victim = victims.a_master()?;
    let other = others.a_master()?;
    let heir = replica_of(victims, victim)?;
    let full = keys(heir)?;
    let place = victims.members.get(victim).map(|m| (m.at, m.port)).ok_or("no such member")?;
    victims.kill(|n| n == victim)?;
    others.kill(|n| n == other)?;
    let began = Instant::now();
    move_to(others, other, place)?;
    come_back(others, other, theirs)?;
    let servers = victims.addresses();
    let elected = victims.writable_at(&servers, ELECTED);
    let left = keys(heir)?;
    if left < full {
        return Err(format!("{heir} had {full} keys and has {left}: it has copied the other set"));
    }
    move_to(victims, victim, (FREE_NODE, free))?;
    come_back(victims, victim, own)?;
    victims.wait_until_whole()?;
    others.wait_until_whole()?;
    let whole = began.elapsed().as_secs_f64();
    let (a, b) = (ids(victims)?, ids(others)?);
    if let Some(both) = a.intersection(&b).next() {
        return Err(format!("{both} is a member of both sets"));
    }
    let lost = victims.lost(&before)?.max(others.lost(&others_before)?);
    let seconds = elected.map_or(whole, |at| at.saturating_duration_since(began).as_secs_f64());
    Ok(Measured { seconds, whole, lost, ..Measured::NOTHING })
}

fn move_to(set: &mut Set, n: usize, (at, port): (u8, u16)) -> Result<(), String> {
    let member = set.members.get_mut(n).ok_or("there is no such member")?;
    (member.at, member.port) = (at, port);
    Ok(())
}

/// A member's pod, with its hooks.
fn come_back(set: &mut Set, n: usize, key: char) -> Result<(), String> {
    nobody_refuses(&[set.start_one(n)?])?;
    let member = set.members.get_mut(n).ok_or("there is no such member")?;
    member.wait_for_answer(EMPTIED)?;
    let at = member.address();
    hooks::look(at)?;
    hooks::settle(at, &secret(key)?, Source::Kept)
}

/// The ids that a set's members know, which have to be the same to all of them.
fn ids(set: &Set) -> Result<BTreeSet<String>, String> {
    let mut all = BTreeSet::new();
    for at in set.addresses() {
        let nodes = Client::connect(at, EMPTIED)?.text(&["CLUSTER", "NODES"])?;
        all.extend(nodes.lines().filter_map(|l| l.split(' ').next()).map(str::to_owned));
    }
    match all.len() {
        n if n == set.members.len() => Ok(all),
        n => Err(format!("the members know {n} nodes together")),
    }
}

/// The copy is started as it is, with the addresses set by hand and the ids of the original.
fn control(beside: &Set) -> Result<Control, String> {
    let mut original = formed_open(beside, "original-control", |_| {})?;
    original.fill()?;
    let mut copy = original.copied("copy-control", PORT)?;
    for n in 0..copy.members.len() {
        readdress(&copy.members.get(n).ok_or("there is no such member")?.nodes_conf())?;
        copy.launch(n)?;
    }
    let servers = copy.addresses();
    copy.writable_at(&servers, ELECTED_AT_LAST)?;
    // What the original takes from here on the copy does not have.
    original.fill()?;
    let victim = original.a_master()?;
    let heir = replica_of(&original, victim)?;
    let full = keys(heir)?;
    let place = original.members.get(victim).map(|m| (m.at, m.port)).ok_or("no such member")?;
    original.kill(|n| n == victim)?;
    copy.kill(|n| n == victim)?;
    move_to(&mut copy, victim, place)?;
    copy.launch(victim)?;
    let began = Instant::now();
    while began.elapsed() < EMPTIED && keys(heir).unwrap_or(full) >= full {
        thread::sleep(Duration::from_millis(50));
    }
    must_lose(full.saturating_sub(keys(heir)?), "a copy with the same ids")
}

fn readdress(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let text = text.replace(":6379@16379", &format!(":{PORT}@{}", PORT + 10_000));
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}
