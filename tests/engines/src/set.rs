//! A set of six members of one version: made, killed, started again, and looked at.
//!
//! Guarantees: nobody starts a server but a member's step; every nodes.conf that a killed server
//! leaves has been compared with what the parser writes back.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cluster::id::NodeId;
use cluster::net::{Address, Ports};
use cluster::nodes::{Flag, NodesConf};
use cluster::plan::Plan;
use cluster::resp::Reply;

use crate::client::{self, Client};
use crate::keys::{Keys, Owners};
use crate::member::{Common, Member, Outcome};
use crate::registry::{Order, Registry};
use crate::versions::Version;
use crate::{disk, ground};

/// How many masters a usual set has, each with a replica.
pub(crate) const SHARDS: u8 = 3;
/// By when all slots have to be writable, and everybody has to be there again.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often the hooks look after their servers.
const HOOKS: Duration = Duration::from_secs(2);

/// The set.
pub(crate) struct Set {
    /// Its members by their ordinals.
    pub(crate) members: Vec<Member>,
    /// What it was made as.
    pub(crate) version: Version,
    pub(crate) common: Common,
    keys: Arc<Keys>,
    writes: u32,
    files: usize,
    shards: u8,
    corpus: Option<PathBuf>,
}

/// What was measured after a start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// From the last server's start until all slots had been written.
    pub(crate) seconds: f64,
    /// Keys that were written before and are not there.
    pub(crate) lost: usize,
    /// From the last server's start until everybody saw a whole cluster and all replicas had
    /// their masters.
    pub(crate) whole: f64,
    /// Addresses of peers that the files did not say at the start, of all members together.
    pub(crate) unknown: usize,
    /// Replicas that had to be told to look for their master.
    pub(crate) told: usize,
    /// The same as `seconds`, of files that know every address, started without Mooring.
    pub(crate) hand: Option<f64>,
    /// Of an accident: what it costs without Mooring.
    pub(crate) control: Option<Control>,
}

/// What the same accident costs without Mooring's part.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Control {
    /// So many of the shard's keys; it has to be some, or the case shows nothing.
    Loses(usize),
    /// So many; this version is known to save itself.
    MayLose(usize),
    /// Nothing, but slots stay without an owner for as long as it is looked at.
    Hangs,
    /// Nothing, but so many servers have a forgotten node again.
    Returns(usize),
    /// Nothing was done: Mooring has no answer on this version, and that is why.
    Open(&'static str),
}

// === impl Measured ===

impl Measured {
    /// Before the first of several starts.
    pub(crate) const NOTHING: Self =
        Self { seconds: 0.0, lost: 0, whole: 0.0, unknown: 0, told: 0, hand: None, control: None };

    /// One start more: the slowest counts, and all that was lost.
    pub(crate) fn add(&mut self, once: Self) {
        self.seconds = self.seconds.max(once.seconds);
        self.whole = self.whole.max(once.whole);
        self.lost += once.lost;
        self.unknown += once.unknown;
        self.told += once.told;
    }
}

// === impl Set ===

impl Set {
    /// A set whose members have not been started and whose disks are empty.
    pub(crate) fn new(
        version: &Version,
        id: &str,
        home: &Path,
        keys: Arc<Keys>,
        shards: u8,
    ) -> Result<Self, String> {
        let plan = Plan {
            salt: format!("{id}-{}", version.name),
            shards: u32::from(shards),
            replicas_per_shard: 1,
            generation: 1,
        };
        let members: Result<_, _> = (0..shards * 2).map(|n| Member::new(home, n)).collect();
        let common = Common {
            id: id.to_owned(),
            program: version.program()?,
            target: version.target(),
            registry: Arc::new(Registry::new(plan, Order::Parallel)),
        };
        let (members, version) = (members?, version.clone());
        Ok(Self { members, version, common, keys, writes: 0, files: 0, shards, corpus: None })
    }

