//! State files as the field reports them: what is read, what is refused, what a repair makes of it.
//!
//! Ids and addresses are invented; the damage is real. Members are numbered by their lines. Member
//! N registered the address 10.9.0.N.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};

use cluster::id::NodeId;
use cluster::net::{Address, Ports};
use cluster::nodes::{Damage, Flag, NodesConf};
use rstest::rstest;

use loader::{Table, VERSIONS};

#[path = "nodes_conf/addresses.rs"]
mod addresses;
#[path = "nodes_conf/cut_off.rs"]
mod cut_off;
#[path = "nodes_conf/generator.rs"]
mod generator;
#[path = "nodes_conf/loader.rs"]
mod loader;
#[path = "nodes_conf/properties.rs"]
mod properties;
#[path = "nodes_conf/refused.rs"]
mod refused;

const VARS: &str = "vars currentEpoch 6 lastVoteEpoch 0\n";

fn id(n: u8) -> NodeId {
    format!("{n:02x}").repeat(20).parse().unwrap()
}

fn shard(n: u8) -> String {
    format!("{n:x}e").repeat(20)
}

fn at(n: u8, ports: Ports) -> Address {
    Address { ip: format!("10.9.0.{n}").parse().unwrap(), ports }
}

/// A member's line. `{2}` in a text stands for the id of member 2.
fn line(n: u8, address: &str, flags: &str, rest: &str) -> String {
    let mut text = format!("{} {address} {flags} {rest}\n", id(n));
    for n in 1..10 {
        text = text.replace(&format!("{{{n}}}"), id(n).as_str());
    }
    text
}

/// Three masters and three replicas at 10.1.0.N; the own line is that of `me`.
struct Six {
    lines: Vec<String>,
    vars: String,
}

impl Six {
    fn of(me: u8) -> Self {
        Self::at(me, |n| format!("10.1.0.{n}:6379@16379"))
    }

    fn at(me: u8, address: impl Fn(u8) -> String) -> Self {
        let rest = [
            ("master", "- 0 1700000000001 1 connected 0-5460"),
            ("master", "- 0 1700000000002 2 connected 5461-10922"),
            ("master", "- 0 1700000000003 3 connected 10923-16383"),
            ("slave", "{1} 0 1700000000004 1 connected"),
            ("slave", "{2} 0 1700000000005 2 connected"),
            ("slave", "{3} 0 1700000000006 3 connected"),
        ];
        let lines = (1..).zip(rest).map(|(n, (role, rest))| {
            let flags = if n == me { format!("myself,{role}") } else { role.to_owned() };
            line(n, &address(n), &flags, rest)
        });
        Self { lines: lines.collect(), vars: VARS.to_owned() }
    }

    /// Puts another line in the place of member `n`'s.
    fn with(mut self, n: u8, address: &str, flags: &str, rest: &str) -> Self {
        self.lines[usize::from(n - 1)] = line(n, address, flags, rest);
        self
    }

    /// Puts a text in front of member `n`'s line.
    fn before(mut self, n: u8, text: &str) -> Self {
        self.lines[usize::from(n - 1)].insert_str(0, text);
        self
    }

    fn text(&self) -> String {
        self.lines.concat() + &self.vars
    }
}

/// Every version loads the file, once what it does not know is dropped, and finds in it what we
/// say is in it. (A ghost is the one node that may be named without being there.)
fn loads_everywhere(conf: &NodesConf) -> Vec<Table> {
    VERSIONS.into_iter().map(|version| loads(conf, version)).collect()
}

fn loads(conf: &NodesConf, version: loader::Version) -> Table {
    let mut adapted = conf.clone();
    adapted.adapt(version.target());
    let text = adapted.to_string();
    let table = version.load(&text).unwrap_or_else(|e| panic!("{version:?}: {e}\n{text}"));
    assert_eq!(table.myself.as_deref(), conf.myself().map(|n| n.id.as_str()));
    assert_eq!(table.nodes.len(), conf.nodes().count(), "somebody is named and not listed: {text}");
    for node in conf.nodes() {
        let row = &table.nodes[node.id.as_str()];
        assert!(row.listed, "{version:?}: {text}");
        assert_eq!(row.master.as_deref(), node.master.as_ref().map(NodeId::as_str));
        assert_eq!(row.host, node.endpoint.host);
        match node.endpoint.hostname.as_deref() {
            Some(name) if version.target().reads_hostname() => assert_eq!(row.hostname, name),
            _ => assert_eq!(row.hostname, "", "{version:?}: {text}"),
        }
        let ranges = node.slots.iter().map(|r| (r.start().number(), r.end().number()));
        assert_eq!(row.slots, ranges.collect::<Vec<_>>(), "{version:?}: {text}");
    }
    assert_eq!(table.contested, None, "{text}");
    let vars = conf.vars();
    assert!(table.current_epoch >= vars.current_epoch);
    assert_eq!(table.last_vote_epoch, vars.last_vote_epoch);

    let mut again = NodesConf::parse(text.as_bytes()).unwrap();
    assert_eq!(again.adapt(version.target()), BTreeSet::new());
    assert_eq!(again.to_string(), text, "what is not edited is written back byte for byte");
    table
}

