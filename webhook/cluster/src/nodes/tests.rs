use std::collections::BTreeMap;

use proptest::prelude::*;
use rstest::rstest;

use super::edit::SuccessionError;
use super::*;
use crate::id::Ordinal;
use crate::launch::Engine;
use crate::net::Ports;
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
    Plan {
        salt: "salt".to_owned(),
        shards: 3,
        replicas_per_shard: 1,
        generation: 1,
        sets: Vec::new(),
    }
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

// --- by target version ---

fn target(engine: Engine, version: &str) -> Target {
    Target::parse(engine, version)
}

#[test]
fn a_target_is_read_from_versions_and_tags() {
    let known = |engine, major, minor| Target::Known { engine, major, minor };
    assert_eq!(target(Engine::Redis, "7.2.4"), known(Engine::Redis, 7, 2));
    assert_eq!(target(Engine::Redis, "6-alpine"), known(Engine::Redis, 6, 0));
    assert_eq!(target(Engine::Valkey, "v9.1.2-bookworm"), known(Engine::Valkey, 9, 1));
    assert_eq!(target(Engine::Valkey, "8.1-rc2"), known(Engine::Valkey, 8, 1));
    for unclear in ["7", "7-alpine", "latest", "", "unstable", "99999999"] {
        assert_eq!(target(Engine::Redis, unclear), Target::Unknown, "{unclear}");
    }
}

#[test]
fn fields_that_the_target_does_not_know_go_and_nothing_else() {
    let shard = "a".repeat(40);
    let with = |field: &str| {
        format!(
            "{} 10.0.0.1:{field}  myself,master - 0 0 1 connected 0-16383\n\nvars currentEpoch 1 \
             lastVoteEpoch 1 foo 2\n",
            id('1')
        )
    };
    let newest = format!(
        "6379@16379,h.example,availability-zone=a,client-tls-port=7,client-tcp-port=8,\
         client-ipv6=fd00::1,client-ipv4=10.0.0.9,tls-port=0,nodename=n,shard-id={shard}"
    );
    let redis = format!("6379@16379,h.example,tls-port=0,nodename=n,shard-id={shard}");
    let valkey_9_0 = newest.replace(",availability-zone=a", "");
    let valkey_8 = valkey_9_0.replace(",client-tls-port=7,client-tcp-port=8", "");
    for (target, expected) in [
        (Target::Unknown, newest.as_str()),
        (target(Engine::Valkey, "9.1.0"), &newest),
        (target(Engine::Valkey, "9.0.3"), &valkey_9_0),
        (target(Engine::Valkey, "8.1.1"), &valkey_8),
        (target(Engine::Valkey, "7.2.5"), &redis),
        (target(Engine::Redis, "8.6.3"), &redis),
        (target(Engine::Redis, "7.2.0"), &redis),
        (target(Engine::Redis, "7.0.15"), "6379@16379,h.example"),
        (target(Engine::Redis, "6.2.14"), "6379@16379"),
        (target(Engine::Redis, "5.0.6"), "6379@16379"),
    ] {
        let mut conf = NodesConf::parse(with(&newest).as_bytes()).unwrap();
        conf.adapt(target);
        let read = NodesConf::parse(with(expected).as_bytes()).unwrap();
        assert!(conf.nodes().eq(read.nodes()), "{target:?}: {conf}");
        assert!(conf.to_string().ends_with("\n\nvars currentEpoch 1 lastVoteEpoch 1 foo 2\n"));
    }
    let mut known = NodesConf::parse(with(&redis).as_bytes()).unwrap();
    assert_eq!(known.adapt(target(Engine::Redis, "7.2.4")), BTreeSet::new());
    assert_eq!(known.to_string(), with(&redis), "not even the blanks");
}

