//! A master comes back with its old disk that has been replaced twice while it was away, and clients
//! write to it as fast as they can.
//!
//! Guarantees: of three masters with two replicas each, the one that replaced it has been replaced as
//! well, and is down, too; every write that is accepted in the fire is looked for afterwards. In the
//! control nobody has a step: the same fire loses some.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{ELECTED, Part, formed, must_lose};
use crate::cases::nobody_refuses;
use crate::client::Client;
use crate::set::{Measured, Set, Shape};

/// How long the stale master is written to before the others come.
const FIRE: Duration = Duration::from_secs(15);
/// By when the second replica is elected: where it has stood against the first, it stands again only
/// after four node timeouts.
const REPLACED: Duration = Duration::from_secs(40);
/// So that two can go and one is left.
const SHAPE: Shape = Shape { shards: 3, replicas: 2 };
/// Where members go that come back with another address.
const FREE_NODES: [u8; 2] = [9, 10];

/// Who is there when the stale master comes back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Others {
    /// Nobody: it is the first and only one.
    Nobody,
    /// One member of another shard can be reached.
    One,
    /// All but the one that it was replaced by, and none can be reached.
    OutOfReach,
}

/// Where the one living member is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Where the stale one's file says.
    Known,
    /// Elsewhere: it has been restarted since, and the stale one has another address as well.
    Elsewhere,
}

/// The slowest of the scenes; all keys and all writes of the fire that were lost; and how many writes
/// the control loses.
pub(super) fn run(beside: &Set, others: Others) -> Result<Measured, String> {
    let mut set = formed(beside, &format!("stale-{others:?}"), SHAPE)?;
    let mut all = Measured::NOTHING;
    if others == Others::One {
        // Here an engine is told before it takes a write, without Mooring as well.
        all.add(scene(&mut set, others, Place::Known, Part::Mooring)?);
    }
    let place = match others {
        Others::One => Place::Elsewhere,
        Others::Nobody | Others::OutOfReach => Place::Known,
    };
    all.add(scene(&mut set, others, place, Part::Mooring)?);
    // Its servers are where those of the control begin.
    drop(set);
    let mut set = formed(beside, &format!("stale-{others:?}-control"), SHAPE)?;
    let control = scene(&mut set, others, place, Part::Nobody);
    let lost = control.map_err(|why| format!("control: {why}"))?.lost;
    let control = must_lose(lost, "a stale master that comes back by itself")?;
    Ok(Measured { control: Some(control), ..all })
}

fn scene(set: &mut Set, others: Others, place: Place, part: Part) -> Result<Measured, String> {
    let Replaced { stale, one, name } = replaced(set)?;
    match others {
        Others::Nobody => set.kill(|n| n != stale)?,
        Others::One if place == Place::Known => set.kill(|n| n != stale && n != one)?,
        Others::One => {
            set.kill(|_| true)?;
            for (n, at) in [one, stale].into_iter().zip(FREE_NODES) {
                set.members.get_mut(n).ok_or("there is no such member")?.at = at;
            }
            begin(set, one, part)?;
            set.members.get_mut(one).ok_or("there is no such member")?.wait_for_answer(ELECTED)?;
        }
        Others::OutOfReach => {
            if part == Part::Mooring {
                // They have been there for a while.
                thread::sleep(FIRE);
            }
            set.freeze(|n| n != stale)?;
        }
    }
    let fired = under_fire(set, stale, |set| begin(set, stale, part))?;
    if others == Others::OutOfReach {
        set.thaw()?;
    }
    let mut once = Measured::NOTHING;
    match part {
        Part::Mooring => {
            let outcomes = set.start_the_rest()?;
            nobody_refuses(&outcomes)?;
            once = set.measure(&outcomes, Some(&name))?;
        }
        Part::Nobody => {
            for n in 0..set.members.len() {
                if set.members.get(n).is_some_and(|member| !member.is_there()) {
                    set.launch(n)?;
                }
            }
            set.wait_for_masters(REPLACED)?;
        }
    }
    let lost = fired.lost(set)?;
    let whose = match part {
        Part::Mooring => "with Mooring",
        Part::Nobody => "without",
    };
    println!(
        "      others: {others:?}, {place:?}, {whose}: {} writes accepted in the fire, {lost} lost",
        fired.accepted.len()
    );
    if part == Part::Mooring {
        once.lost = once.lost.max(set.lost(&name)?);
    }
    once.lost += lost;
    Ok(once)
}

/// A member's pod, or its server alone.
fn begin(set: &mut Set, n: usize, part: Part) -> Result<(), String> {
    match part {
        Part::Mooring => nobody_refuses(&[set.start_one(n)?]),
        Part::Nobody => set.launch(n),
    }
}

/// What two failovers leave.
struct Replaced {
    /// The master that is behind both.
    stale: usize,
    /// A master of another shard.
    one: usize,
    /// The keys that were written after them.
    name: String,
}

/// A master is replaced by one replica, and that one by the other. Both are down.
fn replaced(set: &mut Set) -> Result<Replaced, String> {
    set.fill()?;
    let before = set.masters()?;
    let [stale, one, ..] = before[..] else { return Err("there are no two masters".to_owned()) };
    set.kill(|n| n == stale)?;
    set.wait_for_masters(REPLACED)?;
    // Its other replica follows the new one, and has all that it has.
    set.fill()?;
    let second = set.masters()?.into_iter().find(|n| !before.contains(n));
    let second = second.ok_or("nobody has replaced the master")?;
    set.kill(|n| n == second)?;
    set.wait_for_masters(REPLACED)?;
    let name = set.write_to_disk()?;
    Ok(Replaced { stale, one, name })
}

/// Writes that were acknowledged.
struct Fired {
    accepted: Vec<String>,
}

// === impl Fired ===

impl Fired {
    /// How many of them are not there.
    fn lost(&self, set: &Set) -> Result<usize, String> {
        let mut lost = 0;
        for key in &self.accepted {
            lost += usize::from(set.read(key)?.as_deref() != Some("fired"));
        }
        Ok(lost)
    }
}

/// Starts a member and writes to it, each time another key, whatever it says.
fn under_fire(
    set: &mut Set,
    member: usize,
    start: impl FnOnce(&mut Set) -> Result<(), String>,
) -> Result<Fired, String> {
    let at = set.members.get(member).ok_or("there is no such member")?.address();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let fire = scope.spawn(|| fire(at, &over));
        let started = start(set);
        if started.is_ok() {
            thread::sleep(FIRE);
        }
        over.store(true, Ordering::Relaxed);
        let accepted = fire.join().map_err(|_| "the fire broke".to_owned())?;
        started.map(|()| Fired { accepted })
    })
}

fn fire(at: SocketAddr, over: &AtomicBool) -> Vec<String> {
    let mut accepted = Vec::new();
    let (mut client, mut n, began) = (None, 0u32, Instant::now());
    while !over.load(Ordering::Relaxed) && began.elapsed() < FIRE * 4 {
        let Some(connected) = &mut client else {
            client = Client::connect(at, Duration::from_millis(300)).ok();
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        n += 1;
        // Another slot each time: a third of them are this master's.
        let key = format!("fire-{n}");
        match connected.text(&["SET", &key, "fired"]) {
            Ok(_) => accepted.push(key),
            Err(why) if why.starts_with("MOVED") || why.starts_with("CLUSTERDOWN") => {
                thread::sleep(Duration::from_millis(2));
            }
            Err(_) => client = None,
        }
    }
    accepted
}
