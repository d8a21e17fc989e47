//! Whose address and ports are written on whose line, and on which lines none is.

use super::*;

#[test]
fn addresses_are_of_the_family_that_members_register() {
    let address = |n: u8| match n {
        1 | 2 | 5 => {
            format!("fd10::{n}:6379@16379,,tls-port=0,shard-id={}", shard((n - 1) % 3 + 1))
        }
        _ => format!("10.1.0.{n}:6379@16379,,tls-port=0,shard-id={}", shard((n - 1) % 3 + 1)),
    };
    let mut conf = NodesConf::parse(Six::at(1, address).text().as_bytes()).unwrap();
    let there =
        |n: u8| Address { ip: format!("fd99::{n}").parse().unwrap(), ..at(n, Ports::plain(6379)) };
    conf.repair(there(1), &(2..=6).map(|n| (id(n), there(n))).collect());
    for (n, node) in (1..).zip(conf.nodes()) {
        assert_eq!(node.endpoint.host, format!("fd99::{n}"));
    }
    loads_everywhere(&conf);
}

#[test]
fn of_two_without_address_the_owner_is_looked_for_and_the_stranger_left_alone() {
    let six = Six::of(1).with(2, ":0@0", "master,noaddr", "- 1 1 2 disconnected 5461-10922").with(
        5,
        ":0@0",
        "master,noaddr",
        "- 1 1 5 disconnected",
    );
    let conf = repaired(&six.text(), &[2, 3, 4, 6], |_| Ports::plain(6379));
    assert_eq!(conf.node(id(2)).unwrap().endpoint.to_string(), "10.9.0.2:6379@16379");
    let stranger = conf.node(id(5)).unwrap();
    assert!(stranger.flags.contains(&Flag::NoAddress) && stranger.endpoint.host.is_empty());
}

#[test]
fn ports_are_those_that_each_member_registered() {
    let old = |n: u8| format!("10.1.0.{n}:30001@40001");
    let ports = |n: u8| Ports::plain(if n <= 3 { 7001 } else { 30001 });
    let conf = repaired(&Six::at(1, old).text(), &[2, 3, 4, 5, 6], ports);
    let field = |n: u8| conf.node(id(n)).unwrap().endpoint.to_string();
    assert_eq!(field(1), "10.9.0.1:7001@17001");
    assert_eq!(field(6), "10.9.0.6:30001@40001");
}

#[test]
fn a_pair_that_swapped_addresses_and_ports_is_told_apart() {
    let port = |n: u8| if n.is_multiple_of(2) { 10002 } else { 10001 };
    // Member 4 and its master 1 stand at each other's address.
    let swapped = |n: u8| {
        let host = [4, 2, 3, 1, 5, 6][usize::from(n - 1)];
        format!("10.1.0.{host}:{}@{}", port(n), port(n) + 10_000)
    };
    let conf = repaired(&Six::at(4, swapped).text(), &[1, 2, 3, 5, 6], |n| Ports::plain(port(n)));
    assert_eq!(conf.node(id(1)).unwrap().endpoint.to_string(), "10.9.0.1:10001@20001");
    assert_eq!(conf.node(id(4)).unwrap().endpoint.to_string(), "10.9.0.4:10002@20002");
}

#[test]
fn an_address_that_two_ids_are_said_to_have_is_nobodys() {
    let mut conf = NodesConf::parse(Six::of(1).text().as_bytes()).unwrap();
    let there = |n: u8, host: u8| (id(n), at(host, Ports::plain(6379)));
    // 2 is an entry from when its pod had our address; 3 and 4 can not both be right.
    let peers = BTreeMap::from([there(2, 1), there(3, 7), there(4, 7), there(5, 5)]);
    let changes = conf.repair(at(1, Ports::plain(6379)), &peers);
    assert_eq!(changes.unknown, BTreeSet::from([2, 3, 4, 6].map(id)));
    assert_eq!(conf.node(id(1)).unwrap().endpoint.to_string(), "10.9.0.1:6379@16379");
    assert_eq!(conf.node(id(5)).unwrap().endpoint.to_string(), "10.9.0.5:6379@16379");
}

#[test]
fn without_auxiliary_fields_the_port_is_the_one_that_the_cluster_uses() {
    let mut conf = NodesConf::parse(Six::of(1).text().as_bytes()).unwrap();
    let both = |bus: u16| Ports { tcp: Some(6379), tls: Some(6380), bus };
    conf.repair(at(1, both(16380)), &BTreeMap::from([(id(2), at(2, both(16379)))]));
    assert_eq!(conf.node(id(1)).unwrap().endpoint.to_string(), "10.9.0.1:6380@16380");
    assert_eq!(conf.node(id(2)).unwrap().endpoint.to_string(), "10.9.0.2:6379@16379");
}

#[test]
fn an_owner_that_nobody_has_seen_yet_is_looked_for() {
    let six = Six::of(1).with(2, ":0@0", "master,noaddr", "- 1 1 2 disconnected 5461-10922");
    let conf = repaired(&six.text(), &[3, 4, 5, 6], |_| Ports::plain(6379));
    let owner = conf.node(id(2)).unwrap();
    assert_eq!((owner.endpoint.port, owner.endpoint.bus), (0, Some(0)));
    assert!(!owner.flags.contains(&Flag::NoAddress), "with the flag it is never dialled again");
}

#[rstest]
#[case::of_a_replica("slave,noaddr", "{2} 1700000000000 1700000000001 2 disconnected")]
#[case::of_a_master("master,noaddr", "- 1700000000000 1700000000001 5 disconnected")]
#[case::that_failed("slave,fail,noaddr", "{2} 1700000000000 1700000000001 2 disconnected")]
fn a_ghost_gets_no_address_and_blocks_nothing(#[case] flags: &str, #[case] rest: &str) {
    let ghost = format!("\n{}\n", line(7, ":0@0", flags, rest));
    let conf = repaired_six(&Six::of(2).before(3, &ghost).text());
    let ghost = conf.node(id(7)).unwrap();
    assert!(ghost.flags.contains(&Flag::NoAddress), "kept, so that no engine dials port 0");
    assert_eq!(ghost.endpoint.address(), None);
}
