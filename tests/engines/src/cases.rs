//! What is done to a set, and what has to come of it.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::accidents::{self, Accident, emptied, stale};
use crate::disk;
use crate::foreign::{self, Foreign};
use crate::member::{Member, Outcome};
use crate::registry::Order;
use crate::set::{Measured, Set};
use crate::versions::Version;

/// A case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Case {
    /// Six members begin on empty disks.
    Form,
    /// All are killed and come back at once, each with another one's address.
    OutageParallel,
    /// The same, but they come back one after the other.
    OutageOrdered,
    /// All are killed; somebody else's cluster has two of their addresses when they come back.
    Foreign,
    /// All are killed and come back as the next newer version.
    Newer,
    /// Then as their own version again, which can not read the newer one's data.
    Older,
    /// One member's nodes.conf is damaged, in one way after the other.
    Damaged,
    /// All disks are emptied.
    Empty,
    /// All pods are gone and made again over their old disks, but for a master's, which is empty:
    /// its step is the first to begin.
    RecreatedOneEmpty,
    /// All are killed and come back on another port.
    PortAll,
    /// Each is killed and comes back on another port while the others run.
    PortOneByOne,
    /// All pods are gone and the record with them; the set is made again over its old disks.
    Recreated,
    /// A master comes back without its data.
    Emptied,
    /// A master comes back that has been replaced, under fire of writes.
    Stale,
    /// An accident to one member while the others run.
    Accident(Accident),
    /// A set of a hundred members begins on empty disks.
    FormHundred,
}

/// All of them. Each begins with the set as the one before has left it.
pub(crate) const CASES: [Case; 19] = [
    Case::Form,
    Case::OutageParallel,
    Case::OutageOrdered,
    Case::Foreign,
    Case::Newer,
    Case::Older,
    Case::Damaged,
    Case::Empty,
    Case::RecreatedOneEmpty,
    Case::PortAll,
    Case::PortOneByOne,
    Case::Recreated,
    Case::Emptied,
    Case::Stale,
    Case::Accident(Accident::StrangerPlain),
    Case::Accident(Accident::StrangerNode),
    Case::Accident(Accident::RestartEmpty),
    Case::Accident(Accident::Passwords),
    Case::FormHundred,
];

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

/// How long the other steps begin after that of the member with the empty disk.
const HEAD_START: Duration = Duration::from_secs(1);
/// Nodes beyond those of the six: where two members go whose addresses are taken, and where the
/// foreign cluster's third server is.
const FREE_NODES: [u8; 2] = [6, 7];
const FOREIGN_NODE: u8 = 8;
const NODE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many there are.
pub(crate) const NODES: u8 = 10;
/// Members of a large set.
const HUNDRED: u8 = 100;
/// The ports of the cases that change them; the bus keeps its distance.
const PORTS: [u16; 2] = [7379, 8379];

// === impl Case ===

