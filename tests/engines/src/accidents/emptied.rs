//! A master comes back without its data: with an empty disk, or with its nodes.conf and nothing else;
//! within the node timeout, when its replica still waits for it, and after it, when the replica has
//! been elected.

use super::{ELECTED_AT_LAST, must_lose};
use crate::cases::nobody_refuses;
use crate::set::{Control, Measured, Set};

/// What is left of the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Left {
    Nothing,
    Identity,
}

/// When the master comes back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Back {
    AtOnce,
    AfterElection,
}

const SCENES: [(Left, Back); 4] = [
    (Left::Nothing, Back::AtOnce),
    (Left::Identity, Back::AtOnce),
    (Left::Nothing, Back::AfterElection),
    (Left::Identity, Back::AfterElection),
];

/// The slowest of the scenes, all keys that were lost, and what the control loses.
pub(super) fn run(set: &mut Set) -> Result<Measured, String> {
    let mut all = Measured::NOTHING;
    for (left, back) in SCENES {
        let once = scene(set, left, back).map_err(|why| format!("{left:?}, {back:?}: {why}"))?;
        all.add(once);
    }
    all.control = Some(control(set).map_err(|why| format!("control: {why}"))?);
    Ok(all)
}

fn scene(set: &mut Set, left: Left, back: Back) -> Result<Measured, String> {
    let name = set.fill()?;
    let master = set.a_master()?;
    set.kill(|n| n == master)?;
    if back == Back::AfterElection {
        set.wait_for_masters(ELECTED_AT_LAST)?;
    }
    let member = set.members.get(master).ok_or("there is no such member")?;
    match left {
        Left::Nothing => member.wipe()?,
        Left::Identity => member.lose_data()?,
    }
    let outcomes = [set.start_one(master)?];
    nobody_refuses(&outcomes)?;
    let mut once = set.measure(&outcomes, Some(&name))?;
    // What it has been given by then counts as well.
    once.lost = once.lost.max(set.lost(&name)?);
    Ok(once)
}

/// The server is started again on its nodes.conf without a step: its replica copies nothing.
fn control(set: &mut Set) -> Result<Control, String> {
    let name = set.fill()?;
    let master = set.a_master()?;
    set.kill(|n| n == master)?;
    set.members.get(master).ok_or("there is no such member")?.lose_data()?;
    set.launch(master)?;
    set.wait_until_whole()?;
    let lost = must_lose(set.lost(&name)?, "a master that is started again without its data")?;
    // From here on it is the set's own again.
    set.kill(|n| n == master)?;
    nobody_refuses(&[set.start_one(master)?])?;
    set.wait_until_whole()?;
    Ok(lost)
}
