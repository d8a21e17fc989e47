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

const NODE_TIMEOUT: u64 = 5_000;
const SECOND: u64 = 1_000;

fn plan() -> Plan {
    Plan { salt: "salt".to_owned(), shards: 3, replicas_per_shard: 1, generation: 1 }
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
        node_id: Some(id(ordinal)),
        ips: vec![ip(ordinal)],
        ports: Ports::plain(6379),
        pod_uid: format!("uid-{ordinal}"),
        registered_at: time(registered),
        disk: Disk {
            identity: conf.identity(),
            data: true,
            keeps: true,
            written_ago: Some(written_ago),
            ..Disk::default()
        },
        was: None,
        bootstrapped: true,
        generation: 1,
        server: None,
        decision: None,
    }
}

fn pod(ordinal: u32) -> Pod {
    Pod {
        uid: format!("uid-{ordinal}"),
        ips: vec![ip(ordinal)],
        injected: true,
        scheduled: true,
        ended_at: None,
        running: true,
        ready: false,
        deleting: false,
    }
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
            predecessor_ended: true,
            hook_token: String::new(),
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

#[test]
fn an_heir_is_named_after_a_node_timeout_and_then_elected() {
    let (done, end) = World::new().run();
    let [named, promoted, told] = done.as_slice() else { panic!("{done:?}") };
    assert_eq!(epoch(named), 4);
    assert_eq!(promoted, &Action::Promote(How::Vote));
    assert_eq!(reason(told), "Succeeded");
    let Action::Report(report) = told else { panic!() };
    assert!(report.message.contains("the pod cache-0 is not there"), "{}", report.message);
    assert!((NODE_TIMEOUT..NODE_TIMEOUT + SECOND).contains(&end.0), "{end:?}");
}

#[test]
fn time_that_the_server_took_to_load_counts_but_the_pod_is_seen_missing_for_a_while() {
    let mut world = World::new();
    world.own.uptime = Millis(60 * SECOND);
    let (done, end) = world.run();
    assert_eq!(done.len(), 3);
    assert!((ABSENT_PATIENCE.0..ABSENT_PATIENCE.0 + SECOND).contains(&end.0), "{end:?}");
}

#[test]
fn without_a_majority_the_records_word_counts() {
    let mut world = World::new();
    world.linked = vec![2];
    let (done, end) = world.run();
    assert_eq!(done[1], Action::Promote(How::Record));
    assert_eq!(reason(&done[2]), "Succeeded");
    assert!(end.0 >= NODE_TIMEOUT + MAJORITY_PATIENCE.0);
}

#[test]
fn a_vote_that_fails_is_tried_again_only_where_that_helps_and_then_the_record_decides() {
    let mut world = World::new();
    (world.vote, world.own.votes_anew) = (None, false);
    let (done, _) = world.run();
    let promotions: Vec<_> = done.iter().filter(|a| matches!(a, Action::Promote(_))).collect();
    assert_eq!(promotions, [&Action::Promote(How::Vote), &Action::Promote(How::Record)]);

    let mut world = World::new();
    (world.vote, world.own.votes_anew) = (None, true);
    let (done, _) = world.run();
    let votes = done.iter().filter(|a| **a == Action::Promote(How::Vote)).count();
    assert_eq!(votes, 5, "{done:?}");
    assert_eq!(done[votes + 1], Action::Promote(How::Record));
}

#[test]
fn the_record_says_the_epoch_that_the_engine_has_chosen() {
    let mut world = World::new();
    world.vote = Some(9);
    let (done, _) = world.run();
    assert_eq!((epoch(&done[0]), epoch(&done[2])), (4, 9));
    assert_eq!(reason(&done[3]), "Succeeded");
}

#[test]
fn whoever_is_named_already_acts_at_once_and_nobody_beside_it() {
    let mut world = World::new();
    let slots = file(0).node(id(0)).unwrap().slots.clone();
    let named =
        |heir| Named { heir: id(heir), slots: slots.clone(), epoch: 4, reason: String::new() };
    world.view.successions.insert(id(0), named(3));
    let (done, end) = world.run();
    assert_eq!(done[0], Action::Promote(How::Vote));
    assert!(end.0 < SECOND);

    let mut world = World::new();
    world.view.successions.insert(id(0), named(5));
    assert_eq!(world.run().0, []);

    // The master has had its slots again since.
    let mut world = World::new();
    let mut old = named(5);
    old.epoch = 1;
    world.view.successions.insert(id(0), old);
    assert_eq!(reason(world.run().0.last().unwrap()), "Succeeded");
}

#[test]
fn a_master_that_may_run_or_is_about_to_is_left_alone() {
    let with = |change: fn(&mut Pod)| {
        let mut world = World::new();
        let mut other = Pod { uid: "new".to_owned(), running: false, ..pod(0) };
        change(&mut other);
        world.view.pods.insert(name(0), other);
        world.run()
    };
    let (scheduled, end) = with(|_| {});
    assert_eq!((scheduled, end.0), (vec![], 30 * SECOND), "waited for");
    assert_eq!(with(|p| p.deleting = true).0, []);
    assert_eq!(with(|p| (p.scheduled, p.deleting) = (false, true)).0, []);
    let (runs, end) = with(|p| p.running = true);
    assert_eq!((runs, end.0), (vec![], 0), "nothing to wait for");
    assert_eq!(with(|p| (p.running, p.deleting) = (true, true)).0, [], "on a lost machine");
    let (pending, _) = with(|p| p.scheduled = false);
    assert_eq!(reason(pending.last().unwrap()), "Succeeded");

    let mut world = World::new();
    let registered = world.view.earlier.remove(&name(0)).unwrap();
    world.view.members.insert(name(0), registered);
    world.view.pods.insert(name(0), Pod { running: false, scheduled: false, ..pod(0) });
    assert_eq!(world.run().0, [], "it has registered");
}

#[test]
fn a_pod_that_comes_meanwhile_is_waited_for_anew() {
    let mut world = World::new();
    let mut pods = world.view.pods.clone();
    pods.insert(name(0), Pod { running: false, ..pod(0) });
    world.later = Some((4 * SECOND, pods));
    assert_eq!(world.told(), "");
}

#[test]
fn one_after_the_other_a_later_pod_is_not_missing() {
    let mut world = World::new();
    world.view.parallel = false;
    let (pods, members) = (&mut world.view.pods, &mut world.view.members);
    // cache-0 is the replica, and its master cache-3 is not due before it is ready.
    pods.remove(&name(3));
    members.remove(&name(3));
    world.view.pod = name(0);
    world.view.ordinal = Ordinal(0);
    pods.insert(name(0), pod(0));
    let mut own = member(0, 20 * 60, 10 * 60 * SECOND);
    own.disk.identity = Some(Identity { node_id: id(0), ..file(3).identity().unwrap() });
    members.insert(name(0), own);
    world.view.earlier = BTreeMap::from([(name(3), member(3, 60, 0))]);
    world.own.nodes = file(0);
    world.own.nodes.step_down(id(3), 7).unwrap();
    world.own.master = Some(id(3));
    world.view.parallel = true;
    let again = World {
        view: View { parallel: false, ..world.view.clone() },
        own: world.own.clone(),
        ..World::new()
    };
    assert_eq!(again.run().0, []);
}

#[test]
fn a_master_that_nobody_has_recorded_may_be_any_pod_that_has_not_registered() {
    let mut world = World::new();
    world.view.earlier.clear();
    assert_eq!(reason(World { ..world.again() }.run().0.last().unwrap()), "Succeeded");
    world.view.members.remove(&name(4));
    world.view.pods.get_mut(&name(4)).unwrap().running = false;
    assert_eq!(world.told(), "", "cache-4 is starting, and may be it");
}

impl World {
    fn again(&self) -> Self {
        Self { view: self.view.clone(), own: self.own.clone(), ..Self::new() }
    }
}

#[test]
fn an_engine_that_elects_by_itself_is_not_disturbed() {
    let with = |change: fn(&mut Own)| {
        let mut world = World::new();
        change(&mut world.own);
        world.run()
    };
    assert_eq!(with(|own| own.was_linked = true), (vec![], Millis(0)));
    assert_eq!(with(|own| own.master = None), (vec![], Millis(0)));
    // A first start: nobody is held up by it.
    assert_eq!(with(|own| own.keys = false), (vec![], Millis(0)));
    let heard = with(|own| {
        let text = own.nodes.to_string();
        let line = format!("{} 10.0.0.10:6379@16379 master - 0 0", id(0));
        let now = format!("{} 10.0.0.10:6379@16379 master - 0 1790000000900", id(0));
        assert!(text.contains(&line), "{text}");
        own.nodes = NodesConf::parse(text.replace(&line, &now).as_bytes()).unwrap();
    });
    assert!(!heard.0.iter().any(|a| matches!(a, Action::Propose(_))), "{:?}", heard.0);
}

#[test]
fn data_that_may_be_old_are_for_a_person_to_judge() {
    let told = |change: fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        world.told()
    };
    let all = told(|w| w.view.heirs = HeirPolicy::Never);
    assert!(all.contains("is never") && all.contains("`mooring promote -n shop cache cache-3`"));
    let old = told(|w| w.disk(3).written_ago = Some(15 * 60 * SECOND));
    assert!(old.contains("300 s older"), "{old}");
    assert!(told(|w| w.disk(3).written_ago = None).contains("nobody knows when"));
    assert!(told(|w| w.disk(3).data = false).contains("was empty"));
    assert!(told(|w| w.disk(1).failed = [id(3)].into()).contains("it had failed before"));
    assert!(told(|w| drop(w.view.members.remove(&name(3)))).contains("could not register"));
    // The master had started again after this one's last write.
    let later = told(|w| w.view.earlier.get_mut(&name(0)).unwrap().registered_at = time(15 * 60));
    assert!(later.contains("300 s older"), "{later}");
    let alone = told(|w| {
        for other in [1, 2, 4, 5] {
            w.view.members.remove(&name(other));
            w.view.pods.remove(&name(other));
        }
    });
    assert!(alone.contains("no other member has registered"), "{alone}");
    // It was linked last long before it was stopped, whatever its files say.
    let cut_off = told(|w| {
        let stopped = Stopped { ago: 600_000, offset: 5, linked_ago: Some(900_000) };
        w.disk(3).stopped = Some(stopped);
    });
    assert!(cut_off.contains("300 s older"), "{cut_off}");
}