    /// How many files of real servers were read and written back so far.
    pub(crate) fn files(&self) -> usize {
        self.files
    }

    /// Pods of all members that do not run, all at once: what their steps came to.
    pub(crate) fn start_all(&mut self) -> Result<Vec<Outcome>, String> {
        self.start_staggered(|_| Duration::ZERO)
    }

    /// The same, but each member's step begins only some time after its pod is there.
    pub(crate) fn start_staggered(
        &mut self,
        after: impl Fn(usize) -> Duration,
    ) -> Result<Vec<Outcome>, String> {
        self.start_those(|_| true, after)
    }

    /// All but some, of which again some have a pod that no machine takes.
    pub(crate) fn start_but(
        &mut self,
        missing: &[usize],
        pending: &[usize],
    ) -> Result<Vec<Outcome>, String> {
        for (_, member) in self.members.iter().enumerate().filter(|(n, _)| pending.contains(n)) {
            self.common.registry.pod_waits(&member.pod);
        }
        self.start_those(|n| !missing.contains(&n), |_| Duration::ZERO)
    }

    fn start_those(
        &mut self,
        which: impl Fn(usize) -> bool,
        after: impl Fn(usize) -> Duration,
    ) -> Result<Vec<Outcome>, String> {
        self.common.registry.set_order(Order::Parallel);
        for (_, member) in self.members.iter().enumerate().filter(|(n, _)| which(*n)) {
            self.common.registry.pod_made(&member.pod, member.address().ip());
        }
        let common = &self.common;
        let outcomes: Vec<_> = thread::scope(|scope| {
            let steps: Vec<_> = self
                .members
                .iter_mut()
                .enumerate()
                .filter(|(n, _)| which(*n))
                .map(|(n, member)| {
                    let pause = after(n);
                    scope.spawn(move || {
                        thread::sleep(pause);
                        member.start(common)
                    })
                })
                .collect();
            steps.into_iter().map(|s| s.join().map_err(|_| "a step panicked".to_owned())).collect()
        });
        outcomes.into_iter().map(|outcome| outcome?).collect()
    }

