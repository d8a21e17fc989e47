//! A set of one version: made, killed, moved, and copied.
//!
//! Guarantees: nobody starts a server but a member's step, where nothing else is said; every
//! nodes.conf that a killed server leaves has been compared with what the parser writes back.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cluster::plan::Plan;

use crate::keys::Keys;
use crate::member::{Common, Member};
use crate::registry::{Order, Registry};
use crate::versions::Version;
use crate::{disk, ground};

pub(crate) use measured::{Control, Measured};

mod look;
mod measured;
mod start;

/// By when all slots have to be writable, and everybody has to be there again.
const PATIENCE: Duration = Duration::from_secs(40);

/// How many members a set has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Shape {
    /// Masters.
    pub(crate) shards: u8,
    /// Of each master.
    pub(crate) replicas: u8,
}

// === impl Shape ===

impl Shape {
    /// Three masters with a replica each.
    pub(crate) const USUAL: Self = Self { shards: 3, replicas: 1 };

    /// All of them.
    pub(crate) fn members(self) -> u8 {
        self.shards * (1 + self.replicas)
    }
}

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
    shape: Shape,
    corpus: Option<PathBuf>,
}

// === impl Set ===

impl Set {
    /// A set whose members have not been started and whose disks are empty.
    pub(crate) fn new(
        version: &Version,
        id: &str,
        home: &Path,
        keys: Arc<Keys>,
        shape: Shape,
    ) -> Result<Self, String> {
        let plan = Plan {
            salt: format!("{id}-{}", version.name),
            shards: u32::from(shape.shards),
            replicas_per_shard: u32::from(shape.replicas),
            generation: 1,
            sets: Vec::new(),
        };
        let members: Result<_, _> = (0..shape.members()).map(|n| Member::new(home, n)).collect();
        let common = Common {
            id: id.to_owned(),
            program: version.program()?,
            target: version.target(),
            registry: Arc::new(Registry::new(plan, Order::Parallel)),
        };
        let (members, version) = (members?, version.clone());
        Ok(Self { members, version, common, keys, writes: 0, files: 0, shape, corpus: None })
    }

    /// How many files of real servers were read and written back so far.
    pub(crate) fn files(&self) -> usize {
        self.files
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

    /// Another set of the same version, with its disks in a folder of this name.
    pub(crate) fn beside(&self, folder: &str, shape: Shape) -> Result<Self, String> {
        let place = self.members.first().and_then(|m| m.dir.parent()).ok_or("no members")?;
        let home = &place.join(folder);
        Self::new(&self.version, &self.common.id, home, self.keys.clone(), shape)
    }

    /// The same set elsewhere, over copies of its disks: its servers are at the same nodes and on
    /// this port.
    pub(crate) fn copied(&self, folder: &str, port: u16) -> Result<Self, String> {
        let mut copy = self.beside(folder, self.shape)?;
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

    /// A new record in the place of the old one, with a salt of its own, for a set whose claims
    /// are older than it.
    pub(crate) fn lose_record(&mut self) {
        self.common.registry = Arc::new(self.common.registry.made_again());
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

/// A set's folder.
pub(crate) fn home(id: &str) -> PathBuf {
    std::env::temp_dir().join(format!("mooring-engines-{id}"))
}
