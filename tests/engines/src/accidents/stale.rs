//! A master that was replaced while it was away comes back with its old disk, and clients write to it
//! as fast as they can: beside one living member; as the first and only one of the set; beside
//! members that are there and can not be reached.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{ELECTED, must_lose};
use crate::cases::nobody_refuses;
use crate::client::Client;
use crate::set::{Control, Measured, Set};

/// How long the stale master is written to before the others come.
const FIRE: Duration = Duration::from_secs(15);

/// Who is there when the stale master comes back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Others {
    One,
    Nobody,
    OutOfReach,
}

/// The slowest of the scenes; all keys and all writes of the fire that were lost; and how many writes
/// the control loses.
pub(crate) fn run(set: &mut Set) -> Result<Measured, String> {
    let mut all = Measured::NOTHING;
    for others in [Others::One, Others::Nobody, Others::OutOfReach] {
        let once = scene(set, others).map_err(|why| format!("{others:?}: {why}"))?;
        all.add(once);
    }
    all.control = Some(control(set).map_err(|why| format!("control: {why}"))?);
    Ok(all)
}

fn scene(set: &mut Set, others: Others) -> Result<Measured, String> {
    let (stale, name) = replaced(set)?;
    match others {
        Others::One => {
            let one = (0..set.members.len()).find(|n| *n != stale).ok_or("no others")?;
            set.kill(|n| n != stale && n != one)?;
        }
        Others::Nobody => set.kill(|n| n != stale)?,
        Others::OutOfReach => {
            // They have been there for a while.
            thread::sleep(FIRE);
            set.freeze(|n| n != stale)?;
        }
    }
    let fired = under_fire(set, stale, |set| {
        let outcome = set.start_one(stale)?;
        nobody_refuses(&[outcome])
    })?;
    if others == Others::OutOfReach {
        set.thaw()?;
    }
    let outcomes = set.start_the_rest()?;
    nobody_refuses(&outcomes)?;
    let mut once = match outcomes.is_empty() {
        false => set.measure(&outcomes, Some(&name))?,
        true => Measured { lost: set.lost(&name)?, ..Measured::NOTHING },
    };
    set.wait_until_whole()?;
    let lost = fired.lost(set)?;
    println!("      {others:?}: {} writes accepted in the fire, {lost} lost", fired.accepted.len());
    once.lost = once.lost.max(set.lost(&name)?) + lost;
    Ok(once)
}

/// The same as the first and only one, without a step.
fn control(set: &mut Set) -> Result<Control, String> {
    let (stale, _) = replaced(set)?;
    set.kill(|n| n != stale)?;
    let fired = under_fire(set, stale, |set| set.launch(stale))?;
    for n in (0..set.members.len()).filter(|n| *n != stale) {
        set.launch(n)?;
    }
    set.wait_until_whole()?;
    set.wait_for_masters(ELECTED)?;
    let lost = must_lose(fired.lost(set)?, "a stale master that comes back first")?;
    // From here on they are the set's own again.
    set.kill(|_| true)?;
    nobody_refuses(&set.start_all()?)?;
    set.wait_until_whole()?;
    Ok(lost)
}

/// A master that has been replaced, and the name of keys that were written after that.
fn replaced(set: &mut Set) -> Result<(usize, String), String> {
    set.fill()?;
    let stale = set.a_master()?;
    set.kill(|n| n == stale)?;
    set.wait_for_masters(ELECTED)?;
    let name = set.write_to_disk()?;
    Ok((stale, name))
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
