//! Empty, unreadable and copied disks, against a registry that judges as the real one does and
//! servers that do what they are told.

use super::*;
use crate::protocol::Identity;
use crate::record::{self, Change};

mod by_record;
mod damaged;
mod empty;
mod handed_on;
mod missing;
mod several;

/// What is around the member `cache-0`, the first master.
struct World {
    disk: DiskSeen,
    view: Option<View>,
    servers: BTreeMap<SocketAddr, NodesConf>,
    /// Servers that hold keys.
    full: BTreeSet<NodeId>,
    /// Replicas that have read their log and have not met their master since.
    just_read: BTreeSet<NodeId>,
    /// Whether a replica that is told to is elected.
    elects: bool,
    /// Replicas whose link is up, and whom they have copied.
    copies: BTreeMap<NodeId, NodeId>,
    /// How long ago replicas have lost the link to their master.
    linked: BTreeMap<NodeId, u64>,
    /// Servers that load their data.
    loading: BTreeSet<SocketAddr>,
}

impl World {
    /// All others run; `cache-3` is this member's replica.
    fn running() -> Self {
        let mut world = Self {
            disk: DiskSeen::default(),
            view: Some(view(&[0, 1, 2, 3, 4, 5])),
            servers: BTreeMap::new(),
            full: plan().ordinals().map(|o| plan().node_id(o)).collect(),
            just_read: BTreeSet::new(),
            elects: true,
            copies: BTreeMap::new(),
            linked: BTreeMap::new(),
            loading: BTreeSet::new(),
        };
        for ordinal in 1..6 {
            world.servers.insert(server(ordinal), seen_by(ordinal));
        }
        world.own(Disk::default(), true);
        world
    }

    /// All have stopped, and only those members have registered since.
    fn stopped(registered: &[u32]) -> Self {
        let mut world = Self::running();
        world.servers.clear();
        if let Some(view) = &mut world.view {
            let back = |name: &str| registered.iter().any(|o| name == format!("cache-{o}"));
            for (name, member) in std::mem::take(&mut view.members) {
                match name == view.pod || back(&name) {
                    true => view.members.insert(name, member),
                    false => view.earlier.insert(name, member),
                };
            }
            view.pods.retain(|name, _| *name == view.pod || back(name));
            for pod in view.pods.values_mut() {
                pod.running = false;
            }
        }
        world
    }

    /// What the registry says of this member.
    fn own(&mut self, disk: Disk, was: bool) {
        if let Some(view) = &mut self.view {
            let blank = disk.identity.is_none();
            let own = view.members.get_mut("cache-0").unwrap();
            own.was = (blank && was).then(|| identity(0));
            own.node_id = disk.identity.as_ref().map(|i| i.node_id);
            own.disk = disk;
        }
    }

    /// nodes.conf is there and the data are not.
    fn emptied(mut self) -> Self {
        self.disk = DiskSeen { nodes_conf: Some(file(0, 99).into_bytes()), ..self.disk };
        self.own(Disk { identity: Some(identity(0)), ..Disk::default() }, true);
        self
    }

    fn member(&mut self, ordinal: u32, disk: Disk) {
        let view = self.view.as_mut().unwrap();
        let name = format!("cache-{ordinal}");
        let member = view.members.get_mut(&name).or(view.earlier.get_mut(&name)).unwrap();
        member.disk = disk;
    }

    fn run(&mut self) -> (Vec<Action>, Millis) {
        let mut setup = cluster();
        setup.hold_back = HoldBack::Allowed;
        let world = std::cell::RefCell::new(self);
        drive(setup, |action| world.borrow_mut().answer(action))
    }

    fn answer(&mut self, action: &Action) -> Option<Fact> {
        Some(match action {
            Action::ReadDisk => Fact::Disk(self.disk.clone()),
            Action::Register(body) => match &mut self.view {
                Some(view) => {
                    let own = view.members.get("cache-0").cloned();
                    let place = record::Place { namespace: &view.namespace, set: &view.name };
                    let entry = record::entry(
                        place,
                        &view.name,
                        &view.plan,
                        "cache-0",
                        body,
                        own.as_ref(),
                        &view.past,
                    );
                    let own = view.members.get_mut("cache-0").unwrap();
                    own.node_id = entry.node_id;
                    own.disk = entry.disk;
                    own.was = entry.was;
                    Fact::Registered(Box::new(view.clone()))
                }
                None => Fact::RegistryFailed { why: "away".to_owned(), retry: true },
            },
            Action::Resolve => Fact::Resolved(self.servers.keys().map(SocketAddr::ip).collect()),
            Action::Write { .. } => Fact::Written(Ok(())),
            Action::Report(_) => Fact::Reported(Ok(())),
            Action::Probe(at) => Fact::Probed {
                at: *at,
                answer: match self.servers.get(at).and_then(NodesConf::myself) {
                    Some(me) => Answer::Node(me.id),
                    None => Answer::Nobody,
                },
            },
            Action::Inspect(at) => Fact::Inspected {
                at: *at,
                answer: match self.servers.get(at) {
                    _ if self.loading.contains(at) => Inspected::Unclear,
                    Some(nodes) => Inspected::Node(Box::new(self.inspection(nodes))),
                    None => Inspected::Nobody,
                },
            },
            Action::Force { at, id, how } => {
                assert_eq!(self.servers[at].myself().map(|me| me.id), Some(*id));
                if self.elects || *how == How::Record {
                    self.promote(*id);
                }
                Fact::Forced { at: *at, result: Ok(()) }
            }
            Action::Propose(proposal) => Fact::Proposed(self.judge(proposal)),
            Action::Start(_) | Action::Refuse(_) => return None,
        })
    }

