//! Accidents to one member while the others run, with Mooring's part and without it.
//!
//! Guarantees: the control differs in nothing but Mooring's part, and a case whose control loses
//! nothing has failed, unless the version is known to save itself; each begins with a set of its
//! own, without a password, as strangers can copy it.

use std::net::SocketAddr;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use cluster::resp::Reply;
use cluster::secret::{ReplicationSecret, Source};

use crate::client::Client;
use crate::ground;
use crate::member::Door;
use crate::set::{Control, Measured, SHARDS, Set};

pub(crate) mod clone;
pub(crate) mod emptied;
pub(crate) mod forgotten;
mod hook;
mod hooks;
pub(crate) mod missing;
mod passwords;
pub(crate) mod stale;

/// An accident.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Accident {
    /// A master is killed, and a plain empty server gets its address.
    StrangerPlain,
    /// The same, but the server is a node of no cluster.
    StrangerNode,
    /// A master's server is killed and started again in place, without its data and without the
    /// step: its hook is all there is.
    RestartEmpty,
    /// A rolling change of passwords begins: one replica has the new one.
    Passwords,
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
/// Where a member goes whose address is taken.
const FREE_NODE: u8 = 6;
const PORT: u16 = 6379;
/// By when a replica is emptied that will be: it was after 1.6 s at the latest.
const EMPTIED: Duration = Duration::from_secs(9);
/// By when a replica is elected that will be: twice what was measured.
const ELECTED: Duration = Duration::from_secs(17);
/// The hook comes late: until then nobody but the secret keeps an empty master from being copied.
const LATE_HOOK: Duration = Duration::from_secs(1);

/// What a control loses that has to lose something.
fn must_lose(lost: usize, what: &str) -> Result<Control, String> {
    match lost {
        0 => Err(format!("the control ({what}) loses nothing, so the case shows nothing")),
        lost => Ok(Control::Loses(lost)),
    }
}

/// Does it to a set beside this one, which does not run.
pub(crate) fn run(set: &Set, accident: Accident) -> Result<Measured, String> {
    if accident == Accident::Passwords {
        return passwords::run(set);
    }
    if !set.version.knows_users() {
        return Ok(Measured { control: Some(Control::Open(NO_USERS)), ..Measured::NOTHING });
    }
    let emptied = accident.once(set, Part::Nobody).map_err(|why| format!("control: {why}"))?.lost;
    // Valkey 9 elects before anything is copied; on 8.1 it is a race between the two.
    let elects = ["valkey-8.1", "valkey-9"].iter().any(|v| set.version.name.starts_with(v));
    let control = match accident {
        Accident::StrangerNode if elects => Control::MayLose(emptied),
        _ => Control::Loses(emptied),
    };
    let measured = accident.once(set, Part::Mooring)?;
    Ok(Measured { control: Some(control), ..measured })
}

// === impl Accident ===

impl Accident {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::StrangerPlain => "stranger-plain",
            Self::StrangerNode => "stranger-node",
            Self::RestartEmpty => "restart-empty",
            Self::Passwords => "passwords",
        }
    }

    fn once(self, beside: &Set, part: Part) -> Result<Measured, String> {
        let folder = format!("{}-{part:?}", self.name());
        let mut set = beside.beside_in(&folder, SHARDS)?;
        set.members.iter_mut().for_each(|member| member.door = Door::Open);
        let outcomes = set.start_all()?;
        set.measure(&outcomes, None)?;
        let name = set.fill()?;
        if part == Part::Mooring {
            with_the_secret(&set, ['a', 'b'])?;
        }
        let victim = set.a_master()?;
        let heir = replica_of(&set, victim)?;
        let before = keys(heir)?;
        match self {
            Self::RestartEmpty => restart_empty(&mut set, part, &name, victim, heir, before),
            _ => stranger(self, &mut set, part, &name, victim, heir, before),
        }
    }
}

