//! Accidents to a set, with Mooring's part and without it.
//!
//! Guarantees: the control differs in nothing but Mooring's part, and a case whose control loses
//! nothing has failed, unless the version is known to save itself; each but [`emptied`] begins with a
//! set of its own. Where a stranger could copy a member that set has no password.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use cluster::resp::Reply;
use cluster::secret::{ReplicationSecret, Source};

use crate::client::Client;
use crate::member::{Door, Member};
use crate::set::{Control, Measured, Set, Shape};

mod clone;
mod emptied;
mod forgotten;
mod hook;
mod hooks;
mod late;
pub(crate) mod missing;
mod passwords;
pub(crate) mod restart;
mod rotation;
pub(crate) mod stale;
pub(crate) mod stranger;

/// An accident.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Accident {
    /// A master's pod comes back without its data, with its step.
    Emptied,
    /// A master that two others have replaced since comes back, under fire of writes.
    Stale(stale::Others),
    /// All are killed, and some masters come back only later.
    Missing(missing::Masters, missing::Disks),
    /// A node is forgotten while a member is down; then all are killed and come back.
    Forgotten,
    /// A copy of all disks runs beside the set, and each gets an address that the other one had.
    Clone,
    /// A master is killed, and a stranger gets its address.
    Stranger(stranger::Kind),
    /// A master's container is restarted in place and has no data: its hook is all there is.
    Restart(restart::Gone),
    /// A rolling change of passwords begins with a replica.
    Passwords,
    /// Passwords are changed in three rollouts, with a time in which both are let in.
    Rotation,
    /// A master comes back late, and its replica hears of it from others first.
    Late,
}

/// Whether Mooring has a part in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Mooring,
    Nobody,
}

/// Why there is no answer on Redis 5.
const NO_USERS: &str = "Redis 5 knows no users, so there is no replication secret: set requirepass \
                        and masterauth of the cluster's own";
/// Why there is no rotation on Redis 5.
const NO_SECOND: &str = "Redis 5 knows one password only: change it on all at once";
/// Where a member goes whose address is taken.
const FREE_NODE: u8 = 6;
/// By when a replica is emptied that will be: it was after 1.6 s at the latest.
const EMPTIED: Duration = Duration::from_secs(9);
/// By when a replica is elected that will be: twice what was measured.
const ELECTED: Duration = Duration::from_secs(17);
/// The same where it has to be elected: an election that did not get its votes in time is repeated by the
/// engine after four node timeouts.
const ELECTED_AT_LAST: Duration = Duration::from_secs(ELECTED.as_secs() + 20);
/// So long a control is looked at that stays down: an engine that heals does within two node timeouts.
const HANGS: Duration = Duration::from_secs(15);

// === impl Accident ===

impl Accident {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        use missing::{Disks, Masters};
        match self {
            Self::Emptied => "emptied",
            Self::Stale(stale::Others::Nobody) => "stale",
            Self::Stale(stale::Others::One) => "stale-one-living",
            Self::Stale(stale::Others::OutOfReach) => "stale-cut-off",
            Self::Missing(Masters::One, Disks::Kept) => "missing-master",
            Self::Missing(Masters::One, Disks::Lost) => "missing-master-emptied",
            Self::Missing(Masters::Two, Disks::Kept) => "missing-two",
            Self::Missing(Masters::Two, Disks::Lost) => "missing-two-emptied",
            Self::Forgotten => "forgotten",
            Self::Clone => "clone",
            Self::Stranger(stranger::Kind::Plain) => "stranger-plain",
            Self::Stranger(stranger::Kind::Node) => "stranger-node",
            Self::Restart(restart::Gone::Emptied) => "restart-empty",
            Self::Restart(restart::Gone::NeverKept) => "restart-persists-nothing",
            Self::Passwords => "passwords",
            Self::Rotation => "rotation",
            Self::Late => "late-master",
        }
    }

    /// Does it to the set, or to another one beside it while it is down.
    pub(crate) fn run(self, set: &mut Set) -> Result<Measured, String> {
        if self == Self::Emptied {
            return emptied::run(set);
        }
        if !set.version.knows_users() {
            let why = match self {
                Self::Rotation => Some(NO_SECOND),
                _ => self.needs_users().then_some(NO_USERS),
            };
            if let Some(why) = why {
                return Ok(Measured { control: Some(Control::Open(why)), ..Measured::NOTHING });
            }
        }
        set.kill(|_| true)?;
        let measured = match self {
            Self::Emptied => return Err("it is done to the set itself".to_owned()),
            Self::Stale(others) => stale::run(set, others)?,
            Self::Missing(masters, disks) => missing::run(set, masters, disks)?,
            Self::Forgotten => forgotten::run(set)?,
            Self::Clone => clone::run(set)?,
            Self::Stranger(kind) => stranger::run(set, kind)?,
            Self::Restart(gone) => restart::run(set, gone)?,
            Self::Passwords => passwords::run(set)?,
            Self::Rotation => rotation::run(set)?,
            Self::Late => late::run(set)?,
        };
        // The cases after it find the set as it was.
        crate::cases::nobody_refuses(&set.start_all()?)?;
        Ok(measured)
    }

    /// Whether the replication secret is Mooring's part, or some of it.
    fn needs_users(self) -> bool {
        matches!(self, Self::Clone | Self::Stranger(_) | Self::Restart(_))
    }
}

