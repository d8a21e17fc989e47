//! Servers alone, without Mooring: files written by hand, processes started and killed, as it was
//! done with real ones.

use std::collections::BTreeMap;

use cluster::id::{NodeId, Ordinal};
use cluster::net::{Address, Ports};
use cluster::nodes::{Format, NodesConf};
use cluster::plan::Plan;
use sim::data::{Acknowledged, Writes};
use sim::disk::{DiskId, File};
use sim::engine::{Family, Options, Owner, Role, Takeover};
use sim::ids::{Addr, Nid, ProcId};
use sim::net::End;
use sim::schedule::{Config, Schedule};
use sim::trace::Trace;
use sim::units::Unit;
use sim::world::World;

/// `cluster-node-timeout` in all measurements.
pub(crate) const TIMEOUT: u64 = 5000;

/// 3 + 3 servers; a second cluster of as many, if asked for.
pub(crate) struct Lab {
    pub(crate) world: World,
    pub(crate) family: Family,
    pub(crate) plan: Plan,
    /// Where each server is, by set and ordinal.
    pub(crate) servers: BTreeMap<(usize, u32), ProcId>,
    disks: BTreeMap<(usize, u32), DiskId>,
    /// Who may copy whom.
    pub(crate) secret: u8,
    /// Whether servers keep their data.
    pub(crate) persist: bool,
    /// `cluster-replica-validity-factor` of servers started from now on.
    pub(crate) validity: u64,
}

impl Lab {
    /// Six servers that have formed a cluster, and hold keys.
    pub(crate) fn formed(family: Family) -> Self {
        Self::formed_by(family, 7)
    }

    /// The same with other chances.
    pub(crate) fn formed_by(family: Family, seed: u64) -> Self {
        let mut lab = Self::new(family);
        lab.world.rng.seed(seed);
        let all: Vec<u32> = (0..6).collect();
        lab.bootstrap(0, 1, &all);
        lab.until(5_000, Self::all_ok);
        lab.write(3_000);
        lab
    }

    pub(crate) fn new(family: Family) -> Self {
        let config = Config { timeout: TIMEOUT, ..Config::usual(family) };
        let schedule = Schedule { seed: 7, config, events: Vec::new() };
        Self {
            world: World::bare(schedule, None, Trace::Silent),
            family,
            plan: Plan {
                salt: "s".to_owned(),
                shards: 3,
                replicas_per_shard: 1,
                generation: 1,
                sets: Vec::new(),
            },
            servers: BTreeMap::new(),
            disks: BTreeMap::new(),
            secret: 0,
            persist: true,
            validity: 10,
        }
    }

    /// Complete files, each with the addresses of those before it; a start every 50 ms.
    pub(crate) fn bootstrap(&mut self, set: usize, first: u8, order: &[u32]) {
        let mut known = BTreeMap::new();
        for ordinal in order {
            let addr = Addr(first + *ordinal as u8);
            let own = address(addr);
            let conf =
                NodesConf::bootstrap(&self.plan, Ordinal(*ordinal), own, &known, Format::Plain);
            known.insert(self.node(*ordinal), own);
            self.put(set, *ordinal, &conf.unwrap());
            self.start(set, *ordinal, addr);
            self.world.pass(50);
        }
    }

    /// The id of a member by the plan.
    pub(crate) fn node(&self, ordinal: u32) -> NodeId {
        self.plan.node_id(Ordinal(ordinal))
    }

    pub(crate) fn nid(&mut self, ordinal: u32) -> Nid {
        let id = self.node(ordinal);
        self.world.names.number(id)
    }

    // --- disks ---

    pub(crate) fn disk(&mut self, set: usize, ordinal: u32) -> DiskId {
        let world = &mut self.world;
        *self.disks.entry((set, ordinal)).or_insert_with(|| world.make_disk(set, ordinal))
    }

    pub(crate) fn put(&mut self, set: usize, ordinal: u32, conf: &NodesConf) {
        let disk = self.disk(set, ordinal);
        self.world.disk(disk).conf = File::Text(conf.to_string().into_bytes());
    }

    pub(crate) fn conf(&mut self, set: usize, ordinal: u32) -> NodesConf {
        let disk = self.disk(set, ordinal);
        let world = &self.world;
        let text = world.disks[disk.0].conf.text(&world.procs, &world.names, &world.units);
        NodesConf::parse(&text.unwrap()).unwrap()
    }

    /// The data files are gone.
    pub(crate) fn empty(&mut self, set: usize, ordinal: u32) {
        let disk = self.disk(set, ordinal);
        self.world.disk(disk).data = Writes::default();
    }

    /// The file by node id: own address, those that are known, all flags dropped.
    pub(crate) fn repair(&mut self, ordinal: u32, own: Addr, known: &BTreeMap<NodeId, Address>) {
        let mut conf = self.conf(0, ordinal);
        conf.repair(address(own), known);
        self.put(0, ordinal, &conf);
    }

    // --- servers ---

    pub(crate) fn start(&mut self, set: usize, ordinal: u32, addr: Addr) -> ProcId {
        let disk = Some(self.disk(set, ordinal));
        let with = Options {
            id: ProcId(0),
            owner: Owner::Pod { set, ordinal },
            family: self.family,
            addr,
            secret: self.secret,
            cluster: true,
            persist: self.persist,
            disk,
            timeout: TIMEOUT,
            validity: self.validity,
        };
        let id = self.world.start_proc(with, 5);
        self.servers.insert((set, ordinal), id);
        id
    }