#[rstest]
#[case::tls_only("0@16380,,tls-port=6380", "6380@16380")]
#[case::both_and_the_bus_over_tls("6379@16380,,tls-port=6380", "6380@16380")]
#[case::both_and_the_bus_in_the_clear("6379@16379,,tls-port=6380", "6379@16379")]
#[case::both_have_a_field("1@16380,,tcp-port=6379,tls-port=6380", "6380@16380")]
#[case::the_front_is_tls("6380@16380,,tcp-port=6379", "6380@16380")]
fn without_the_field_the_port_in_front_is_the_clusters(#[case] before: &str, #[case] after: &str) {
    let text =
        |address: &str| format!("{} 10.0.0.1:{address} myself,master - 0 0 1 connected\n", id('1'));
    let mut conf = NodesConf::parse(text(before).as_bytes()).unwrap();
    assert_eq!(conf.adapt(target(Engine::Redis, "7.0.15")).len(), before.matches('=').count());
    assert_eq!(conf.to_string(), text(after));
}

#[test]
fn values_that_every_engine_aborts_on_go_with_a_repair() {
    let line = |fields: &str| {
        format!("{} 10.0.0.1:1@2,{fields} myself,master - 0 0 1 connected\n", id('1'))
    };
    for (before, after) in [
        (",tls-port=123456,nodename=a", ",nodename=a"),
        (",tls-port=x,tcp-port=", ""),
        (",client-ipv4=fd00::1,nodename=a.b-c", ",nodename=a.b-c"),
        (",nodename=it's", ""),
        (",nodename=a,nodename=b", ",nodename=a"),
        ("a\"b,nodename=a", ",nodename=a"),
        ("a_b.example", "a_b.example"),
    ] {
        let mut conf = NodesConf::parse(line(before).as_bytes()).unwrap();
        conf.repair(at("10.0.0.1"), &BTreeMap::new());
        let comma = if after.is_empty() { "" } else { "," };
        let written = conf.to_string();
        assert!(written.contains(&format!("16379{comma}{after} myself")), "{before}: {written}");
    }
}

// --- succession, holding back, forgetting ---

const SHARD_OF_THREE: &str = "\
1111111111111111111111111111111111111111 10.0.0.1:6379@16379 master,fail - 0 0 4 connected 0-99 200
2222222222222222222222222222222222222222 10.0.0.2:6379@16379 master - 0 0 2 connected 300-400
3333333333333333333333333333333333333333 10.0.0.3:6379@16379 myself,slave 1111111111111111111111111111111111111111 0 0 0 connected
4444444444444444444444444444444444444444 10.0.0.4:6379@16379 slave 1111111111111111111111111111111111111111 0 0 0 connected
5555555555555555555555555555555555555555 10.0.0.5:6379@16379 slave 2222222222222222222222222222222222222222 0 0 0 connected
vars currentEpoch 4 lastVoteEpoch 3
";

#[test]
fn the_heir_takes_its_masters_slots_and_its_shard_follows() {
    let mut conf = NodesConf::parse(SHARD_OF_THREE.as_bytes()).unwrap();
    conf.succeed(7).unwrap();
    assert_eq!(
        conf.to_string(),
        "\
1111111111111111111111111111111111111111 10.0.0.1:6379@16379 slave,fail 3333333333333333333333333333333333333333 0 0 0 connected
2222222222222222222222222222222222222222 10.0.0.2:6379@16379 master - 0 0 2 connected 300-400
3333333333333333333333333333333333333333 10.0.0.3:6379@16379 myself,master - 0 0 7 connected 0-99 200
4444444444444444444444444444444444444444 10.0.0.4:6379@16379 slave 3333333333333333333333333333333333333333 0 0 0 connected
5555555555555555555555555555555555555555 10.0.0.5:6379@16379 slave 2222222222222222222222222222222222222222 0 0 0 connected
vars currentEpoch 7 lastVoteEpoch 3
"
    );
    assert_eq!(conf.succeed(8), Err(SuccessionError::NoReplica));
}

#[test]
fn an_heir_keeps_the_open_slots_that_still_make_sense() {
    let open = |slot: u16, way: &str| format!("[{slot}-{way}-{}]", id('2'));
    let own = [open(50, ">"), open(350, "<"), open(60, "<"), open(360, ">")];
    let line = format!("{} 0 0 0 connected", id('1'));
    let text = SHARD_OF_THREE.replacen(&line, &format!("{line} {}", own.join(" ")), 1);
    let mut conf = NodesConf::parse(text.as_bytes()).unwrap();
    conf.succeed(7).unwrap();
    assert_eq!(conf.myself().unwrap().open_slots, own[..2]);
}

