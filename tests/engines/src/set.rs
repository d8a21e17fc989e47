//! A set of six members of one version: made, killed, started again, and looked at.
//!
//! Guarantees: nobody starts a server but a member's step; every nodes.conf that a killed server
//! leaves has been compared with what the parser writes back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cluster::nodes::{Flag, NodesConf};
use cluster::plan::Plan;

use crate::client::{self, Client};
use crate::disk;
use crate::keys::{Keys, Owners};
use crate::member::{Common, Member, Outcome};
use crate::registry::{Order, Registry};
use crate::versions::Version;

/// Three masters, each with a replica.
pub(crate) const MEMBERS: u8 = 6;
/// By when all slots have to be writable, and everybody has to be there again.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often the hooks look after their servers.
const HOOKS: Duration = Duration::from_secs(2);

/// The set.
pub(crate) struct Set {
    /// Its members by their ordinals.
    pub(crate) members: Vec<Member>,
    common: Common,
    keys: Arc<Keys>,
    writes: u32,
    files: usize,
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
}

// === impl Set ===

impl Set {
    /// A set whose members have not been started and whose disks are empty.
    pub(crate) fn new(
        version: &Version,
        id: &str,
        home: &Path,
        keys: Arc<Keys>,
    ) -> Result<Self, String> {
        let plan = Plan {
            salt: format!("{id}-{}", version.name),
            shards: 3,
            replicas_per_shard: 1,
            generation: 1,
        };
        let members: Result<_, _> = (0..MEMBERS).map(|n| Member::new(home, n)).collect();
        let common = Common {
            id: id.to_owned(),
            program: version.program()?,
            target: version.target(),
            registry: Arc::new(Registry::new(plan, Order::Parallel)),
        };
        Ok(Self { members: members?, common, keys, writes: 0, files: 0 })
    }

    /// How many files of real servers were read and written back so far.
    pub(crate) fn files(&self) -> usize {
        self.files
    }

    /// Pods of all members that do not run, all at once: what their steps came to.
    pub(crate) fn start_all(&mut self) -> Result<Vec<Outcome>, String> {
        self.common.registry.set_order(Order::Parallel);
        for member in &self.members {
            self.common.registry.pod_made(&member.pod, member.address().ip());
        }
        let common = &self.common;
        let outcomes: Vec<_> = thread::scope(|scope| {
            let steps: Vec<_> = self
                .members
                .iter_mut()
                .map(|member| scope.spawn(move || member.start(common)))
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

    /// SIGKILL for these members and the end of their pods.
    pub(crate) fn kill(&mut self, which: impl Fn(usize) -> bool) -> Result<(), String> {
        for (n, member) in self.members.iter_mut().enumerate().filter(|(n, _)| which(*n)) {
            if member.has_died() {
                let words = member.last_words();
                return Err(format!("the server of member {n} has ended by itself: {words}"));
            }
            member.kill();
            self.common.registry.pod_gone(&member.pod);
            disk::check_round_trip(&member.nodes_conf())?;
            self.files += 1;
        }
        Ok(())
    }

    /// Every member gets the address that another one had.
    pub(crate) fn swap_addresses(&mut self) {
        for member in &mut self.members {
            member.at = (member.at + 1) % MEMBERS;
        }
    }

    /// Writes a key into every slot and waits until the replicas have them. Returns the name.
    pub(crate) fn fill(&mut self) -> Result<String, String> {
        let (_, name) = self.write_all()?;
        for node in self.addresses() {
            let mut client = Client::connect(node, Duration::from_secs(5))?;
            if client.info("replication")?.get("role").is_some_and(|role| role == "master") {
                client.ask(&["WAIT", "1", "3000"])?;
            }
        }
        Ok(name)
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
        Ok(Measured { seconds, lost, whole, unknown, told })
    }

    /// How many keys of `name` are gone.
    pub(crate) fn lost(&mut self, name: &str) -> Result<usize, String> {
        let ((owners, _), _) = self.write_all()?;
        Ok(self.keys.missing(&owners, name, name)?.0)
    }

    fn write_all(&mut self) -> Result<((Owners, Instant), String), String> {
        self.writes += 1;
        let name = format!("k{}", self.writes);
        let found = self.keys.write_all(&self.addresses(), &name, &name, PATIENCE);
        match found {
            Ok(found) => Ok((found, name)),
            Err(why) => Err(self.with_the_dead(&why)),
        }
    }

    /// Waits until every member knows six healthy nodes and every replica has its master, and
    /// does meanwhile what the pods' hooks do: how often that was needed.
    pub(crate) fn wait_until_whole(&mut self) -> Result<usize, String> {
        let began = Instant::now();
        let (mut told, mut hooks) = (0, began);
        loop {
            let addresses = self.addresses();
            let Err(why) = addresses.iter().try_for_each(|at| whole(*at)) else { return Ok(told) };
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

    fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(Member::address).collect()
    }
}

/// Whether a node sees a whole cluster.
fn whole(at: SocketAddr) -> Result<(), String> {
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
    if (all, masters) != (usize::from(MEMBERS), 3) {
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