/// What a control loses that has to lose something.
fn must_lose(lost: usize, what: &str) -> Result<Control, String> {
    match lost {
        0 => Err(format!("the control ({what}) loses nothing, so the case shows nothing")),
        lost => Ok(Control::Loses(lost)),
    }
}

/// Waits for a replica that had so many keys to be emptied: how many it has lost by then.
fn emptied_of(before: usize, replica: SocketAddr, since: Instant) -> Result<Measured, String> {
    while since.elapsed() < EMPTIED && keys(replica).unwrap_or(before) > 0 {
        thread::sleep(Duration::from_millis(50));
    }
    let lost = before.saturating_sub(keys(replica)?);
    Ok(Measured { lost, ..Measured::NOTHING })
}

/// A set beside this one, formed.
fn formed(beside: &Set, folder: &str, shape: Shape) -> Result<Set, String> {
    formed_as(beside.beside(folder, shape)?, |_| {})
}

/// A set beside this one, formed, that anybody may talk to.
fn formed_open(beside: &Set, folder: &str, change: impl Fn(&mut Member)) -> Result<Set, String> {
    formed_as(beside.beside(folder, Shape::USUAL)?, |member| {
        member.door = Door::Open;
        change(member);
    })
}

fn formed_as(mut set: Set, change: impl Fn(&mut Member)) -> Result<Set, String> {
    set.members.iter_mut().for_each(change);
    let outcomes = set.start_all()?;
    set.measure(&outcomes, None)?;
    Ok(set)
}

/// What the hooks of all members do when they are brought under Mooring one after the other, and
/// when the registry's key has changed since. No link of a replica may break of it.
fn with_the_secret(set: &Set, keys: [char; 2]) -> Result<(), String> {
    let all = set.addresses();
    let synced =
        |all: &[SocketAddr]| all.iter().map(|at| syncs(*at)).collect::<Result<Vec<_>, _>>();
    let before = synced(&all)?;
    let [first, later] = keys;
    for (secret, source) in [(secret(first)?, Source::Kept), (secret(later)?, Source::Registry)] {
        for at in &all {
            hooks::settle(*at, &secret, source)?;
        }
        for at in &all {
            hooks::copies_with(*at, &secret)?;
        }
    }
    if synced(&all)? != before {
        return Err("a replica has linked again while the secret was set".to_owned());
    }
    // And the links come back with it.
    for at in &all {
        Client::connect(*at, EMPTIED)?.ask(&["CLIENT", "KILL", "TYPE", "replica"])?;
    }
    let began = Instant::now();
    while let Err(why) = all.iter().try_for_each(|at| linked(*at)) {
        if began.elapsed() > EMPTIED {
            return Err(why);
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The secret of the registry's first key, or of a later one.
fn secret(key: char) -> Result<ReplicationSecret, String> {
    key.to_string().repeat(64).parse().map_err(|e| format!("{key}: {e}"))
}

/// How often replicas have linked to a server.
fn syncs(at: SocketAddr) -> Result<Vec<String>, String> {
    let said = Client::connect(at, EMPTIED)?.info("stats")?;
    let names = ["sync_full", "sync_partial_ok", "sync_partial_err"];
    Ok(names.iter().filter_map(|name| said.get(*name).cloned()).collect())
}

/// Whether a replica has its master, and a master its replica.
fn linked(at: SocketAddr) -> Result<(), String> {
    let said = Client::connect(at, EMPTIED)?.info("replication")?;
    let is = |name: &str, value: &str| said.get(name).is_some_and(|v| v == value);
    match is("master_link_status", "up") || is("connected_slaves", "1") {
        true => Ok(()),
        false => Err(format!("{at} has lost its link")),
    }
}

fn replica_of(set: &Set, master: usize) -> Result<SocketAddr, String> {
    let at = set.members.get(master).ok_or("there is no such member")?.address();
    let me = Client::connect(at, EMPTIED)?.inspection()?;
    let replicas = cluster::secret::gate::replicas(&me);
    replicas.first().copied().ok_or_else(|| format!("the master at {at} has no replica"))
}

fn keys(at: SocketAddr) -> Result<usize, String> {
    match Client::connect(at, EMPTIED)?.ask(&["DBSIZE"])? {
        Reply::Integer(n) => usize::try_from(n).map_err(|e| e.to_string()),
        other => Err(format!("DBSIZE of {at}: {other:?}")),
    }
}