fn stranger(
    accident: Accident,
    set: &mut Set,
    part: Part,
    name: &str,
    victim: usize,
    heir: SocketAddr,
    before: usize,
) -> Result<Measured, String> {
    let member = set.members.get(victim).ok_or("there is no such member")?;
    let (node, dir) = (member.at, member.dir.with_file_name("stranger"));
    set.kill(|n| n == victim)?;
    let began = Instant::now();
    let _stranger = Stranger::start(set, node, accident, &dir)?;
    if part == Part::Nobody {
        while began.elapsed() < EMPTIED && keys(heir).unwrap_or(before) > 0 {
            thread::sleep(Duration::from_millis(50));
        }
        let lost = before.saturating_sub(keys(heir)?);
        return Ok(Measured { lost, ..Measured::NOTHING });
    }
    let elected = set.writable_at(&set.addresses(), ELECTED);
    let left = keys(heir)?;
    if left < before {
        return Err(format!("{heir} had {before} keys and has {left}: it has copied the stranger"));
    }
    // The pod comes back, and its address is taken.
    set.members.get_mut(victim).ok_or("there is no such member")?.at = FREE_NODE;
    let outcomes = [set.start_one(victim)?];
    let member = set.members.get_mut(victim).ok_or("there is no such member")?;
    member.wait_for_answer(EMPTIED)?;
    let at = member.address();
    hooks::look(at)?;
    hooks::settle(at, &secret('b')?, Source::Kept)?;
    let measured = set.measure(&outcomes, Some(name))?;
    let seconds = match elected {
        Ok(at) => at.saturating_duration_since(began).as_secs_f64(),
        Err(_) => began.elapsed().as_secs_f64(),
    };
    set.wait_until_whole()?;
    Ok(Measured { seconds, lost: measured.lost.max(set.lost(name)?), ..measured })
}

fn restart_empty(
    set: &mut Set,
    part: Part,
    name: &str,
    victim: usize,
    heir: SocketAddr,
    before: usize,
) -> Result<Measured, String> {
    let began = set.restart_in_place(victim, |member| member.lose_data())?;
    let member = set.members.get_mut(victim).ok_or("there is no such member")?;
    member.wait_for_answer(EMPTIED)?;
    if part == Part::Nobody {
        while began.elapsed() < EMPTIED && keys(heir).unwrap_or(before) > 0 {
            thread::sleep(Duration::from_millis(50));
        }
        let lost = before.saturating_sub(keys(heir)?);
        return Ok(Measured { lost, ..Measured::NOTHING });
    }
    thread::sleep(LATE_HOOK);
    let left = keys(heir)?;
    if left < before {
        return Err(format!("{heir} had {before} keys and has {left}: the gate was open"));
    }
    let at = set.members.get(victim).ok_or("there is no such member")?.address();
    if !hooks::look(at)? {
        return Err("the hook has seen nothing to be saved".to_owned());
    }
    hooks::settle(at, &secret('b')?, Source::Kept)?;
    let servers = set.addresses();
    let until = set.writable_at(&servers, ELECTED)?;
    set.wait_until_whole()?;
    let whole = began.elapsed().as_secs_f64();
    let seconds = until.saturating_duration_since(began).as_secs_f64();
    Ok(Measured { seconds, whole, lost: set.lost(name)?, ..Measured::NOTHING })
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

/// Somebody else's empty server at an address that the set had. Ends with the value.
struct Stranger(Child);

// === impl Stranger ===

impl Stranger {
    fn start(
        set: &Set,
        node: u8,
        accident: Accident,
        dir: &std::path::Path,
    ) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let port = PORT.to_string();
        let mut words = vec!["--port", port.as_str(), "--save", "", "--protected-mode", "no"];
        words.extend(["--repl-diskless-sync-delay", "0"]);
        if accident == Accident::StrangerNode {
            words.extend(["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"]);
        }
        let stranger = Self(set.stranger(node, &words, dir)?);
        let at = SocketAddr::new(ground::address(node), PORT);
        let began = Instant::now();
        while let Err(why) = Client::open(at, EMPTIED).and_then(|mut c| c.text(&["PING"])) {
            if began.elapsed() > EMPTIED {
                return Err(format!("the stranger does not answer: {why}"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(stranger)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
