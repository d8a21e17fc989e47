use std::collections::BTreeSet;

use super::*;
use crate::id::Ordinal;
use crate::net::Ports;
use crate::nodes::Format;
use crate::nodes::Target;
use crate::plan::Plan;
use crate::protocol::{Disk, HeirPolicy, Member, Pod, Proposal};
use crate::sample;

mod ages;
mod doubt;
mod reach;
mod weigh;

fn plan() -> Plan {
    Plan {
        salt: "salt".to_owned(),
        shards: 3,
        replicas_per_shard: 1,
        generation: 1,
        sets: Vec::new(),
    }
}

fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

fn at(n: u8) -> Address {
    Address { ip: ip(n), ports: Ports::plain(6379) }
}

fn read(words: &[&str]) -> Result<ServerConfig, String> {
    struct None;
    impl crate::server::Files for None {
        fn read(&self, _: &std::path::Path, _: usize) -> Result<Vec<u8>, String> {
            Err("no such file".to_owned())
        }
        fn glob(&self, _: &std::path::Path) -> Vec<std::path::PathBuf> {
            Vec::new()
        }
    }
    let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    ServerConfig::read(&words, std::path::Path::new("/data"), &None).map_err(|e| e.to_string())
}

fn setup(text: &str) -> Setup {
    let words: Vec<_> = text.split_whitespace().collect();
    Setup {
        step: "0.1.0".to_owned(),
        namespace: "shop".to_owned(),
        set: "cache".to_owned(),
        ips: vec![ip(200)],
        config: read(&words),
        target: Target::Unknown,
        hold_back: HoldBack::Allowed,
    }
}

fn cluster() -> Setup {
    setup("--cluster-enabled yes")
}

fn member(ordinal: u32, n: u8) -> Member {
    sample::member(&format!("uid-{ordinal}"), Some(plan().node_id(Ordinal(ordinal))), &[ip(n)])
}

fn pod(ordinal: u32, n: u8) -> Pod {
    Pod { ready: true, ..sample::pod(&format!("uid-{ordinal}"), &[ip(n)]) }
}

/// The view of `cache-0`; the other members are those of `members`.
fn view(members: &[u32]) -> View {
    let name = |o: u32| format!("cache-{o}");
    View {
        namespace: "shop".to_owned(),
        name: "cache".to_owned(),
        pod: name(0),
        ordinal: Ordinal(0),
        replicas: 6,
        parallel: false,
        listed: Vec::new(),
        past: Vec::new(),
        plan: plan(),
        before: None,
        members: members.iter().map(|o| (name(*o), member(*o, *o as u8 + 10))).collect(),
        pods: members.iter().map(|o| (name(*o), pod(*o, *o as u8 + 10))).collect(),
        earlier: BTreeMap::new(),
        claims: None,
        successions: BTreeMap::new(),
        heirs: HeirPolicy::Fresh,
        forgotten: BTreeSet::new(),
        ended: BTreeMap::new(),
        predecessor_ended: true,
        hook_token: String::new(),
        restored: false,
        secret: None,
    }
}

fn file(ordinal: u32, own: u8) -> String {
    let peers = plan().ordinals().map(|o| (plan().node_id(o), at(o.0 as u8 + 100))).collect();
    NodesConf::bootstrap(&plan(), Ordinal(ordinal), at(own), &peers, Format::Plain)
        .unwrap()
        .to_string()
}

/// Drives a planner to its end: every action is answered by `answer`.
fn drive(setup: Setup, mut answer: impl FnMut(&Action) -> Option<Fact>) -> (Vec<Action>, Millis) {
    let mut planner = Planner::new(setup);
    let mut now = Millis(0);
    let mut done = Vec::new();
    for _ in 0..1000 {
        let poll = planner.poll(now);
        if poll.actions.is_empty() {
            now = poll.wake.expect("the planner waits for nothing");
            continue;
        }
        for action in poll.actions {
            if let Some(fact) = answer(&action) {
                planner.observe(now, fact);
            }
            let last = matches!(action, Action::Start(_) | Action::Refuse(_));
            done.push(action);
            if last {
                return (done, now);
            }
        }
    }
    panic!("no end: {done:?}");
}