/// What every repair has to leave, and the repaired file.
fn repaired(text: &str, known: &[u8], ports: impl Fn(u8) -> Ports) -> NodesConf {
    let before = NodesConf::parse(text.as_bytes()).unwrap();
    let me = before.myself().unwrap().id;
    let number = |wanted: NodeId| (1..10).find(|n| id(*n) == wanted).unwrap();
    let own = at(number(me), ports(number(me)));
    let peers: BTreeMap<_, _> =
        known.iter().map(|n| (id(*n), at(*n, ports(*n)))).filter(|(id, _)| *id != me).collect();
    let mut conf = before.clone();
    conf.repair(own, &peers);

    let mut places = BTreeSet::new();
    for node in conf.nodes() {
        let was = before.node(node.id).unwrap();
        assert_eq!((node.master, &node.slots), (was.master, &was.slots));
        assert_eq!((node.config_epoch, &node.open_slots), (was.config_epoch, &was.open_slots));
        assert_eq!((node.ping_sent, node.pong_received), (0, 0));
        for stale in [Flag::Failing, Flag::PossiblyFailing, Flag::Handshake] {
            assert!(!node.flags.contains(&stale), "{node}");
        }
        match node.endpoint.address() {
            Some(address) => {
                assert_eq!(address, at(number(node.id), ports(number(node.id))));
                assert!(places.insert((address.ip, address.ports.bus)), "twice: {node}");
                assert!(!node.flags.contains(&Flag::NoAddress), "{node}");
            }
            None => assert!(node.endpoint.host.is_empty() && node.endpoint.port == 0, "{node}"),
        }
    }
    let shards: BTreeSet<_> =
        conf.nodes().map(|n| (n.master.unwrap_or(n.id), n.endpoint.shard_id())).collect();
    let members: BTreeSet<_> = shards.iter().map(|(master, _)| *master).collect();
    assert_eq!(shards.len(), members.len(), "shard ids disagree: {conf}");
    assert!(conf.vars().current_epoch >= before.vars().current_epoch);

    let written = conf.to_string();
    assert!(!written.contains('\0') && written.ends_with('\n'));
    let mut again = NodesConf::parse(written.as_bytes()).unwrap();
    assert!(again.damage().iter().all(|d| matches!(d, Damage::NoRole(_))), "{:?}", again.damage());
    assert_eq!(again.to_string(), written);
    again.repair(own, &peers);
    assert_eq!(again.to_string(), written, "a second repair changes something");
    loads_everywhere(&conf);
    conf
}

fn repaired_six(text: &str) -> NodesConf {
    let conf = repaired(text, &[1, 2, 3, 4, 5, 6], |_| Ports::plain(6379));
    for n in 1..=6 {
        assert!(conf.node(id(n)).is_none_or(|node| node.endpoint.address().is_some()), "{n}");
    }
    conf
}

fn refused(text: &[u8]) -> String {
    NodesConf::parse(text).unwrap_err().to_string()
}

#[rstest]
#[case::text_of_a_variable(Six::of(1)
    .with(1, "${MY_IP}:6379@16379", "myself,master", "- 0 1 1 connected 0-5460")
    .with(4, "${MY_IP}:6379@16379", "slave", "{1} 0 1 1 connected"))]
#[case::names_cut_at_45_characters(Six::at(1, |n| {
    let name = format!("orders-{n}.orders-peers.checkout-production.svc");
    format!("{}:6379@16379", &name[..45])
}))]
#[case::both_families(Six::at(1, |n| {
    let ip = if n % 3 == 2 { format!("fd10::{n}") } else { format!("10.1.0.{n}") };
    format!("{ip}:6379@16379,,tls-port=0,shard-id={}", shard((n - 1) % 3 + 1))
}))]
#[case::one_address_twice(Six::of(1)
    .with(4, "10.1.0.2:6379@16379", "slave", "{1} 0 1 1 connected"))]
#[case::a_replica_marked_failed(Six::of(1)
    .with(4, "10.1.0.4:6379@16379", "slave,fail", "{1} 1700000000004 1700000000000 1 connected"))]
#[case::an_owner_without_address(Six::of(1)
    .with(2, ":0@0", "master,noaddr", "- 1700000000009 1700000000008 2 disconnected 5461-10922"))]
