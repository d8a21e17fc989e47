//! Starts on empty disks, and starts of all that was there before.

use std::thread;
use std::time::Duration;

use super::{NODES, RETRIES, all_are, nobody_refuses};
use crate::foreign::{self, Foreign};
use crate::member::{Member, Outcome};
use crate::registry::Order;
use crate::set::{Measured, Set, Shape};

/// How long the other steps begin after that of the member with the empty disk.
const HEAD_START: Duration = Duration::from_secs(1);
/// Nodes beyond those of the six: where two members go whose addresses are taken, and where the
/// foreign cluster's third server is.
const FREE_NODES: [u8; 2] = [6, 7];
const FOREIGN_NODE: u8 = 8;
const NODE_TIMEOUT: Duration = Duration::from_secs(5);
/// A large set.
const HUNDRED: Shape = Shape { shards: 50, replicas: 1 };
/// The ports of the cases that change them; the bus keeps its distance.
const PORTS: [u16; 2] = [7379, 8379];

pub(super) fn form(set: &mut Set) -> Result<Measured, String> {
    let outcomes = set.start_all()?;
    let measured = begun(set, &outcomes)?;
    Ok(Measured { hand: Some(set.by_hand(Order::Parallel)?), ..measured })
}

pub(super) fn form_hundred(set: &mut Set) -> Result<Measured, String> {
    set.kill(|_| true)?;
    let measured = {
        let mut hundred = set.beside("hundred", HUNDRED)?;
        // Several in each node's namespace: what a machine remembers of its neighbours is
        // shared by all namespaces, and a hundred by a hundred is too much for it.
        for (n, member) in (0u16..).zip(&mut hundred.members) {
            member.at = (n % u16::from(NODES)) as u8;
            member.port += n / u16::from(NODES);
        }
        let outcomes = hundred.start_all()?;
        all_are(&outcomes, "Bootstrapped")?;
        let measured = hundred.measure(&outcomes, None)?;
        Measured { hand: Some(hundred.start_by_hand(Order::Parallel)?), ..measured }
    };
    // The cases after it find the set as it was.
    nobody_refuses(&set.start_all()?)?;
    Ok(measured)
}

pub(super) fn empty(set: &mut Set) -> Result<Measured, String> {
    set.fill()?;
    set.kill(|_| true)?;
    set.members.iter().try_for_each(Member::wipe)?;
    set.swap_addresses();
    let outcomes = set.start_all()?;
    begun(set, &outcomes)
}

/// A first start.
fn begun(set: &mut Set, outcomes: &[Outcome]) -> Result<Measured, String> {
    all_are(outcomes, "Bootstrapped")?;
    let measured = set.measure(outcomes, None)?;
    later_knows_earlier(set, measured)
}

/// All come up again at once: everything has to be there, or what is written now.
fn again(set: &mut Set, name: Option<&str>) -> Result<Measured, String> {
    let outcomes = set.start_all()?;
    back(set, &outcomes, name)
}

fn back(set: &mut Set, outcomes: &[Outcome], name: Option<&str>) -> Result<Measured, String> {
    nobody_refuses(outcomes)?;
    let measured = set.measure(outcomes, name)?;
    later_knows_earlier(set, measured)
}

pub(super) fn outage(set: &mut Set, order: Order) -> Result<Measured, String> {
    let name = set.fill()?;
    set.kill(|_| true)?;
    set.swap_addresses();
    let outcomes = match order {
        Order::Ordered => set.start_in_order()?,
        Order::Parallel => set.start_all()?,
    };
    let measured = back(set, &outcomes, Some(&name))?;
    Ok(Measured { hand: Some(set.by_hand(order)?), ..measured })
}

pub(super) fn newer(set: &mut Set) -> Result<Measured, String> {
    let newer = set.version.newer().ok_or("there is no newer version")?;
    let name = set.fill()?;
    set.kill(|_| true)?;
    set.run_as(&newer)?;
    set.swap_addresses();
    again(set, Some(&name))
}

pub(super) fn older(set: &mut Set) -> Result<Measured, String> {
    if set.is_itself() {
        newer(set)?;
    }
    set.kill(|_| true)?;
    set.members.iter().try_for_each(Member::lose_data)?;
    set.run_as(&set.version.clone())?;
    set.swap_addresses();
    again(set, None)
}

