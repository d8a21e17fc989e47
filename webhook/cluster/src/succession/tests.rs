use std::collections::BTreeMap;
use std::net::IpAddr;

use super::*;
use crate::id::Ordinal;
use crate::net::{Address, Ports};
use crate::nodes::Format;
use crate::plan::Plan;
use crate::planner::Inspection;
use crate::protocol::{Disk, Identity, Member, Pod, Stopped};
use crate::resp::Reply;
use crate::sample;

mod data;
mod master;
mod naming;
mod words;

const NODE_TIMEOUT: u64 = 5_000;
const SECOND: u64 = 1_000;

fn plan() -> Plan {
    Plan {
        salt: "salt".to_owned(),
        shards: 3,
        replicas_per_shard: 1,
        generation: 1,
        sets: Vec::new(),
    }
}

fn id(ordinal: u32) -> NodeId {
    plan().node_id(Ordinal(ordinal))
}

fn ip(n: u32) -> IpAddr {
    IpAddr::from([10, 0, 0, n as u8 + 10])
}

fn name(ordinal: u32) -> String {
    format!("cache-{ordinal}")
}

fn time(second: u64) -> String {
    format!("2026-11-26T18:{:02}:{:02}.000000Z", second / 60, second % 60)
}

/// A registration in this second of the hour, over a disk that was written so long before.
fn member(ordinal: u32, registered: u64, written_ago: u64) -> Member {
    let conf = file(ordinal);
    Member {
        registered_at: time(registered),
        disk: Disk {
            identity: conf.identity(),
            data: true,
            keeps: true,
            written_ago: Some(written_ago),
            ..Disk::default()
        },
        ..sample::member(&format!("uid-{ordinal}"), Some(id(ordinal)), &[ip(ordinal)])
    }
}

fn pod(ordinal: u32) -> Pod {
    sample::pod(&format!("uid-{ordinal}"), &[ip(ordinal)])
}

fn file(ordinal: u32) -> NodesConf {
    let at = |o: u32| Address { ip: ip(o), ports: Ports::plain(6379) };
    let peers = plan().ordinals().map(|o| (plan().node_id(o), at(o.0))).collect();
    NodesConf::bootstrap(&plan(), Ordinal(ordinal), at(ordinal), &peers, Format::Plain).unwrap()
}

/// The pod cache-3, replica of cache-0 that does not come back: all stopped in the 10th minute,
/// and all others are there since the 20th.
struct World {
    view: View,
    own: Own,
    /// Whether the masters are linked.
    linked: Vec<u32>,
    /// What a vote or the record's word makes of the server: by epoch.
    vote: Option<u64>,
    takeover: Option<u64>,
    around: Vec<Inspected>,
    propose: Result<(), String>,
    deadline: u64,
    /// From when on the pods are these.
    later: Option<(u64, BTreeMap<String, Pod>)>,
}

impl World {
    fn new() -> Self {
        let members = (1..6).map(|o| (name(o), member(o, 20 * 60, 10 * 60 * SECOND))).collect();
        let view = View {
            namespace: "shop".to_owned(),
            name: "cache".to_owned(),
            pod: name(3),
            ordinal: Ordinal(3),
            replicas: 6,
            parallel: true,
            listed: Vec::new(),
            past: Vec::new(),
            plan: plan(),
            before: None,
            members,
            pods: (1..6).map(|o| (name(o), pod(o))).collect(),
            earlier: BTreeMap::from([(name(0), member(0, 60, 0))]),
            claims: None,
            successions: BTreeMap::new(),
            heirs: HeirPolicy::Fresh,
            forgotten: BTreeSet::new(),
            ended: BTreeMap::new(),
            predecessor_ended: true,
            hook_token: String::new(),
            restored: false,
            secret: None,
        };
        let own = Own {
            nodes: file(3),
            current_epoch: 3,
            master: Some(id(0)),
            was_linked: false,
            offset: 0,
            keys: true,
            uptime: Millis(0),
            clock: 1_790_000_000_000,
            votes_anew: false,
        };
        Self {
            view,
            own,
            linked: vec![1, 2],
            vote: Some(4),
            takeover: Some(4),
            around: Vec::new(),
            propose: Ok(()),
            deadline: 30 * SECOND,
            later: None,
        }
    }

