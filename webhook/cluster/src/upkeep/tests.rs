use std::collections::BTreeMap;

use super::*;
use crate::id::Ordinal;
use crate::net::Ports;
use crate::plan::Plan;
use crate::protocol::{HeirPolicy, Member, Pod};
use crate::sample;

fn id(digit: char) -> NodeId {
    digit.to_string().repeat(40).parse().unwrap()
}

fn at(n: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::from([10, 0, 0, n]), 6379)
}

fn line(digit: char, n: u8, flags: &str, master: &str, link: &str, slots: &str) -> String {
    format!("{} 10.0.0.{n}:6379@16379 {flags} {master} 0 0 1 {link} {slots}\n", id(digit))
}

/// A replica `b` at .2 of the master `a` at .1, and a master `c` at .3.
fn replica(master: &str, info: &str) -> Standing {
    let nodes = line('a', 1, master, "-", "connected", "0-8191")
        + &line('b', 2, "myself,slave", id('a').as_str(), "connected", "")
        + &line('c', 3, "master", "-", "connected", "8192-16383");
    let info = format!("role:slave\r\nmaster_port:6379\r\n{info}");
    Standing::read(&nodes, "cluster_state:ok\r\n", &info).unwrap()
}

fn master(flags: &str, link: &str, info: &str) -> Standing {
    let nodes = line('a', 1, "myself,master", "-", "connected", "0-8191")
        + &line('b', 2, flags, id('a').as_str(), link, "")
        + &line('c', 3, "master", "-", "connected", "8192-16383");
    let info = format!("role:master\r\n{info}");
    Standing::read(&nodes, "cluster_state:ok\r\n", &info).unwrap()
}

fn pod(n: u8) -> Pod {
    sample::pod(&format!("uid-{n}"), &[at(n).ip()])
}

fn member(n: u8) -> Member {
    let uid = format!("uid-{n}");
    Member { ports: Ports::plain(7000), ..sample::member(&uid, None, &[at(n).ip()]) }
}

fn view(pods: BTreeMap<String, Pod>, members: BTreeMap<String, Member>) -> View {
    View {
        namespace: "shop".to_owned(),
        name: "cache".to_owned(),
        pod: "cache-0".to_owned(),
        ordinal: Ordinal(0),
        replicas: 3,
        parallel: true,
        listed: Vec::new(),
        past: Vec::new(),
        plan: Plan {
            salt: "s".to_owned(),
            shards: 3,
            replicas_per_shard: 0,
            generation: 1,
            sets: Vec::new(),
        },
        predecessor_ended: false,
        before: None,
        members,
        pods,
        earlier: BTreeMap::new(),
        claims: None,
        successions: BTreeMap::new(),
        heirs: HeirPolicy::Fresh,
        forgotten: BTreeSet::new(),
        ended: BTreeMap::new(),
        hook_token: String::new(),
        restored: false,
        secret: None,
    }
}

#[test]
fn a_replica_that_dials_where_its_master_was_names_it_again() {
    let dials = |host: &str, link: &str| {
        replica("master", &format!("master_host:{host}\r\nmaster_link_status:{link}\r\n")).redials()
    };
    assert_eq!(dials("10.0.0.9", "down"), Some(id('a')));
    assert_eq!(dials("", "down"), Some(id('a')), "nobody is dialled");
    assert_eq!(dials("10.0.0.1", "down"), None, "its link is being made");
    assert_eq!(dials("10.0.0.9", "up"), None);
}

#[test]
fn nothing_is_left_once_all_are_there_and_linked() {
    let linked = "master_host:10.0.0.1\r\nmaster_link_status:up\r\n";
    assert!(replica("master", linked).is_settled());
    assert!(!replica("master,fail?", linked).is_settled());
    assert!(!replica("master", "master_link_status:down\r\n").is_settled());
    let slave = "slave0:ip=10.0.0.2,port=6379,state=wait_bgsave,offset=0,lag=0\r\n";
    assert!(master("slave", "connected", slave).is_settled());
    assert!(!master("slave", "connected", "").is_settled());
    assert!(!master("slave,fail", "connected", slave).is_settled());
}

#[test]
fn a_replica_that_does_not_copy_its_master_is_asked_if_it_is_there() {
    let found = |flags: &str, link: &str| master(flags, link, "").unlinked();
    assert_eq!(found("slave", "connected"), [(id('b'), at(2))]);
    assert_eq!(found("slave,fail", "connected"), []);
    assert_eq!(found("slave", "disconnected"), []);
}