pub(super) fn recreated(set: &mut Set) -> Result<Measured, String> {
    let name = set.fill()?;
    set.kill(|_| true)?;
    set.lose_record();
    set.swap_addresses();
    again(set, Some(&name))
}

pub(super) fn port_all(set: &mut Set) -> Result<Measured, String> {
    let name = set.fill()?;
    set.kill(|_| true)?;
    let [port, _] = PORTS;
    set.members.iter_mut().for_each(|member| member.port = port);
    again(set, Some(&name))
}

/// The slowest of the starts, and all keys that were lost.
pub(super) fn port_one_by_one(set: &mut Set) -> Result<Measured, String> {
    let [_, port] = PORTS;
    let mut all = Measured::NOTHING;
    for n in 0..set.members.len() {
        let name = set.fill()?;
        set.kill(|other| other == n)?;
        set.members.get_mut(n).ok_or("there is no such member")?.port = port;
        let outcomes = [set.start_one(n)?];
        nobody_refuses(&outcomes)?;
        let mut once = set.measure(&outcomes, Some(&name))?;
        // A replica may serve now what it did not serve then.
        once.lost = once.lost.max(set.lost(&name)?);
        all.add(once);
    }
    Ok(all)
}

/// Both clusters have to stay apart, with two node timeouts to run into each other.
pub(super) fn foreign(set: &mut Set) -> Result<Measured, String> {
    let name = set.fill()?;
    set.kill(|_| true)?;
    let [first, second, ..] = set.members.as_mut_slice() else { return Err("no members".into()) };
    let taken = [first.at, second.at, FOREIGN_NODE];
    [first.at, second.at] = FREE_NODES;
    let home = first.dir.parent().ok_or("a member has no folder")?.to_owned();
    let theirs = Foreign::make(set, taken, &home)?;
    let mut measured = again(set, Some(&name))?;
    thread::sleep(NODE_TIMEOUT * 2);
    theirs.is_apart()?;
    match theirs.keys()? {
        100 => {}
        n => return Err(format!("the foreign cluster has {n} keys and had 100")),
    }
    set.wait_until_whole()?;
    for member in &set.members {
        if foreign::has_foreign_keys(member.address())? {
            return Err(format!("{} has foreign keys", member.pod));
        }
    }
    measured.lost = measured.lost.max(set.lost(&name)?);
    // Those addresses are free again.
    drop(theirs);
    Ok(measured)
}

/// A set that is deleted and made again while one master's volume is lost. A step that refuses is
/// tried again, as the kubelet does.
pub(super) fn recreated_one_empty(set: &mut Set) -> Result<Measured, String> {
    let name = set.fill()?;
    let victim = set.a_master()?;
    set.kill(|_| true)?;
    set.members.get(victim).ok_or("there is no such member")?.wipe()?;
    let after = |n: usize| if n == victim { Duration::ZERO } else { HEAD_START };
    let mut outcomes = set.start_staggered(after)?;
    for pause in RETRIES {
        if nobody_refuses(&outcomes).is_ok() {
            break;
        }
        thread::sleep(pause);
        for (n, outcome) in outcomes.iter_mut().enumerate().filter(|(_, o)| o.refused.is_some()) {
            *outcome = set.start_again(n)?;
        }
    }
    nobody_refuses(&outcomes)?;
    set.measure(&outcomes, Some(&name))
}

/// Of any two members the later one has to know where the earlier one is: then one of the two
/// greets the other. Where neither does, the cluster falls apart a node-timeout after it was
/// writable, and heals late or never.
fn later_knows_earlier(set: &Set, measured: Measured) -> Result<Measured, String> {
    let pairs = set.members.len() * (set.members.len() - 1) / 2;
    if measured.unknown > pairs {
        return Err(format!(
            "{} addresses were unknown at the start, and of {pairs} pairs of members the later one \
             has to know the earlier one's: writable after {:.2} s, whole only after {:.2} s",
            measured.unknown, measured.seconds, measured.whole
        ));
    }
    Ok(measured)
}