    /// Somebody else's server.
    pub(crate) fn stranger(&mut self, addr: Addr, cluster: bool, secret: u8) -> ProcId {
        let with = Options {
            id: ProcId(0),
            owner: Owner::Stranger,
            family: self.family,
            addr,
            secret,
            cluster,
            persist: false,
            disk: None,
            timeout: TIMEOUT,
            validity: 10,
        };
        self.world.start_proc(with, 5)
    }

    pub(crate) fn server(&self, ordinal: u32) -> &sim::engine::Proc {
        self.world.proc(self.servers[&(0, ordinal)])
    }

    pub(crate) fn addr(&self, ordinal: u32) -> Addr {
        self.server(ordinal).with.addr
    }

    pub(crate) fn kill(&mut self, ordinal: u32) {
        let id = self.servers[&(0, ordinal)];
        self.world.end_proc(id, End::Reset);
    }

    pub(crate) fn kill_all(&mut self) {
        (0..6).for_each(|ordinal| self.kill(ordinal));
    }

    pub(crate) fn force(&mut self, ordinal: u32) {
        let id = self.servers[&(0, ordinal)];
        assert!(self.world.act(id, |proc, cx| proc.take_over(cx, Takeover::Force)));
    }

    /// All files repaired for new addresses (everybody has the one of the next ordinal), those of
    /// `order` started in that order, each knowing those before it; `pause` between two starts.
    pub(crate) fn restart(&mut self, order: &[u32], pause: u64) {
        let mut known = BTreeMap::new();
        for ordinal in order {
            let addr = Addr((ordinal + 1) as u8 % 6 + 1);
            self.repair(*ordinal, addr, &known);
            known.insert(self.node(*ordinal), address(addr));
            self.start(0, *ordinal, addr);
            self.world.pass(pause);
        }
    }

    // --- what comes of it ---

    /// A client writes for so long, and then no more; gives how many writes were taken.
    pub(crate) fn write(&mut self, time: u64) -> usize {
        let before = self.world.ledger.all().len();
        let end = self.world.now() + time;
        let units: Vec<Unit> = self.world.units.each().collect();
        for unit in units.into_iter().cycle() {
            let now = self.world.now();
            if now >= end {
                break;
            }
            let taker = self.world.living(0).find(|id| self.world.proc(*id).accepts(unit, now));
            if let Some(by) = taker {
                let write = Acknowledged { unit, set: 0, at: now, by, excuse: None, stale: None };
                let id = self.world.ledger.note(self.world.units.count(), write);
                self.world.keep(by, id);
            }
            self.world.pass(10);
        }
        // The last ones reach the replicas.
        self.world.pass(50);
        self.world.ledger.all().len() - before
    }

    /// How long until it holds; it has to within `limit`.
    #[track_caller]
    pub(crate) fn until(&mut self, limit: u64, holds: impl Fn(&Self) -> bool) -> u64 {
        self.within(limit, holds).expect("it does not come to hold")
    }

    /// The same; `None` if it does not come to hold.
    pub(crate) fn within(&mut self, limit: u64, holds: impl Fn(&Self) -> bool) -> Option<u64> {
        let began = self.world.now();
        while self.world.now() <= began + limit {
            if holds(self) {
                return Some(self.world.now() - began);
            }
            self.world.pass(10);
        }
        None
    }

    pub(crate) fn living(&self) -> Vec<ProcId> {
        self.world.living(0).collect()
    }

    pub(crate) fn all_ok(&self) -> bool {
        self.living().iter().all(|id| self.world.proc(*id).ok)
    }

    pub(crate) fn links_up(&self) -> bool {
        let up = |id: &ProcId| self.world.proc(*id).repl.is_none_or(|r| r.up.is_some());
        self.living().iter().all(up)
    }

    /// Everybody sees the same owner of every unit.
    pub(crate) fn one_view(&self) -> bool {
        let owners = |id: &ProcId| -> Vec<Option<Nid>> {
            let peers = &self.world.proc(*id).peers;
            let of = |unit: Unit| peers.iter().find(|p| p.slots.has(unit)).map(|p| p.id);
            self.world.units.each().map(of).collect()
        };
        let all: Vec<_> = self.living().iter().map(owners).collect();
        all.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// How many acknowledged writes the present owners do not have.
    pub(crate) fn lost(&self) -> u32 {
        let count = self.world.units.count();
        self.world
            .units
            .each()
            .map(|unit| {
                let all = self.world.ledger.of(count, 0, unit);
                let now = self.world.now();
                let owner = self.world.living(0).find(|id| self.world.proc(*id).accepts(unit, now));
                owner.map_or(all.count(), |id| all.without(&self.world.proc(id).data).count())
            })
            .sum()
    }

    /// Where everybody who lives is.
    pub(crate) fn addresses(&self) -> BTreeMap<NodeId, Address> {
        let here = self.living();
        let of = |id: &ProcId| {
            let proc = self.world.proc(*id);
            (self.world.names.id(proc.id()), address(proc.with.addr))
        };
        here.iter().map(of).collect()
    }

    /// Whether a member owns slots.
    pub(crate) fn owns(&self, ordinal: u32) -> bool {
        let me = self.server(ordinal).me();
        me.role == Role::Master && !me.slots.is_empty()
    }
}

pub(crate) fn address(addr: Addr) -> Address {
    Address { ip: addr.ip(), ports: Ports::plain(6379) }
}