fn answers(disk: DiskSeen, view: View) -> impl FnMut(&Action) -> Option<Fact> {
    move |action| match action {
        Action::ReadDisk => Some(Fact::Disk(disk.clone())),
        Action::Register(_) => Some(Fact::Registered(Box::new(view.clone()))),
        Action::Write { .. } => Some(Fact::Written(Ok(()))),
        Action::Report(_) => Some(Fact::Reported(Ok(()))),
        Action::Probe(at) => Some(Fact::Probed { at: *at, answer: Answer::Nobody }),
        _ => None,
    }
}

fn disk(text: &str) -> DiskSeen {
    DiskSeen {
        nodes_conf: Some(text.as_bytes().to_vec()),
        data: true,
        files: true,
        ..DiskSeen::default()
    }
}

fn written(actions: &[Action]) -> NodesConf {
    let text = actions.iter().find_map(|a| match a {
        Action::Write { nodes_conf, .. } => Some(nodes_conf),
        _ => None,
    });
    NodesConf::parse(text.expect("nothing was written").as_bytes()).unwrap()
}

fn refusal(actions: &[Action]) -> &str {
    match actions.last() {
        Some(Action::Refuse(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_disk_of_a_new_set_begins_by_the_plan_and_is_recorded_before_the_server_starts() {
    let (actions, _) = drive(cluster(), answers(DiskSeen::default(), view(&[1, 2])));
    let conf = written(&actions);
    assert_eq!(conf.node(plan().node_id(Ordinal(1))).unwrap().endpoint.host, "10.0.0.11");
    assert_eq!(conf.node(plan().node_id(Ordinal(3))).unwrap().endpoint.host, "");
    let [.., Action::Write { .. }, Action::Report(report), Action::Start(None)] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert!(report.bootstrapped);
}

#[test]
fn a_file_is_watched_where_the_end_of_the_pod_before_was_not_seen() {
    let stays = |before: Option<Member>, predecessor_ended| {
        let view = View { before, predecessor_ended, ..view(&[1, 2]) };
        let disk = DiskSeen {
            nodes_conf: Some(file(0, 200).into_bytes()),
            data: true,
            files: true,
            ..DiskSeen::default()
        };
        let (actions, _) = drive(cluster(), answers(disk, view));
        let stays = |action: &Action| match action {
            Action::Write { stays, .. } => Some(*stays),
            _ => None,
        };
        actions.iter().find_map(stays).unwrap()
    };
    assert_eq!(stays(None, false), Millis(0));
    assert_eq!(stays(Some(member(0, 200)), true), Millis(0));
    assert_eq!(stays(Some(member(0, 200)), false), LAST_ACT);
}

#[test]
fn a_bootstrap_that_was_not_recorded_does_not_start() {
    let mut answer = answers(DiskSeen::default(), view(&[]));
    let (actions, _) = drive(cluster(), |action| match action {
        Action::Report(_) => Some(Fact::Reported(Err("conflict".to_owned()))),
        other => answer(other),
    });
    assert!(refusal(&actions).contains("did not record"));
}

#[test]
fn an_empty_disk_of_a_set_with_a_past_begins_nothing() {
    for change in [
        (|v: &mut View| v.past.push("a claim is older".to_owned())) as fn(&mut View),
        |v| v.before = Some(member(0, 1)),
        |v| v.ordinal = Ordinal(6),
    ] {
        let mut view = view(&[1]);
        change(&mut view);
        let (actions, _) = drive(cluster(), answers(DiskSeen::default(), view));
        let Some(Action::Start(Some(report))) = actions.last() else { panic!("{actions:?}") };
        assert_eq!(report.reason, "StartedAsGuest");
        let begins = |a: &Action| match a {
            Action::Write { nodes_conf, .. } => nodes_conf.contains("5460"),
            _ => false,
        };
        assert!(!actions.iter().any(begins), "{actions:?}");
    }
}

#[test]
fn data_without_identity_are_refused() {
    let seen = DiskSeen { nodes_conf: None, data: true, files: true, ..DiskSeen::default() };
    let (actions, _) = drive(cluster(), answers(seen, view(&[])));
    assert!(refusal(&actions).contains("no nodes.conf"));
}

#[test]
fn a_repair_takes_addresses_from_the_registry_and_waits_for_nobody() {
    for leaving in [false, true] {
        let mut view = view(&[1, 4]);
        view.pods.get_mut("cache-4").unwrap().deleting = leaving;
        let (actions, now) = drive(cluster(), answers(disk(&file(0, 200)), view));
        let conf = written(&actions);
        let host = |o| conf.node(plan().node_id(Ordinal(o))).unwrap().endpoint.host.clone();
        // Somebody else may have the address of a pod that is being deleted in a moment (seed 9501038).
        let fourth = if leaving { "" } else { "10.0.0.14" };
        assert_eq!([host(0), host(1), host(2), host(4)], ["10.0.0.200", "10.0.0.11", "", fourth]);
        assert_eq!(now, Millis(0));
    }
}

#[test]
fn pods_that_never_registered_are_asked_who_they_are() {
    let mut view = view(&[1, 2]);
    view.members.clear();
    view.pods.insert("cache-3".to_owned(), pod(3, 103));
    let mut answer = answers(disk(&file(0, 200)), view);
    let (actions, _) = drive(cluster(), |action| match action {
        Action::Probe(at) if at.ip() == ip(11) => {
            Some(Fact::Probed { at: *at, answer: Answer::Node(plan().node_id(Ordinal(5))) })
        }
        Action::Probe(at) if at.ip() == ip(12) => None,
        Action::Probe(at) => Some(Fact::Probed { at: *at, answer: Answer::Unclear }),
        other => answer(other),
    });
    let conf = written(&actions);
    let host = |o| conf.node(plan().node_id(Ordinal(o))).unwrap().endpoint.host.clone();
    // 5 was found where it said so; 3 did not say, but its pod runs where the file has it.
    assert_eq!([host(1), host(2), host(3), host(5)], ["", "", "10.0.0.103", "10.0.0.11"]);
}

#[test]
fn a_disk_that_is_shared_with_a_living_pod_is_refused() {
    let (actions, _) = drive(cluster(), answers(disk(&file(1, 200)), view(&[1])));
    assert!(refusal(&actions).contains("running pod cache-1"));
}

/// Two disks were bound to each other's claims: whoever has a disk is who it says.
#[test]
fn of_two_exchanged_disks_each_keeps_its_id() {
    let mut view = view(&[2]);
    // As they were before they were exchanged.
    let was = |o: u32| (format!("cache-{o}"), member(o, o as u8 + 20));
    view.earlier = BTreeMap::from([was(0), was(4)]);
    view.before = view.earlier.get("cache-0").cloned();
    let (actions, _) = drive(cluster(), answers(disk(&file(4, 200)), view.clone()));
    assert_eq!(written(&actions).myself().unwrap().id, plan().node_id(Ordinal(4)));
    // And the other way round, when the first of the two runs already.
    view.earlier.remove("cache-4");
    let (name, mut other) = was(4);
    other.node_id = Some(plan().node_id(Ordinal(0)));
    view.members.insert(name.clone(), other);
    view.pods.insert(name, pod(4, 24));
    let (actions, _) = drive(cluster(), answers(disk(&file(4, 200)), view));
    assert_eq!(written(&actions).myself().unwrap().id, plan().node_id(Ordinal(4)));
}

#[test]
fn a_master_whose_slots_have_another_owner_steps_down() {
    let mut view = view(&[3]);
    let heir = plan().node_id(Ordinal(3));
    view.members.get_mut("cache-3").unwrap().disk.identity = Some(Identity {
        node_id: heir,
        role: crate::protocol::Role::Master,
        slots: vec![plan().slots(0).unwrap()],
        config_epoch: 7,
        current_epoch: 7,
    });
    let (actions, _) = drive(cluster(), answers(disk(&file(0, 200)), view));
    let conf = written(&actions);
    assert_eq!(conf.myself().unwrap().master, Some(heir));
    assert_eq!(conf.node(heir).unwrap().config_epoch, 7);
}

#[test]
fn a_server_that_still_runs_as_this_member_is_waited_for_and_the_disk_read_again() {
    let mut view = view(&[1]);
    view.predecessor_ended = false;
    let reads = |said: Answer| {
        let mut answer = answers(disk(&file(0, 99)), view.clone());
        let mut left = 3;
        let (actions, _) = drive(cluster(), |action| match action {
            Action::Probe(at) if at.ip() == ip(99) && left > 0 => {
                left -= 1;
                Some(Fact::Probed { at: *at, answer: said })
            }
            other => answer(other),
        });
        assert!(matches!(actions.last(), Some(Action::Start(_))));
        actions.iter().filter(|a| **a == Action::ReadDisk).count()
    };
    assert_eq!(reads(Answer::Node(plan().node_id(Ordinal(0)))), 2);
    // Once it has loaded it would take writes, on the same disk (seed 9015314 of the simulator).
    assert_eq!(reads(Answer::Loading), 2);
    assert_eq!(reads(Answer::Unclear), 1, "another cluster's server may have the address");
}

#[test]
fn without_the_registry_a_member_is_repaired_by_its_peers_own_words_and_a_new_one_waits() {
    let away = |disk: DiskSeen| {
        drive(cluster(), move |action| match action {
            Action::ReadDisk => Some(Fact::Disk(disk.clone())),
            Action::Register(_) => {
                Some(Fact::RegistryFailed { why: "no route".to_owned(), retry: true })
            }
            Action::Resolve => Some(Fact::Resolved(vec![ip(50)])),
            Action::Probe(at) if at.ip() == ip(50) => {
                Some(Fact::Probed { at: *at, answer: Answer::Node(plan().node_id(Ordinal(2))) })
            }
            Action::Probe(at) => Some(Fact::Probed { at: *at, answer: Answer::Unclear }),
            Action::Write { .. } => Some(Fact::Written(Ok(()))),
            _ => None,
        })
    };
    let (actions, now) = away(disk(&file(0, 200)));
    let conf = written(&actions);
    let host = |o| conf.node(plan().node_id(Ordinal(o))).unwrap().endpoint.host.clone();
    assert_eq!([host(1), host(2)], ["", "10.0.0.50"]);
    assert!(now >= REGISTRY_PATIENCE && now < Millis(15_000));

    let (actions, now) = away(DiskSeen::default());
    assert!(refusal(&actions).contains("no route"));
    assert!(now >= REGISTRY_PATIENCE_BLANK && now < Millis(30_000));
}

#[test]
fn what_can_not_work_is_refused_at_once() {
    let end = |setup: Setup, seen: DiskSeen| {
        let (actions, _) = drive(setup, answers(seen, view(&[])));
        refusal(&actions).to_owned()
    };
    assert!(end(setup(""), DiskSeen::default()).contains("cluster-enabled yes"));
    assert!(end(setup("/c"), DiskSeen::default()).contains("/c can not be read"));
    let placeholder = setup("--cluster-enabled yes --cluster-announce-ip ${POD_IP}");
    assert!(end(placeholder, DiskSeen::default()).contains("cluster-announce-ip"));
    assert!(end(cluster(), disk("x")).contains("damaged"));
}