#[test]
fn somebody_who_has_not_stopped_knows_when_the_master_was_last_alive() {
    let mut world = World::new();
    let living = |pong: &str| {
        let text = file(1).to_string();
        let line = format!("{} 10.0.0.10:6379@16379 master - 0 0", id(0));
        let with = format!("{} 10.0.0.10:6379@16379 master - 0 {pong}", id(0));
        let nodes = NodesConf::parse(text.replace(&line, &with).as_bytes()).unwrap();
        let inspection = Inspection { nodes, offset: 0, link: None, stream: None, keys: true };
        vec![Inspected::Node(Box::new(inspection)), Inspected::Nobody]
    };
    // 18:10:30 and 18:15.
    let base = crate::moment::micros(&time(0)).unwrap() / 1_000_000;
    world.around = living(&format!("{}000", base + 630));
    let near = World { around: world.around.clone(), ..world.again() };
    assert_eq!(reason(near.run().0.last().unwrap()), "Succeeded");
    world.around = living(&format!("{}000", base + 900));
    assert!(world.told().contains("300 s older"));
}

#[test]
fn old_data_are_better_than_none_if_the_owner_says_so() {
    let mut world = World::new();
    world.view.heirs = HeirPolicy::Always;
    world.disk(3).written_ago = Some(5 * 24 * 3600 * SECOND);
    assert_eq!(reason(world.run().0.last().unwrap()), "Succeeded");
}