#[test]
fn a_guest_owns_nothing_and_knows_no_whole_cluster() {
    let alone = |slots: &str| {
        let nodes = line('a', 1, "myself,master", "-", "connected", slots);
        Standing::read(&nodes, "cluster_state:ok\r\n", "role:master\r\n").unwrap()
    };
    assert!(alone("").is_guest() && !alone("").is_settled());
    assert!(!alone("0-16383").is_guest());
    // It met one that was gone a moment later (seed 9205084 of the simulator).
    let knows = |slots: &str| {
        let other = line('b', 2, "master,fail", "-", "disconnected", slots);
        let nodes = line('a', 1, "myself,master", "-", "connected", "") + &other;
        Standing::read(&nodes, "cluster_state:fail\r\n", "role:master\r\n").unwrap().is_guest()
    };
    assert!(knows("") && knows("0-5460"));
    assert!(!knows("0-16383"), "it is a master that waits for slots");
}

#[test]
fn members_are_looked_for_where_pods_run_and_nobody_is_known() {
    let standing = master("slave,fail", "disconnected", "");
    let pods = BTreeMap::from([
        ("cache-0".to_owned(), pod(1)),
        ("cache-1".to_owned(), pod(8)),
        ("cache-2".to_owned(), pod(3)),
        ("cache-3".to_owned(), Pod { running: false, ..pod(9) }),
        ("cache-4".to_owned(), Pod { deleting: true, ..pod(7) }),
    ]);
    let found = |members| standing.places(&view(pods.clone(), members));
    assert_eq!(found(BTreeMap::new()), BTreeSet::from([at(8)]));
    let registered = BTreeMap::from([("cache-3".to_owned(), member(9))]);
    let there = SocketAddr::new(at(9).ip(), 7000);
    assert_eq!(found(registered), BTreeSet::from([at(8), there]), "its post-start still runs");
    let whole = master("slave", "connected", "");
    assert_eq!(whole.places(&view(pods.clone(), BTreeMap::new())), BTreeSet::new());
}

#[test]
fn only_members_that_are_out_of_reach_are_met() {
    let standing = master("slave,fail", "disconnected", "");
    assert!(standing.meets(at(8), id('b'), None));
    assert!(!standing.meets(at(2), id('b'), None), "the engine dials it there by itself");
    assert!(!standing.meets(at(8), id('c'), None), "it is reached where it is");
    assert!(!standing.meets(at(8), id('d'), None), "a stranger");
    assert!(!standing.meets(at(8), id('a'), None), "this one");
    let mut known = view(BTreeMap::new(), BTreeMap::new());
    known.forgotten = BTreeSet::from([id('b')]);
    assert!(!standing.meets(at(8), id('b'), Some(&known)), "forgotten");
}

/// Its own line was the only one that was left of its file.
#[test]
fn an_owner_that_knows_nobody_meets_whoever_has_registered() {
    let alone = |slots: &str| {
        let nodes = line('a', 1, "myself,master", "-", "connected", slots);
        Standing::read(&nodes, "cluster_state:fail\r\n", "role:master\r\n").unwrap()
    };
    let pods = BTreeMap::from([("cache-1".to_owned(), pod(8))]);
    let registered = |of: Option<NodeId>| {
        let member = Member { node_id: of, ports: Ports::plain(6379), ..member(8) };
        view(pods.clone(), BTreeMap::from([("cache-1".to_owned(), member)]))
    };
    let known = registered(Some(id('b')));
    assert_eq!(alone("0-5").places(&known), BTreeSet::from([at(8)]));
    assert!(alone("0-5").meets(at(8), id('b'), Some(&known)));
    assert!(!alone("0-5").meets(at(8), id('b'), Some(&registered(None))), "it did not say so");
    assert!(!alone("0-5").meets(at(8), id('b'), None));
    assert!(!alone("").meets(at(8), id('b'), Some(&known)), "a guest joins");
}

#[test]
fn a_replica_of_one_that_has_lost_its_slots_follows_their_owner() {
    // `a` was the master, follows `b` now, which follows it, and `c` has the slots.
    let standing = |owner: &str, link: &str, slots: &str| {
        let nodes = line('a', 1, "slave", id('b').as_str(), "connected", "")
            + &line('b', 2, "myself,slave", id('a').as_str(), "connected", "")
            + &line('c', 3, owner, "-", "connected", slots);
        let info = format!("role:slave\r\nmaster_link_status:{link}\r\n");
        Standing::read(&nodes, "cluster_state:ok\r\n", &info).unwrap()
    };
    let mut known = view(BTreeMap::new(), BTreeMap::new());
    let all = || standing("master", "down", "0-16383");
    assert_eq!(all().owner_instead(&known), None, "nobody knows what it had");
    let succession = crate::protocol::Succession {
        heir: id('b'),
        slots: vec![crate::slot::SlotRange::new(0, 5000).unwrap()],
        epoch: 4,
        held: None,
        reason: String::new(),
    };
    known.successions.insert(id('a'), succession);
    assert_eq!(all().owner_instead(&known), Some(id('c')));
    assert_eq!(standing("master", "up", "0-16383").owner_instead(&known), None);
    assert_eq!(standing("master,fail", "down", "0-16383").owner_instead(&known), None);
    assert_eq!(standing("master", "down", "0-4999").owner_instead(&known), None, "not all");
}
