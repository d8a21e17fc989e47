use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::id::Ordinal;
use crate::plan::Plan;

const REDIS_7_0: &str = "\
1111111111111111111111111111111111111111 10.0.0.1:6379@16379,host-0 myself,master - 0 0 1 connected 0-5460 [5461->-2222222222222222222222222222222222222222]
2222222222222222222222222222222222222222 10.0.0.2:6379@16379,host-1 master,fail? - 1700000000000 1700000000001 2 connected 5461-16383
3333333333333333333333333333333333333333 10.0.0.3:6379@16379 slave,noaddr 1111111111111111111111111111111111111111 0 1 1 disconnected
4444444444444444444444444444444444444444 10.0.9.9:6379@16379 handshake - 0 0 0 disconnected
vars currentEpoch 6 lastVoteEpoch 5
";

fn id(digit: char) -> NodeId {
    digit.to_string().repeat(40).parse().unwrap()
}

fn at(ip: &str) -> Address {
    Address { ip: ip.parse().unwrap(), ports: Ports::plain(6379) }
}

fn plan() -> Plan {
    Plan { salt: "salt".to_owned(), shards: 3, replicas_per_shard: 1, generation: 1 }
}

#[test]
fn what_is_not_edited_is_written_back_byte_for_byte() {
    let odd = "\n1111111111111111111111111111111111111111 fd00::5:6379@16379,,tls-port=0,shard-id=\
        5555555555555555555555555555555555555555  myself,master - 0  0 1 connected\nvars foo 1 \
        currentEpoch 1 lastVoteEpoch 0\n\n\n";
    for text in [REDIS_7_0, odd] {
        assert_eq!(NodesConf::parse(text.as_bytes()).unwrap().to_string(), text);
    }
}

#[test]
fn a_repair_sets_addresses_by_id_and_keeps_the_rest() {
    let mut conf = NodesConf::parse(REDIS_7_0.as_bytes()).unwrap();
    let peers = BTreeMap::from([(id('3'), at("10.0.0.1"))]);
    let changes = conf.repair(at("10.0.0.3"), &peers);
    assert_eq!(
        conf.to_string(),
        "\
1111111111111111111111111111111111111111 10.0.0.3:6379@16379,host-0 myself,master - 0 0 1 connected 0-5460 [5461->-2222222222222222222222222222222222222222]
2222222222222222222222222222222222222222 :0@0,host-1 master - 0 0 2 connected 5461-16383
3333333333333333333333333333333333333333 10.0.0.1:6379@16379 slave 1111111111111111111111111111111111111111 0 0 1 disconnected
vars currentEpoch 6 lastVoteEpoch 5
"
    );
    assert_eq!(changes.dropped, BTreeSet::from([id('4')]));
    assert_eq!(changes.unknown, BTreeSet::from([id('2')]));
}

#[test]
fn a_stale_master_steps_down() {
    let mut conf = NodesConf::parse(REDIS_7_0.as_bytes()).unwrap();
    conf.step_down(id('3'), 9).unwrap();
    let me = conf.myself().unwrap();
    assert_eq!((me.master, me.slots.len(), me.config_epoch), (Some(id('3')), 0, 0));
    let heir = conf.node(id('3')).unwrap();
    assert!(heir.is_master() && heir.slots[0].to_string() == "0-5460" && heir.config_epoch == 9);
    assert_eq!(conf.vars().current_epoch, 9);
    NodesConf::parse(conf.to_string().as_bytes()).unwrap();
    assert_eq!(conf.clone().step_down(id('8'), 10), Err(edit::UnknownHeir(id('8'))));
}

#[test]
fn shard_ids_agree_or_go() {
    let line = |digit: char, shard: &str, role: &str| {
        format!("{} 10.0.0.1:1@2,,{shard} {role} 0 0 0 connected\n", id(digit))
    };
    let master = "1".repeat(40);
    let text = line('1', &format!("shard-id={}", "a".repeat(40)), "myself,master -")
        + &line('2', &format!("shard-id={}", "b".repeat(40)), &format!("slave {master}"))
        + "vars currentEpoch 1 lastVoteEpoch 0\n";
    let mut conf = NodesConf::parse(text.as_bytes()).unwrap();
    conf.repair(at("10.0.0.1"), &BTreeMap::new());
    assert!(conf.nodes().all(|n| n.endpoint.aux("shard-id") == Some(&"a".repeat(40))));

    let text = text.replace(&format!("shard-id={}", "a".repeat(40)), "nodename=a");
    let text = text.replace(&format!("shard-id={}", "b".repeat(40)), "nodename=b");
    let mut conf = NodesConf::parse(text.as_bytes()).unwrap();
    conf.repair(at("10.0.0.1"), &BTreeMap::new());
    assert!(conf.nodes().all(|n| n.endpoint.shard_id().is_none()));
}