    fn inspection(&self, nodes: &NodesConf) -> Inspection {
        let me = nodes.myself().unwrap();
        Inspection {
            nodes: nodes.clone(),
            offset: match self.full.contains(&me.id) && !self.just_read.contains(&me.id) {
                true => 100,
                false => 0,
            },
            link: me.master.map(|_| self.copies.get(&me.id).map_or(Link::Down, |_| Link::Up)),
            linked_ago: self.linked.get(&me.id).copied(),
            stream: Some(self.copies.get(&me.id).unwrap_or(&me.id).to_string()),
            keys: u64::from(self.full.contains(&me.id)),
        }
    }

    /// As after an election that all have heard of.
    fn promote(&mut self, id: NodeId) {
        for nodes in self.servers.values_mut() {
            let text: String = nodes
                .to_string()
                .lines()
                .map(|line| promoted(line, id, plan().node_id(Ordinal(0))) + "\n")
                .collect();
            *nodes = NodesConf::parse(text.as_bytes()).unwrap();
        }
    }

    fn judge(&mut self, proposal: &Proposal) -> Result<Box<View>, String> {
        let view = self.view.as_mut().ok_or("away")?;
        let members = all_members(view);
        match record::judge(proposal, &standing(view, &members))? {
            Change::Generation(generation) => view.plan.generation = generation,
            Change::Succession(from, succession) => {
                view.successions.insert(from, succession);
            }
            Change::Nothing => {}
        }
        Ok(Box::new(view.clone()))
    }
}

/// The record names this heir of the first shard's slots.
fn named(heir: NodeId, epoch: u64) -> crate::protocol::Succession {
    let slots = vec![plan().slots(0).unwrap()];
    crate::protocol::Succession { heir, slots, epoch, held: None, reason: String::new() }
}

fn server(ordinal: u32) -> SocketAddr {
    SocketAddr::new(ip(ordinal as u8 + 10), 6379)
}

fn identity(ordinal: u32) -> Identity {
    NodesConf::parse(file(ordinal, 99).as_bytes()).unwrap().identity().unwrap()
}

/// A running member's CLUSTER NODES.
fn seen_by(ordinal: u32) -> NodesConf {
    let text = file(ordinal, ordinal as u8 + 10).replace("disconnected", "connected");
    NodesConf::parse(text.as_bytes()).unwrap()
}

fn promoted(line: &str, heir: NodeId, from: NodeId) -> String {
    let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
    let mine = if words.get(2).is_some_and(|f| f.starts_with("myself")) { "myself," } else { "" };
    if words[0] == heir.as_str() {
        words.truncate(8);
        words[2] = format!("{mine}master");
        words[3] = "-".to_owned();
        words[6] = "9".to_owned();
        words.push(plan().slots(0).unwrap().to_string());
    } else if words[0] == from.as_str() {
        words[2] = "master,fail".to_owned();
        words.truncate(8);
    }
    words.join(" ")
}

fn reason(actions: &[Action]) -> &str {
    match actions {
        [.., Action::Start(Some(report))] | [.., Action::Report(report), Action::Start(None)] => {
            &report.reason
        }
        other => panic!("{other:?}"),
    }
}

fn forced(actions: &[Action]) -> Option<(NodeId, How)> {
    actions.iter().find_map(|a| match a {
        Action::Force { id, how, .. } => Some((*id, *how)),
        _ => None,
    })
}

fn id(ordinal: u32) -> NodeId {
    plan().node_id(Ordinal(ordinal))
}

fn full_disk(ordinal: u32) -> Disk {
    Disk { identity: Some(identity(ordinal)), data: true, keeps: true, ..Disk::default() }
}