#[test]
fn of_two_replicas_the_one_with_newer_data_acts() {
    let with = |change: fn(&mut World)| {
        let mut world = World::new();
        world.disk(5).identity = Some(Identity { node_id: id(5), ..file(3).identity().unwrap() });
        change(&mut world);
        world.run().0
    };
    assert_eq!(reason(with(|_| {}).last().unwrap()), "Succeeded", "as new, and before it");
    let newer = with(|w| w.disk(5).written_ago = Some(599 * SECOND));
    assert!(
        matches!(newer.as_slice(), [Action::Report(r)] if r.message.contains("cache-5 has more"))
    );
    assert_eq!(reason(with(|w| w.disk(5).data = false).last().unwrap()), "Succeeded");
    let by_offset = with(|w| {
        let stopped = |offset| Stopped { ago: 600_000, offset, linked_ago: Some(600_000) };
        w.disk(3).stopped = Some(stopped(11));
        w.disk(5).stopped = Some(stopped(10));
        w.disk(5).written_ago = Some(599 * SECOND);
    });
    assert_eq!(reason(by_offset.last().unwrap()), "Succeeded");
}

#[test]
fn what_the_registry_refuses_is_told_and_nothing_is_done() {
    let mut world = World::new();
    world.propose = Err("somebody else knows better".to_owned());
    let (done, end) = world.run();
    assert!(done.iter().all(|a| !matches!(a, Action::Promote(_))));
    let Some(Action::Report(report)) = done.last() else { panic!() };
    assert!(report.message.contains("somebody else knows better"), "{}", report.message);
    assert!(end.0 <= 30 * SECOND);
}