#[test]
fn damage_is_named() {
    let with = |from: &str, to: &str| NodesConf::parse(REDIS_7_0.replace(from, to).as_bytes());
    let why = |from: &str, to: &str| with(from, to).unwrap_err().to_string();
    assert_eq!(why("myself,", ""), "0 lines are flagged `myself`, and one has to be");
    assert_eq!(why("myself,master", "myself"), "the own line says neither master nor replica");
    assert_eq!(
        why("myself,master", "myself,slave"),
        "the own line says replica and names no master"
    );
    assert_eq!(
        why("0-5460", "0-16384"),
        "line 1: `0-16384`: slots are N or A-B with 0 <= A <= B <= 16383"
    );
    assert_eq!(why("0-5460", "0-5461"), "the slots 0-5461 and 5461-16383 overlap");
    assert_eq!(
        why(
            "2222222222222222222222222222222222222222 10",
            "1111111111111111111111111111111111111111 10"
        ),
        format!("the id {} stands on two lines", "1".repeat(40))
    );
    assert_eq!(why("handshake", "hand"), "line 4: unknown flag `hand`");
    assert_eq!(with("\nvars", "\n \nvars").unwrap().damage(), [Damage::NoId(5)]);
    assert_eq!(NodesConf::parse(b"").unwrap_err().to_string(), "the file is empty");
    assert_eq!(
        NodesConf::parse(&[0; 99]).unwrap_err().to_string(),
        "the file holds nothing but zero bytes"
    );
    assert_eq!(
        with("vars currentEpoch 6 lastVoteEpoch 5\n", "").unwrap().damage(),
        [Damage::NoVars]
    );
    assert_eq!(with("vars", "\0\0\0").unwrap().damage(), [Damage::ZeroBytes(5), Damage::NoVars]);
    let no_id = with(
        "3333333333333333333333333333333333333333 10.0.0.3:6379@16379 slave,noaddr",
        " :0@0 noaddr",
    );
    assert_eq!(no_id.unwrap().damage(), [Damage::NoId(3)]);
}

proptest! {
    #[test]
    fn bootstrap_files_are_read_back(
        own in 0u32..6, known in proptest::collection::btree_set(0u32..6, 0..6), aux: bool
    ) {
        let format = if aux { Format::Aux } else { Format::Plain };
        let peers = known.iter()
            .map(|o| (plan().node_id(Ordinal(*o)), at(&format!("10.0.0.{o}"))))
            .collect();
        let conf = NodesConf::bootstrap(&plan(), Ordinal(own), at("10.0.1.1"), &peers, format).unwrap();
        let read = NodesConf::parse(conf.to_string().as_bytes()).unwrap();
        prop_assert_eq!(&read, &conf);
        prop_assert_eq!(read.format(), format);
        prop_assert!(read.damage().is_empty());
        prop_assert_eq!(read.myself().unwrap().id, plan().node_id(Ordinal(own)));
        let slots: u32 = read.nodes().flat_map(|n| &n.slots).map(|r| r.count()).sum();
        prop_assert_eq!(slots, 16384);
        // Repairing what was just written with the same facts changes nothing.
        let mut again = read;
        again.repair(at("10.0.1.1"), &peers);
        prop_assert_eq!(again.to_string(), conf.to_string());
    }

    #[test]
    fn no_bytes_make_the_reader_panic_and_what_it_accepts_stays(
        cut in 0usize..700, place in 0usize..700, byte: u8
    ) {
        let mut bytes = REDIS_7_0.as_bytes().to_vec();
        let last = bytes.len() - 1;
        bytes[place.min(last)] = byte;
        bytes.truncate(cut);
        if let Ok(mut conf) = NodesConf::parse(&bytes) {
            conf.repair(at("10.0.0.1"), &BTreeMap::new());
            let text = conf.to_string();
            let again = NodesConf::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(again.to_string(), text);
        }
    }
}