#[case::shard_ids_that_disagree(Six::at(4, |n| {
    format!("10.1.0.{n}:6379@16379,,tls-port=0,shard-id={}", shard(n))
}))]
#[case::shard_ids_on_masters_only(Six::at(4, |n| match n {
    1..=3 => format!("10.1.0.{n}:6379@16379,,tls-port=0,shard-id={}", shard(n)),
    _ => format!("10.1.0.{n}:6379@16379"),
}))]
#[case::shard_ids_on_replicas_only(Six::at(4, |n| match n {
    1..=3 => format!("10.1.0.{n}:6379@16379"),
    _ => format!("10.1.0.{n}:6379@16379,,tls-port=0,shard-id={}", shard(n)),
}))]
#[case::open_slots_of_a_master(Six::of(2).with(2, "10.1.0.2:6379@16379", "myself,master",
    "- 0 1 2 connected 5461-10922 [17-<-{1}] [5500->-{3}]"))]
#[case::an_open_slot_of_a_replica(Six::of(5)
    .with(5, "10.1.0.5:6379@16379", "myself,slave", "{2} 0 1 2 connected [5500-<-{1}]"))]
// The file alone looks sound; that its id lives in another pod is the registry's to say.
#[case::the_disk_of_another_member(Six::of(2))]
fn all_six_members_are_repaired_by_id(#[case] six: Six) {
    let conf = repaired_six(&six.text());
    assert_eq!(conf.nodes().count(), 6);
    assert_eq!(conf.damage(), []);
    for node in conf.nodes() {
        assert!(!node.flags.contains(&Flag::NoAddress), "{node}");
    }
}

/// The common wrapper replaces the first IPv4 address in the line with `myself` by the pod's.
#[test]
fn a_wrapper_that_edits_the_own_line_afterwards_changes_nothing() {
    let edited = |text: &str, own: &str| -> String {
        let edit = |line: &str| {
            let is_ip = |w: &&str| w.matches('.').count() == 3;
            let digits = |c: char| !c.is_ascii_digit() && c != '.';
            match line.split(digits).find(is_ip).filter(|_| line.contains("myself")) {
                Some(ip) => line.replacen(ip, own, 1),
                None => line.to_owned(),
            }
        };
        text.split_inclusive('\n').map(edit).collect()
    };
    let before = Six::of(2).text();
    assert_ne!(edited(&before, "10.9.0.2"), before, "it does change a file that nobody repaired");
    let repaired = repaired_six(&before).to_string();
    assert_eq!(edited(&repaired, "10.9.0.2"), repaired);
}

#[test]
fn shard_ids_are_those_of_the_masters_then_of_the_replicas_or_all_go() {
    let bare = |n: u8| format!("10.1.0.{n}:6379@16379");
    let own = |n: u8| format!("10.1.0.{n}:6379@16379,,tls-port=0,shard-id={}", shard(n));
    let shard_of = |conf: &NodesConf, n: u8| {
        conf.node(id(n)).unwrap().endpoint.shard_id().map(|id| id.to_string())
    };
    let conf = repaired_six(&Six::at(4, own).text());
    assert_eq!((shard_of(&conf, 1), shard_of(&conf, 4)), (Some(shard(1)), Some(shard(1))));
    let replicas_only = |n: u8| if n < 4 { bare(n) } else { own(n) };
    let conf = repaired_six(&Six::at(4, replicas_only).text());
    assert_eq!((shard_of(&conf, 1), shard_of(&conf, 4)), (Some(shard(4)), Some(shard(4))));
    let one_shard_without = |n: u8| if n == 3 || n == 6 { bare(n) } else { own(n) };
    let conf = repaired_six(&Six::at(4, one_shard_without).text());
    assert!(!conf.to_string().contains("shard-id"));
}

#[test]
fn lines_without_an_id_are_dropped_and_named() {
    let six = Six::of(1)
        .before(4, " 5ca1ab1e:0@0 fail? - 1700000200000 0 0 disconnected\n")
        .before(5, " 0ddba11:0@0 fail? - 1700000200001 0 0 disconnected\n");
    let conf = repaired_six(&six.text());
    assert_eq!(conf.damage(), [Damage::NoId(4), Damage::NoId(6)]);
    assert_eq!(conf.damage()[0].to_string(), "line 4 has no node id and is dropped");
    assert_eq!(conf.nodes().count(), 6);
    assert!(!conf.to_string().contains("5ca1ab1e"));
}

#[test]
fn a_handshake_is_dropped_and_nobody_is_met_at_its_address() {
    let left = line(7, "10.1.99.1:6379@16379", "handshake", "- 1700000000000 0 0 disconnected");
    let conf = repaired_six(&Six::of(1).before(5, &left).text());
    assert!(conf.node(id(7)).is_none() && !conf.to_string().contains("10.1.99.1"));
}
