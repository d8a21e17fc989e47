//! A master's container is killed and comes back in place, so without its step, and without its data:
//! the same pod, its nodes.conf, and its hook. Once at once, when it is the master still, and once when
//! its replica has been elected.
//!
//! Guarantees: the hook comes late each time; until then nothing but the replication secret keeps the
//! replica from copying the emptiness. Within the node timeout the control loses the shard; after it
//! every engine has elected and saves itself, which the control shows as well.

use std::thread;
use std::time::{Duration, Instant};

use cluster::secret::Source;

use super::{
    ELECTED_AT_LAST, EMPTIED, Part, emptied_of, formed_open, hooks, keys, must_lose, replica_of,
    secret, with_the_secret,
};
use crate::member::Keeps;
use crate::set::{Measured, Set};

/// The hook comes late: until then nobody but the secret keeps an empty master from being copied.
const LATE_HOOK: Duration = Duration::from_secs(1);

/// Why the data are gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Gone {
    /// The server keeps a log, and it is lost.
    Emptied,
    /// The server persists nothing.
    NeverKept,
}

/// When the container comes back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Back {
    Within,
    AfterElection,
}

/// The slower of the two, all keys that were lost, and what the control loses within the node timeout.
pub(super) fn run(beside: &Set, gone: Gone) -> Result<Measured, String> {
    let controls = [Back::Within, Back::AfterElection].map(|back| {
        let once = once(beside, gone, back, Part::Nobody);
        once.map_err(|why| format!("control, {back:?}: {why}"))
    });
    let [within, after] = controls;
    let (within, after) = (within?.lost, after?.lost);
    println!("      without Mooring: {within} lost within the node timeout, {after} after it");
    let control = must_lose(within, "a master that is restarted in place without its data")?;
    let mut all = Measured::NOTHING;
    for back in [Back::Within, Back::AfterElection] {
        let measured = once(beside, gone, back, Part::Mooring);
        let measured = measured.map_err(|why| format!("{back:?}: {why}"))?;
        println!("      {back:?}: {:.2} s, {} lost", measured.seconds, measured.lost);
        all.add(measured);
    }
    Ok(Measured { control: Some(control), ..all })
}

fn once(beside: &Set, gone: Gone, back: Back, part: Part) -> Result<Measured, String> {
    let keeps = match gone {
        Gone::Emptied => Keeps::Log,
        Gone::NeverKept => Keeps::Nothing,
    };
    let folder = format!("restart-{gone:?}-{back:?}-{part:?}");
    let mut set = formed_open(beside, &folder, |member| member.keeps = keeps)?;
    let name = set.fill()?;
    if part == Part::Mooring {
        with_the_secret(&set, ['a', 'b'])?;
    }
    let victim = set.a_master()?;
    let heir = replica_of(&set, victim)?;
    let before = keys(heir)?;
    let crashed = Instant::now();
    set.crash(victim)?;
    if gone == Gone::Emptied {
        set.members.get(victim).ok_or("there is no such member")?.lose_data()?;
    }
    if back == Back::AfterElection {
        set.wait_for_masters(ELECTED_AT_LAST)?;
    }
    let began = set.restart_in_place(victim)?;
    let member = set.members.get_mut(victim).ok_or("there is no such member")?;
    member.wait_for_answer(EMPTIED)?;
    let at = member.address();
    if part == Part::Nobody {
        return emptied_of(before, heir, began);
    }
    thread::sleep(LATE_HOOK);
    let left = keys(heir)?;
    if left < before {
        return Err(format!("{heir} had {before} keys and has {left}: the gate was open"));
    }
    if hooks::look(at)? != (back == Back::Within) {
        return Err(match back {
            Back::Within => "the hook has seen nothing to be saved",
            Back::AfterElection => "the hook has promoted somebody beside the one who was elected",
        }
        .to_owned());
    }
    hooks::settle(at, &secret('b')?, Source::Kept)?;
    let servers = set.addresses();
    let until = set.writable_at(&servers, ELECTED_AT_LAST)?;
    set.wait_until_whole()?;
    if set.masters()?.contains(&victim) {
        return Err("who came back without its data is a master".to_owned());
    }
    let whole = crashed.elapsed().as_secs_f64();
    let seconds = until.saturating_duration_since(began).as_secs_f64();
    Ok(Measured { seconds, whole, lost: set.lost(&name)?, ..Measured::NOTHING })
}