    /// The same one after the other, each when the server of the one before answers.
    pub(crate) fn start_in_order(&mut self) -> Result<Vec<Outcome>, String> {
        self.common.registry.set_order(Order::Ordered);
        let mut outcomes = Vec::new();
        for member in &mut self.members {
            self.common.registry.pod_made(&member.pod, member.address().ip());
            let outcome = member.start(&self.common)?;
            if outcome.refused.is_none() {
                member.wait_for_answer(PATIENCE)?;
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// A pod for one member.
    pub(crate) fn start_one(&mut self, n: usize) -> Result<Outcome, String> {
        let member = self.members.get(n).ok_or("there is no such member")?;
        self.common.registry.pod_made(&member.pod, member.address().ip());
        self.start_again(n)
    }

    /// The step of a pod that is there already, again.
    pub(crate) fn start_again(&mut self, n: usize) -> Result<Outcome, String> {
        let member = self.members.get_mut(n).ok_or("there is no such member")?;
        member.start(&self.common)
    }

    /// Pods for all members that have no server, all at once.
    pub(crate) fn start_the_rest(&mut self) -> Result<Vec<Outcome>, String> {
        let away: Vec<usize> = self
            .members
            .iter()
            .enumerate()
            .filter(|(_, m)| !m.is_there())
            .map(|(n, _)| n)
            .collect();
        for n in &away {
            let member = self.members.get(*n).ok_or("there is no such member")?;
            self.common.registry.pod_made(&member.pod, member.address().ip());
        }
        let common = &self.common;
        thread::scope(|scope| {
            let steps: Vec<_> = self
                .members
                .iter_mut()
                .filter(|m| !m.is_there())
                .map(|member| scope.spawn(move || member.start(common)))
                .collect();
            steps.into_iter().map(|s| s.join().map_err(|_| "a step panicked".to_owned())?).collect()
        })
    }

    /// A server as its files are, without a step.
    pub(crate) fn launch(&mut self, n: usize) -> Result<(), String> {
        let member = self.members.get_mut(n).ok_or("there is no such member")?;
        member.launch(&self.common).map(|_| ())
    }

    /// Stops these servers where they are: they are there, and answer nobody.
    pub(crate) fn freeze(&mut self, which: impl Fn(usize) -> bool) -> Result<(), String> {
        let members = self.members.iter().enumerate().filter(|(n, _)| which(*n));
        members.map(|(_, m)| m).try_for_each(|member| member.signal("-STOP"))
    }

    /// Lets all servers go on.
    pub(crate) fn thaw(&mut self) -> Result<(), String> {
        self.members.iter().try_for_each(|member| member.signal("-CONT"))
    }

    /// SIGKILL for these members and the end of their pods.
    pub(crate) fn kill(&mut self, which: impl Fn(usize) -> bool) -> Result<(), String> {
        for (n, member) in self.members.iter_mut().enumerate().filter(|(n, _)| which(*n)) {
            if !member.is_there() {
                continue;
            }
            if member.has_died() {
                let words = member.last_words();
                return Err(format!("the server of member {n} has ended by itself: {words}"));
            }
            member.kill();
            self.common.registry.pod_gone(&member.pod);
            let path = member.nodes_conf();
            disk::check_round_trip(&path)?;
            self.files += 1;
            // Enough to have all kinds of them, and few enough to be kept.
            if let Some(corpus) = &self.corpus
                && n % 3 == 0
                && self.files <= 48
            {
                let name = format!("{}-{:02}.conf", self.version.name, self.files);
                fs::copy(&path, corpus.join(name))
                    .map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Every member gets the address that another one had.
    pub(crate) fn swap_addresses(&mut self) {
        let places: Vec<u8> = self.members.iter().map(|m| m.at).collect();
        let others = places.iter().cycle().skip(1);
        self.members.iter_mut().zip(others).for_each(|(member, at)| member.at = *at);
    }

    /// Its servers are another version's from their next start on.
    pub(crate) fn run_as(&mut self, version: &Version) -> Result<(), String> {
        (self.common.program, self.common.target) = (version.program()?, version.target());
        Ok(())
    }

    /// Whether its servers are those it was made with.
    pub(crate) fn is_itself(&self) -> bool {
        self.common.target == self.version.target()
    }

    /// Another set of the same version, of so many shards.
    pub(crate) fn beside(&self, shards: u8) -> Result<Self, String> {
        self.beside_in("beside", shards)
    }

    /// The same, with its disks in a folder of this name.
    pub(crate) fn beside_in(&self, folder: &str, shards: u8) -> Result<Self, String> {
        let place = self.members.first().and_then(|m| m.dir.parent()).ok_or("no members")?;
        let home = &place.join(folder);
        Self::new(&self.version, &self.common.id, home, self.keys.clone(), shards)
    }

    /// The same set elsewhere, over copies of its disks: its servers are at the same nodes and on
    /// this port.
    pub(crate) fn copied(&self, folder: &str, port: u16) -> Result<Self, String> {
        let mut copy = self.beside_in(folder, self.shards)?;
        copy.common.registry = Arc::new(self.common.registry.of_copy());
        for (from, to) in self.members.iter().zip(&mut copy.members) {
            (to.at, to.port, to.door) = (from.at, port, from.door);
            disk::copy_folder(&from.dir, &to.dir)?;
        }
        Ok(copy)
    }

    /// Somebody else's server of the same version, by its words, in a node's namespace.
    pub(crate) fn stranger(&self, node: u8, words: &[&str], dir: &Path) -> Result<Child, String> {
        let server = ground::node_command(&self.common.id, node, &self.common.program)
            .args(words)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        server.map_err(|e| format!("a stranger's server can not be started: {e}"))
    }

    /// Copies some of the files that killed servers leave into this folder.
    pub(crate) fn collect_into(&mut self, corpus: PathBuf) {
        self.corpus = Some(corpus);
    }

    /// What the engine needs by itself: all are killed, every file is told every address, and the
    /// servers are started without a step. The set is started by its steps again afterwards.
    pub(crate) fn by_hand(&mut self, order: Order) -> Result<f64, String> {
        self.kill(|_| true)?;
        let files: Vec<_> = self.members.iter().map(Member::nodes_conf).collect();
        let read = |path: &PathBuf| {
            let bytes = disk::read(path)?.ok_or_else(|| format!("{} is gone", path.display()))?;
            NodesConf::parse(&bytes).map_err(|e| format!("{}: {e}", path.display()))
        };
        let mut confs: Vec<NodesConf> = files.iter().map(read).collect::<Result<_, _>>()?;
        let place = |at: SocketAddr| Address { ip: at.ip(), ports: Ports::plain(at.port()) };
        let addresses: Vec<Address> = self.members.iter().map(|m| place(m.address())).collect();
        let known: BTreeMap<NodeId, Address> = confs
            .iter()
            .zip(&addresses)
            .filter_map(|(conf, address)| Some((conf.myself()?.id, *address)))
            .collect();
        for ((conf, own), path) in confs.iter_mut().zip(&addresses).zip(&files) {
            conf.repair(*own, &known);
            fs::write(path, conf.to_string())
                .map_err(|e| format!("{} can not be written: {e}", path.display()))?;
        }
        let mut last = None;
        for member in &mut self.members {
            last = Some(member.launch(&self.common)?);
            if order == Order::Ordered {
                member.wait_for_answer(PATIENCE)?;
            }
        }
        let ((_, until), _) = self.write_all()?;
        let last = last.ok_or("nobody was started")?;
        let seconds = until.saturating_duration_since(last).as_secs_f64();
        self.wait_until_whole()?;
        self.kill(|_| true)?;
        self.start_all()?;
        self.write_all()?;
        self.wait_until_whole()?;
        Ok(seconds)
    }

    /// A new record in the place of the old one, with a salt of its own, for a set whose claims
    /// are older than it.
    pub(crate) fn lose_record(&mut self) {
        self.common.registry = Arc::new(self.common.registry.made_again());
    }

    /// Writes a key into every slot and waits until the replicas have them, and until everybody
    /// has handed its log to the system: an engine that waits for its disk answers before it does,
    /// by up to 2 s. Returns the name.
    pub(crate) fn fill(&mut self) -> Result<String, String> {
        let (_, name) = self.write_all()?;
        let began = Instant::now();
        while let Err(why) = self.addresses().into_iter().try_for_each(keeps_all) {
            if began.elapsed() > PATIENCE {
                return Err(why);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(name)
    }

    /// Writes a key into every slot and waits until those who took them have handed their logs to the
    /// system, whether they have replicas or not. Returns the name.
    pub(crate) fn write_to_disk(&mut self) -> Result<String, String> {
        let (_, name) = self.write_all()?;
        let began = Instant::now();
        while let Err(why) = self.addresses().into_iter().try_for_each(has_logged) {
            if began.elapsed() > PATIENCE {
                return Err(why);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(name)
    }

    /// Waits until every slot has a master that takes writes.
    pub(crate) fn wait_for_masters(&mut self, patience: Duration) -> Result<(), String> {
        self.writes += 1;
        let name = format!("k{}", self.writes);
        self.keys.write_all(&self.addresses(), &name, &name, patience).map(|_| ())
    }

    /// A key's value, wherever it is.
    pub(crate) fn read(&self, key: &str) -> Result<Option<String>, String> {
        for at in self.addresses() {
            match Client::connect(at, Duration::from_secs(5))?.ask(&["GET", key])? {
                Reply::Error(e) if e.starts_with("MOVED") => {}
                Reply::Error(e) => return Err(format!("{at} says {e}")),
                reply => return Ok(reply.text()),
            }
        }
        Err(format!("nobody has the slot of {key}"))
    }

    /// After a start: waits for all slots, then counts the keys of `name`; without a name, those
    /// that have just been written.
    pub(crate) fn measure(
        &mut self,
        outcomes: &[Outcome],
        name: Option<&str>,
    ) -> Result<Measured, String> {
        let last = outcomes.iter().filter_map(|o| o.started).max().ok_or("nobody was started")?;
        let ((owners, until), written) = self.write_all()?;
        let name = name.unwrap_or(&written);
        let (lost, first) = self.keys.missing(&owners, name, name)?;
        if let Some(first) = first {
            println!("      lost: {first}");
        }
        let seconds = until.saturating_duration_since(last).as_secs_f64();
        let told = self.wait_until_whole()?;
        let whole = last.elapsed().as_secs_f64();
        let unknown = outcomes.iter().map(|o| o.unknown).sum();
        Ok(Measured { seconds, lost, whole, unknown, told, ..Measured::NOTHING })
    }

    /// The first member whose server says that it is a master.
    pub(crate) fn a_master(&self) -> Result<usize, String> {
        let there = self.members.iter().enumerate().filter(|(_, m)| m.is_there());
        for (n, member) in there {
            if is_master(member)? {
                return Ok(n);
            }
        }
        Err("no server says that it is a master".to_owned())
    }

    /// The members whose servers say so.
    pub(crate) fn masters(&self) -> Result<Vec<usize>, String> {
        let mut masters = Vec::new();
        for (n, member) in self.members.iter().enumerate().filter(|(_, m)| m.is_there()) {
            if is_master(member)? {
                masters.push(n);
            }
        }
        Ok(masters)
    }

    /// A member's server, killed and started again as its files are, without a step; when.
    pub(crate) fn restart_in_place(
        &mut self,
        n: usize,
        meanwhile: impl FnOnce(&Member) -> Result<(), String>,
    ) -> Result<Instant, String> {
        let member = self.members.get_mut(n).ok_or("there is no such member")?;
        member.kill();
        meanwhile(member)?;
        member.launch(&self.common)
    }

    /// Waits until these servers take a write for every slot; when that was.
    pub(crate) fn writable_at(
        &mut self,
        servers: &[SocketAddr],
        patience: Duration,
    ) -> Result<Instant, String> {
        self.writes += 1;
        let name = format!("k{}", self.writes);
        self.keys.write_all(servers, &name, &name, patience).map(|(_, at)| at)
    }

    /// How many keys of `name` are gone.
    pub(crate) fn lost(&mut self, name: &str) -> Result<usize, String> {
        let ((owners, _), _) = self.write_all()?;
        Ok(self.keys.missing(&owners, name, name)?.0)
    }

    /// Writes a key into every slot: its owners, and the name of the keys.
    pub(crate) fn write_all(&mut self) -> Result<((Owners, Instant), String), String> {
        self.writes += 1;
        let name = format!("k{}", self.writes);
        let found = self.keys.write_all(&self.addresses(), &name, &name, PATIENCE);
        match found {
            Ok(found) => Ok((found, name)),
            Err(why) => Err(self.with_the_dead(&why)),
        }
    }

    /// Waits until every member knows all the others as healthy and every replica has its master, and
    /// does meanwhile what the pods' hooks do: how often that was needed.
    pub(crate) fn wait_until_whole(&mut self) -> Result<usize, String> {
        let began = Instant::now();
        let (mut told, mut hooks) = (0, began);
        loop {
            let addresses = self.addresses();
            let Err(why) = addresses.iter().try_for_each(|at| whole(*at, self.shards)) else {
                return Ok(told);
            };
            let dead = self.members.iter_mut().any(Member::has_died);
            if dead || began.elapsed() > PATIENCE {
                return Err(self.with_the_dead(&format!("the cluster does not heal: {why}")));
            }
            if hooks.elapsed() > HOOKS {
                hooks = Instant::now();
                for at in addresses {
                    // A server that is dead or loads is found by the others' view of it.
                    told += usize::from(client::follow_master(at).unwrap_or_default());
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn with_the_dead(&mut self, why: &str) -> String {
        let dead = self.members.iter_mut().filter_map(|member| {
            member
                .has_died()
                .then(|| format!("; {} has ended: {}", member.pod, member.last_words()))
        });
        format!("{why}{}", dead.collect::<String>())
    }

    /// Where the servers are that are there.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().filter(|m| m.is_there()).map(Member::address).collect()
    }
}

fn is_master(member: &Member) -> Result<bool, String> {
    let mut client = Client::connect(member.address(), Duration::from_secs(5))?;
    Ok(client.info("replication")?.get("role").is_some_and(|role| role == "master"))
}

/// Whether a node's log is written, and a master's replica has all that it has.
fn keeps_all(at: SocketAddr) -> Result<(), String> {
    has_logged(at)?;
    let mut client = Client::connect(at, Duration::from_secs(5))?;
    let said = client.info("replication")?;
    let offset = said.get("master_repl_offset").and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let has = said.get("slave0").and_then(|line| {
        let fields = line.split(',').filter_map(|field| field.split_once('='));
        fields.into_iter().find(|(name, _)| *name == "offset")?.1.parse::<u64>().ok()
    });
    match has {
        // A ping or two of the replication itself may have come since; a write is longer.
        Some(has) if has + 28 < offset => Err(format!("the replica of {at} is behind")),
        None if said.get("role").is_some_and(|role| role == "master") => {
            Err(format!("the master at {at} has no replica"))
        }
        _ => Ok(()),
    }
}

/// Whether a node has handed its log to the system.
fn has_logged(at: SocketAddr) -> Result<(), String> {
    let mut client = Client::connect(at, Duration::from_secs(5))?;
    match client.info("persistence")?.get("aof_buffer_length").is_some_and(|n| n != "0") {
        true => Err(format!("{at} does not write its log")),
        false => Ok(()),
    }
}

/// Whether a node sees a whole cluster.
fn whole(at: SocketAddr, shards: u8) -> Result<(), String> {
    let mut client = Client::connect(at, Duration::from_secs(1))?;
    let nodes = client.text(&["CLUSTER", "NODES"])?;
    let conf = NodesConf::parse(nodes.as_bytes()).map_err(|e| e.to_string())?;
    let bad = [Flag::Failing, Flag::PossiblyFailing, Flag::Handshake, Flag::NoAddress];
    if let Some(node) = conf.nodes().find(|n| bad.iter().any(|flag| n.flags.contains(flag))) {
        return Err(format!("{at} says: {node}"));
    }
    let (all, masters) = (
        conf.nodes().count(),
        conf.nodes().filter(|n| n.is_master() && !n.slots.is_empty()).count(),
    );
    let shards = usize::from(shards);
    if (all, masters) != (shards * 2, shards) {
        return Err(format!("{at} knows {all} nodes, {masters} of them masters"));
    }
    let said = client.info("replication")?;
    let is = |name: &str, value: &str| said.get(name).is_some_and(|v| v == value);
    if is("role", "slave") && !is("master_link_status", "up") {
        return Err(format!("{at} has no link to its master"));
    }
    if is("role", "master") && !is("connected_slaves", "1") {
        return Err(format!("{at} is a master without its replica"));
    }
    Ok(())
}

/// A set's folder.
pub(crate) fn home(id: &str) -> PathBuf {
    std::env::temp_dir().join(format!("mooring-engines-{id}"))
}