#[test]
fn a_succession_that_others_need_not_believe_is_refused() {
    let with = |from: &str, to: &str, epoch: u64| {
        let mut conf = NodesConf::parse(SHARD_OF_THREE.replace(from, to).as_bytes()).unwrap();
        let before = conf.clone();
        let refused = conf.succeed(epoch).unwrap_err();
        assert_eq!(conf, before, "nothing is changed");
        refused.to_string()
    };
    assert_eq!(
        with("", "", 4),
        "the succession's epoch 4 is not above 4, which the file already has"
    );
    let chain =
        with("0.1:6379@16379 master,fail -", &format!("0.1:6379@16379 slave {}", id('2')), 9);
    assert_eq!(chain, format!("the own line's master {} is not listed as a master", id('1')));
    assert_eq!(
        with(&format!("myself,slave {}", id('1')), "myself,master -", 9),
        "the own line is not a replica's, so it succeeds nobody"
    );
}

#[test]
fn only_other_owners_are_doubted_by_a_lone_starter() {
    let mut conf = NodesConf::parse(SHARD_OF_THREE.as_bytes()).unwrap();
    conf.succeed(7).unwrap();
    conf.repair(at("10.0.0.3"), &BTreeMap::new());
    assert!(conf.hold_back());
    let doubted = |n: &&Node| n.flags.contains(&Flag::PossiblyFailing);
    let ids: Vec<_> = conf.nodes().filter(doubted).map(|n| n.id).collect();
    assert_eq!(ids, [id('2')]);
    let one = format!("{} :0@0 myself,master - 0 0 1 connected 0-16383\n", id('1'));
    assert!(!NodesConf::parse(one.as_bytes()).unwrap().hold_back(), "nobody else owns anything");
}

#[test]
fn whoever_is_needed_is_not_forgotten() {
    let mut conf = NodesConf::parse(SHARD_OF_THREE.as_bytes()).unwrap();
    let all: BTreeSet<NodeId> = "12345".chars().map(id).collect();
    assert_eq!(conf.forget(&all), BTreeSet::from(['1', '2', '3'].map(id)));
    assert_eq!(conf.nodes().count(), 3);

    let mut conf = NodesConf::parse(REDIS_7_0.as_bytes()).unwrap();
    assert_eq!(conf.forget(&BTreeSet::from([id('3'), id('9')])), BTreeSet::new());
    assert!(conf.node(id('3')).is_none());
    assert_eq!(conf.to_string().lines().count(), 4);

    // The partner of an open slot would be made up again by the engine, without an address.
    let text = REDIS_7_0.replace("5461-16383", "").replace(" \n", "\n");
    let mut conf = NodesConf::parse(text.as_bytes()).unwrap();
    assert_eq!(conf.forget(&BTreeSet::from([id('2')])), BTreeSet::from([id('2')]));
}

#[test]
fn a_handshake_inherits_nothing() {
    let mut conf = NodesConf::parse(REDIS_7_0.as_bytes()).unwrap();
    assert_eq!(conf.step_down(id('4'), 9), Err(edit::UnknownHeir(id('4'))));
}

#[test]
fn no_slot_falls_to_a_lower_epoch() {
    let mut conf =
        NodesConf::parse(REDIS_7_0.replace(" 1 connected 0-", " 8 connected 0-").as_bytes())
            .unwrap();
    conf.step_down(id('3'), 7).unwrap();
    assert_eq!(conf.node(id('3')).unwrap().config_epoch, 8);
}

#[test]
fn epochs_of_a_file_without_them_do_not_fall_when_a_node_goes() {
    let text = REDIS_7_0.replace("vars currentEpoch 6 lastVoteEpoch 5\n", "");
    let text = text.replace(" 0 1 1 disconnected", " 0 1 9 disconnected");
    let mut conf = NodesConf::parse(text.as_bytes()).unwrap();
    conf.forget(&BTreeSet::from([id('3')]));
    assert_eq!(conf.vars().current_epoch, 9);
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