    fn disk(&mut self, ordinal: u32) -> &mut Disk {
        &mut self.view.members.get_mut(&name(ordinal)).unwrap().disk
    }

    fn master_at(&mut self, epoch: u64) {
        self.own.nodes.succeed(epoch).unwrap();
        self.own.master = None;
    }

    fn nodes(&self) -> NodesConf {
        let text = self.own.nodes.to_string();
        let lines = text.lines().map(|line| {
            let linked = self.linked.iter().any(|o| line.starts_with(id(*o).as_str()));
            let link = if linked { "connected" } else { "disconnected" };
            line.replace(" disconnected", &format!(" {link}")) + "\n"
        });
        NodesConf::parse(lines.collect::<String>().as_bytes()).unwrap()
    }

    /// Until the end: what was done, and when it ended.
    fn run(mut self) -> (Vec<Action>, Millis) {
        let mut machine = Succession::new(Setup {
            node_timeout: Millis(NODE_TIMEOUT),
            deadline: Millis(self.deadline),
        });
        let (mut now, mut done) = (Millis(0), Vec::new());
        for _ in 0..10_000 {
            let action = machine.poll(now);
            match &action {
                Action::End => return (done, now),
                Action::Wait(until) => {
                    assert!(*until > now, "it waits for nothing");
                    now = *until;
                    continue;
                }
                Action::Look => {
                    let uptime = Millis(self.own.uptime.0 + now.0);
                    let own = Own { nodes: self.nodes(), uptime, ..self.own.clone() };
                    machine.observe(now, Fact::Looked(Ok(Box::new(own))));
                    continue;
                }
                Action::View => {
                    if let Some((from, pods)) = &self.later
                        && now.0 >= *from
                    {
                        self.view.pods.clone_from(pods);
                    }
                    machine.observe(now, Fact::Viewed(Ok(Box::new(self.view.clone()))));
                    continue;
                }
                Action::Inspect(_) => {
                    machine.observe(now, Fact::Inspected(self.around.clone()));
                    continue;
                }
                Action::Promote(how) => {
                    let epoch = match how {
                        How::Vote => self.vote,
                        How::Record => self.takeover,
                    };
                    if let Some(epoch) = epoch {
                        self.master_at(epoch);
                    }
                }
                Action::Propose(Proposal::Succeed { from, succession }) => {
                    let answer = self.propose.clone().map(|()| {
                        self.view.successions.insert(*from, succession.clone());
                        Box::new(self.view.clone())
                    });
                    machine.observe(now, Fact::Proposed(answer));
                }
                Action::Propose(_) | Action::Report(_) => {}
            }
            done.push(action);
        }
        panic!("no end: {done:?}");
    }

    /// The same view and server, anew.
    fn again(&self) -> Self {
        Self { view: self.view.clone(), own: self.own.clone(), ..Self::new() }
    }

    /// What was told at the end, if nobody was made master.
    fn told(self) -> String {
        let (done, _) = self.run();
        match done.as_slice() {
            [] => String::new(),
            [Action::Report(report)] if report.reason == "NotSucceeded" => report.message.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn reason(action: &Action) -> &str {
    match action {
        Action::Report(report) => &report.reason,
        _ => "",
    }
}

fn epoch(action: &Action) -> u64 {
    match action {
        Action::Propose(Proposal::Succeed { from, succession }) => {
            assert_eq!((*from, succession.heir), (id(0), id(3)));
            assert_eq!(succession.slots, file(0).node(id(0)).unwrap().slots);
            succession.epoch
        }
        other => panic!("{other:?}"),
    }
}
