//! A master comes back at another address after a node timeout, and its replica, which can not reach it
//! for a while, hears of that address from the others first (redis/redis 14633; seeds 1585 and 7001949
//! of the simulator).
//!
//! Guarantees: in the control nobody tells the replica anything, and on Redis it has no link for as
//! long as it is looked at; Valkey 8 and later follow. With Mooring the master calls it, by the rules of
//! its post-start and guard.

use std::thread;
use std::time::{Duration, Instant};

use super::{HANGS, formed};
use crate::cases::nobody_refuses;
use crate::client::{self, Client};
use crate::ground::{self, Parted};
use crate::member::Member;
use crate::set::{Control, Measured, Set, Shape};

/// Until everybody has given the master up.
const GIVEN_UP: Duration = Duration::from_secs(12);
/// By when the others have told the replica where it is.
const TOLD: Duration = Duration::from_secs(40);
/// How often the master looks, as its guard does at first.
const ROUND: Duration = Duration::from_secs(1);
/// By when the replica has to follow.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(beside: &Set) -> Result<Measured, String> {
    let mut alone = formed(beside, "late-control", Shape::USUAL)?;
    let (_, replica, _) = come_back(&mut alone).map_err(|why| format!("control: {why}"))?;
    let control = control(&alone, replica)?;
    drop(alone);
    let mut set = formed(beside, "late", Shape::USUAL)?;
    let (master, replica, name) = come_back(&mut set)?;
    let began = Instant::now();
    while !is_linked(&set, replica)? {
        if began.elapsed() > PATIENCE {
            return Err("the replica does not follow".to_owned());
        }
        call(&set, master)?;
        thread::sleep(ROUND);
    }
    let seconds = began.elapsed().as_secs_f64();
    set.wait_until_whole()?;
    let lost = set.lost(&name)?;
    let whole = began.elapsed().as_secs_f64();
    Ok(Measured { seconds, lost, whole, control: Some(control), ..Measured::NOTHING })
}

/// All stop and come back at other addresses, one master later than the rest, and out of its replica's
/// reach for a while. Both, and what was written.
fn come_back(set: &mut Set) -> Result<(usize, usize, String), String> {
    let name = set.fill()?;
    let master = set.a_master()?;
    let replica = replica_of(set, master)?;
    set.kill(|_| true)?;
    set.swap_addresses();
    nobody_refuses(&set.start_but(&[master], &[])?)?;
    thread::sleep(GIVEN_UP);
    let at = |n: usize| set.members.get(n).map(|m| m.at).ok_or("there is no such member");
    let (from, to, id) = (at(replica)?, at(master)?, set.common.id.clone());
    ground::part(&id, from, to, Parted::Yes)?;
    let outcome = set.start_one(master)?;
    nobody_refuses(std::slice::from_ref(&outcome))?;
    wait_until_told(set, master, replica)?;
    ground::part(&id, from, to, Parted::No)?;
    Ok((master, replica, name))
}

/// Until the replica's table has its master where that is now.
fn wait_until_told(set: &Set, master: usize, replica: usize) -> Result<(), String> {
    let at = |n: usize| set.members.get(n).map(Member::address).ok_or("there is no such member");
    let (master, replica) = (at(master)?, at(replica)?);
    let began = Instant::now();
    while began.elapsed() < TOLD {
        let mut server = Client::connect(replica, Duration::from_secs(1))?;
        let nodes = client::standing(&mut server)?.nodes;
        let known = nodes.myself().and_then(|me| nodes.node(me.master?)?.endpoint.address());
        if known.is_some_and(|a| a.client() == Some(master)) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err("nobody tells the replica where its master is".to_owned())
}

fn replica_of(set: &Set, master: usize) -> Result<usize, String> {
    let member = set.members.get(master).ok_or("there is no such member")?;
    let mut server = Client::connect(member.address(), Duration::from_secs(1))?;
    let standing = client::standing(&mut server)?;
    let unlinked = standing.copied_by.iter().next().ok_or("the master has no replica")?;
    let place = set.members.iter().position(|m| m.address().ip() == *unlinked);
    place.ok_or_else(|| "the replica is no member".to_owned())
}

fn control(set: &Set, replica: usize) -> Result<Control, String> {
    let began = Instant::now();
    while began.elapsed() < HANGS {
        if is_linked(set, replica)? {
            return match set.version.name.starts_with("valkey") {
                true => Ok(Control::MayLose(0)),
                false => Err("the replica follows without Mooring: the case shows nothing".into()),
            };
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(Control::Unlinked)
}

fn is_linked(set: &Set, n: usize) -> Result<bool, String> {
    let at = set.members.get(n).ok_or("there is no such member")?.address();
    let mut server = Client::connect(at, Duration::from_secs(1))?;
    Ok(client::standing(&mut server)?.health.is_in_cluster())
}

/// What the master's guard does.
fn call(set: &Set, master: usize) -> Result<(), String> {
    let at = set.members.get(master).ok_or("there is no such member")?.address();
    let mut server = Client::connect(at, Duration::from_secs(1))?;
    for (id, at) in client::standing(&mut server)?.unlinked() {
        let mut replica = Client::connect(at, Duration::from_secs(1))?;
        let standing = client::standing(&mut replica)?;
        if standing.nodes.myself().map(|me| me.id) == Some(id)
            && let Some(master) = standing.redials()
        {
            replica.text(&["CLUSTER", "REPLICATE", master.as_str()])?;
        }
    }
    Ok(())
}