#[test]
fn nobody_is_named_who_could_not_be_made_master_in_time() {
    let mut world = World::new();
    world.deadline = NODE_TIMEOUT + SECOND;
    assert!(world.told().contains("too short"));
    let mut world = World::new();
    world.deadline = NODE_TIMEOUT - SECOND;
    assert!(world.told().contains("is not over"));
}

#[test]
fn a_named_heir_that_does_not_become_master_is_told() {
    let mut world = World::new();
    (world.vote, world.takeover) = (None, None);
    let (done, _) = world.run();
    let Some(Action::Report(report)) = done.last() else { panic!() };
    assert!(report.message.contains("delete its pod"), "{}", report.message);
}

#[test]
fn a_server_is_read_by_its_own_words() {
    let nodes = file(3).to_string();
    let cluster = "cluster_state:fail\r\ncluster_current_epoch:7\r\n";
    let time = Reply::Array(Some(vec![
        Reply::Bulk(Some(b"1790000000".to_vec())),
        Reply::Bulk(Some(b"5".to_vec())),
    ]));
    let read = |link: &str, version: &str| {
        let info = format!(
            "{version}\r\nuptime_in_seconds:9\r\nrole:slave\r\n{link}\r\nslave_repl_offset:12\r\n"
        );
        Own::read(&nodes, cluster, &info, &Reply::Integer(1), &time).unwrap()
    };
    let down =
        |since: &str| format!("master_link_status:down\r\nmaster_link_down_since_seconds:{since}");
    let never = read(&down("-1"), "redis_version:7.0.15");
    assert_eq!((never.master, never.offset, never.current_epoch), (Some(id(0)), 12, 7));
    assert!(!never.was_linked && never.keys && !never.votes_anew);
    assert!(!read(&down("1790000000"), "").was_linked, "as 5.0 and 6.0 say never");
    assert!(read(&down("4"), "").was_linked);
    assert!(read("master_link_status:up", "").was_linked);
    assert!(read(&(down("-1") + "\r\nmaster_sync_in_progress:1"), "").was_linked);
    assert!(read("", "").was_linked, "what is not said is not made up");
    for (version, anew) in [("8.0.1", false), ("8.1.0", true), ("9.0.0", true), ("7.2.9", false)] {
        assert_eq!(read("", &format!("valkey_version:{version}")).votes_anew, anew, "{version}");
    }
    assert!(Own::read(&nodes, "", "", &Reply::Integer(1), &time).is_err());
}