impl Case {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::OutageParallel => "outage-parallel",
            Self::OutageOrdered => "outage-ordered",
            Self::Foreign => "foreign",
            Self::Newer => "newer",
            Self::Older => "older",
            Self::Accident(accident) => accident.name(),
            Self::FormHundred => "form-100",
            Self::Emptied => "emptied",
            Self::Stale => "stale",
            Self::Damaged => "damaged",
            Self::Recreated => "recreated",
            Self::RecreatedOneEmpty => "recreated-one-empty",
            Self::PortAll => "port-all",
            Self::PortOneByOne => "port-one-by-one",
            Self::Empty => "empty",
        }
    }

    /// Whether there is such a case for a version.
    pub(crate) fn is_for(self, version: &Version) -> bool {
        !matches!(self, Self::Newer | Self::Older) || version.newer().is_some()
    }

    /// Does it to the set.
    pub(crate) fn run(self, set: &mut Set) -> Result<Measured, String> {
        match self {
            Self::Form => {
                let outcomes = set.start_all()?;
                all_are(&outcomes, "Bootstrapped")?;
                let measured = set.measure(&outcomes, None)?;
                later_knows_earlier(set, measured)
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
                let measured = set.measure(&outcomes, Some(&name))?;
                let measured = later_knows_earlier(set, measured)?;
                let order = match self {
                    Self::OutageOrdered => Order::Ordered,
                    _ => Order::Parallel,
                };
                Ok(Measured { hand: Some(set.by_hand(order)?), ..measured })
            }
            Self::Foreign => foreign(set),
            Self::Newer => {
                let newer = set.version.newer().ok_or("there is no newer version")?;
                let name = set.fill()?;
                set.kill(|_| true)?;
                set.run_as(&newer)?;
                set.swap_addresses();
                let outcomes = set.start_all()?;
                nobody_refuses(&outcomes)?;
                let measured = set.measure(&outcomes, Some(&name))?;
                later_knows_earlier(set, measured)
            }
            Self::Older => {
                if set.is_itself() {
                    Self::Newer.run(set)?;
                }
                set.kill(|_| true)?;
                set.members.iter().try_for_each(Member::lose_data)?;
                set.run_as(&set.version.clone())?;
                set.swap_addresses();
                let outcomes = set.start_all()?;
                nobody_refuses(&outcomes)?;
                let measured = set.measure(&outcomes, None)?;
                later_knows_earlier(set, measured)
            }
            Self::Accident(accident) => {
                set.kill(|_| true)?;
                let measured = accidents::run(set, accident)?;
                // The cases after it find the set as it was.
                nobody_refuses(&set.start_all()?)?;
                Ok(measured)
            }
            Self::FormHundred => {
                set.kill(|_| true)?;
                let mut hundred = set.beside(HUNDRED / 2)?;
                // Several in each node's namespace: what a machine remembers of its neighbours is
                // shared by all namespaces, and a hundred by a hundred is too much for it.
                for (n, member) in (0u16..).zip(&mut hundred.members) {
                    member.at = (n % u16::from(NODES)) as u8;
                    member.port += n / u16::from(NODES);
                }
                let outcomes = hundred.start_all()?;
                all_are(&outcomes, "Bootstrapped")?;
                hundred.measure(&outcomes, None)
            }
            Self::Emptied => emptied::run(set),
            Self::Stale => stale::run(set),
            Self::Damaged => damaged(set),
            Self::Recreated => {
                let name = set.fill()?;
                set.kill(|_| true)?;
                set.lose_record();
                set.swap_addresses();
                let outcomes = set.start_all()?;
                nobody_refuses(&outcomes)?;
                let measured = set.measure(&outcomes, Some(&name))?;
                later_knows_earlier(set, measured)
            }
            Self::RecreatedOneEmpty => recreated_one_empty(set),
            Self::PortAll => {
                let name = set.fill()?;
                set.kill(|_| true)?;
                let [port, _] = PORTS;
                set.members.iter_mut().for_each(|member| member.port = port);
                let outcomes = set.start_all()?;
                nobody_refuses(&outcomes)?;
                let measured = set.measure(&outcomes, Some(&name))?;
                later_knows_earlier(set, measured)
            }
            Self::PortOneByOne => port_one_by_one(set),
            Self::Empty => {
                set.fill()?;
                set.kill(|_| true)?;
                for member in &set.members {
                    member.wipe()?;
                }
                set.swap_addresses();
                let outcomes = set.start_all()?;
                all_are(&outcomes, "Bootstrapped")?;
                let measured = set.measure(&outcomes, None)?;
                later_knows_earlier(set, measured)
            }
        }
    }
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

/// Both clusters have to stay apart, with two node timeouts to run into each other.
fn foreign(set: &mut Set) -> Result<Measured, String> {
    let name = set.fill()?;
    set.kill(|_| true)?;
    let [first, second, ..] = set.members.as_mut_slice() else { return Err("no members".into()) };
    let taken = [first.at, second.at, FOREIGN_NODE];
    [first.at, second.at] = FREE_NODES;
    let home = first.dir.parent().ok_or("a member has no folder")?.to_owned();
    let theirs = Foreign::make(set, taken, &home)?;
    let outcomes = set.start_all()?;
    nobody_refuses(&outcomes)?;
    let measured = set.measure(&outcomes, Some(&name))?;
    let mut measured = later_knows_earlier(set, measured)?;
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
fn recreated_one_empty(set: &mut Set) -> Result<Measured, String> {
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

/// The slowest of the starts, and all keys that were lost.
fn port_one_by_one(set: &mut Set) -> Result<Measured, String> {
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

/// Each damage once: by turns to a master and to a replica, and by turns in an outage of all and
/// while the others run. The slowest of the starts, and all keys that were lost.
fn damaged(set: &mut Set) -> Result<Measured, String> {
    let mut all = Measured::NOTHING;
    for (n, (what, damage)) in DAMAGES.iter().enumerate() {
        let (victim, outage) = (n % set.members.len(), n % 2 == 0);
        let once = damaged_once(set, victim, outage, *damage);
        let (said, measured) = once.map_err(|why| format!("{what}: {why}"))?;
        let scene = if outage { "outage" } else { "alone" };
        println!("      {what}, member {victim}, {scene}: {said}, {:.2} s", measured.seconds);
        all.add(measured);
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

pub(crate) fn nobody_refuses(outcomes: &[Outcome]) -> Result<(), String> {
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
