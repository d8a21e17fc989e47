//! Decisions about the replication secret, with servers that answer as a test says.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::gate::{Gate, look, replicas};
use super::*;
use crate::id::NodeId;
use crate::planner::{Inspected, Inspection};

struct Fake(BTreeMap<&'static str, Reply>);

impl Server for Fake {
    fn ask(&mut self, words: &[&str]) -> Result<Reply, String> {
        let known = self.0.get(words.join(" ").as_str()).cloned();
        Ok(known.unwrap_or_else(|| Reply::Error("ERR unknown command".to_owned())))
    }
}

fn text(t: &str) -> Reply {
    Reply::Bulk(Some(t.as_bytes().to_vec()))
}

fn list(items: &[&str]) -> Reply {
    Reply::Array(Some(items.iter().map(|t| text(t)).collect()))
}

fn secret(letter: char) -> ReplicationSecret {
    letter.to_string().repeat(64).parse().unwrap()
}

fn user(flags: &[&str], passwords: &[&str], commands: &str) -> Reply {
    let pair = |name: &str, value: Reply| [text(name), value];
    let all = [
        pair("flags", list(flags)),
        pair("passwords", list(passwords)),
        pair("commands", text(commands)),
        pair("keys", text("")),
    ];
    Reply::Array(Some(all.into_iter().flatten().collect()))
}

fn server(version: &str) -> Fake {
    Fake(BTreeMap::from([
        ("INFO server", text(&format!("# Server\r\n{version}\r\n"))),
        ("CONFIG GET aclfile", list(&["aclfile", ""])),
        ("CONFIG GET masteruser", list(&["masteruser", ""])),
        ("CONFIG GET masterauth", list(&["masterauth", ""])),
        ("ACL GETUSER mooring", Reply::Bulk(None)),
    ]))
}

fn stand(change: impl Fn(&mut BTreeMap<&'static str, Reply>)) -> Stand {
    let mut fake = server("redis_version:7.0.15");
    change(&mut fake.0);
    read(&mut fake).unwrap()
}

#[test]
fn what_is_the_users_own_is_left_alone() {
    let option = |key: &'static str, value: &str| {
        let reply = list(&["x", value]);
        stand(move |said| {
            said.insert(key, reply.clone());
        })
    };
    assert_eq!(stand(|_| ()), Stand::Ours(Copying::default()));
    assert_eq!(option("CONFIG GET masterauth", "p"), Stand::HandsOff(Why::Configured));
    assert_eq!(option("CONFIG GET masteruser", "other"), Stand::HandsOff(Why::Configured));
    assert_eq!(option("CONFIG GET aclfile", "/etc/users.acl"), Stand::HandsOff(Why::AclFile));
    // The name without a secret is a hook's that was cut short.
    assert_eq!(option("CONFIG GET masteruser", "mooring"), Stand::Ours(Copying::default()));
    for (flags, commands) in
        [(&["on"][..], "-@all +get"), (&["on"], "+@all"), (&["on", "nopass"], "-@all +psync")]
    {
        let taken = stand(|said| {
            said.insert("ACL GETUSER mooring", user(flags, &[], commands));
        });
        assert_eq!(taken, Stand::HandsOff(Why::Taken), "{flags:?} {commands}");
    }
    let gone = |key: &'static str| {
        stand(move |said| {
            said.remove(key);
        })
    };
    assert_eq!(gone("CONFIG GET aclfile"), Stand::HandsOff(Why::Unable));
    assert_eq!(gone("ACL GETUSER mooring"), Stand::HandsOff(Why::Unable));
    for (version, able) in [
        ("redis_version:5.0.6", false),
        ("redis_version:6.0.16", true),
        ("redis_version:10.0.0", true),
        ("redis_version:7.2.4\r\nvalkey_version:9.0.0", true),
    ] {
        let stand = read(&mut server(version)).unwrap();
        assert_eq!(matches!(stand, Stand::Ours(_)), able, "{version}");
    }
}

#[test]
fn what_mooring_has_set_is_read_back() {
    let a = secret('a');
    let stand = stand(|said| {
        let hash = a.hash();
        said.insert("CONFIG GET masteruser", list(&["masteruser", "mooring"]));
        said.insert("CONFIG GET masterauth", list(&["masterauth", a.expose()]));
        let all = user(&["on"], &[&hash.0], "-@all +psync +replconf +ping");
        said.insert("ACL GETUSER mooring", all);
    });
    let accepts = BTreeSet::from([a.hash()]);
    assert_eq!(stand, Stand::Ours(Copying { accepts, shows: Some(a.clone()) }));
    let Stand::Ours(copying) = stand else { return };
    assert_eq!(accept(&copying, [&a.hash()]), None);
    let command = accept(&copying, [&secret('b').hash()]).unwrap();
    assert_eq!(format!("{command:?}"), "ACL SETUSER mooring");
    let words = command.0.join(" ");
    let hash = secret('b').hash().0;
    assert_eq!(words, format!("ACL SETUSER mooring on #{hash} +psync +replconf +ping"));
}

#[test]
fn a_secret_is_never_printed() {
    let a = secret('a');
    let commands = Command::show(Some(&a));
    let copying = Copying { accepts: BTreeSet::new(), shows: Some(a.clone()) };
    let printed = format!("{a:?} {commands:?} {:?}", Stand::Ours(copying));
    assert!(!printed.contains("aaaa"), "{printed}");
    assert!(serde_json::from_str::<ReplicationSecret>("\"a b\"").is_err());
    assert_eq!(serde_json::to_string(&a).unwrap(), format!("\"{}\"", a.expose()));
}

fn id(digit: char) -> NodeId {
    digit.to_string().repeat(40).parse().unwrap()
}

/// A member: `1` is master of `1`, `11` a replica of it.
fn party(who: char, of: char, accepts: &str, shows: &str) -> Party {
    let copying = Copying {
        accepts: accepts.chars().map(|c| secret(c).hash()).collect(),
        shows: shows.chars().next().map(secret),
    };
    let presence = Presence::Says(Stand::Ours(copying));
    Party { id: id(who), shard: id(of), presence, keys: 100 }
}

fn away(who: char, of: char, presence: Presence) -> Party {
    Party { id: id(who), shard: id(of), presence, keys: 100 }
}

fn planned(parties: &[Party], letter: char, source: Source) -> String {
    let short = |action: &Action| {
        let words: Vec<String> =
            action.commands.iter().map(|command| command.0.join(" ")).collect();
        format!("{}: {}", &action.id.as_str()[..1], words.join("; "))
    };
    let mut all = plan(parties, &secret(letter), source).iter().map(short).collect::<Vec<_>>();
    all.sort();
    let mut text = all.join(" | ");
    for letter in ['a', 'b'] {
        text = text.replace(&secret(letter).hash().0, &format!("hash-{letter}"));
        text = text.replace(secret(letter).expose(), &format!("secret-{letter}"));
    }
    text
}

const SHOW: &str = "CONFIG SET masteruser mooring; CONFIG SET masterauth secret-a";

#[test]
fn it_is_shown_once_all_living_members_of_the_shard_accept_it() {
    let say = |parties: &[Party]| planned(parties, 'a', Source::Kept);
    let full = [party('1', '1', "a", ""), party('2', '1', "a", "")];
    assert_eq!(say(&full), format!("1: {SHOW} | 2: {SHOW}"));
    // Another shard's do not matter.
    let two = [full[0].clone(), full[1].clone(), party('3', '3', "", ""), party('4', '3', "a", "")];
    assert_eq!(say(&two), format!("1: {SHOW} | 2: {SHOW}"));
    // The other replica may become their master.
    for third in [
        party('5', '1', "", ""),
        away('5', '1', Presence::Silent),
        away('5', '1', Presence::Says(Stand::HandsOff(Why::AclFile))),
    ] {
        assert_eq!(say(&[full[0].clone(), full[1].clone(), third]), "");
    }
    let gone = away('5', '1', Presence::Gone);
    assert_eq!(say(&[full[0].clone(), full[1].clone(), gone]), format!("1: {SHOW} | 2: {SHOW}"));
    assert_eq!(say(&[party('1', '1', "a", "a"), party('2', '1', "a", "a")]), "");
}

#[test]
fn a_newer_one_takes_over_step_by_step() {
    let say = |parties: &[Party]| planned(parties, 'a', Source::Registry);
    let add = |n: char| format!("{n}: ACL SETUSER mooring on #hash-a +psync +replconf +ping");
    let old = [party('1', '1', "ab", "b"), party('2', '1', "b", "b")];
    assert_eq!(say(&old), add('2'));
    let both = [party('1', '1', "ab", "b"), party('2', '1', "ab", "b")];
    assert_eq!(say(&both), format!("1: {SHOW} | 2: {SHOW}"));
    let only = |n: char| format!("{n}: ACL SETUSER mooring resetpass #hash-a");
    let shown = [party('1', '1', "ab", "a"), party('2', '1', "ab", "a")];
    assert_eq!(say(&shown), format!("{} | {}", only('1'), only('2')));
    // Somebody who may still show the older one.
    let gone = [shown[0].clone(), shown[1].clone(), away('3', '1', Presence::Gone)];
    assert_eq!(say(&gone), "");
    assert_eq!(say(&[party('1', '1', "a", "a"), party('2', '1', "a", "a")]), "");
    // Whoever does not know whether its own is the newest changes nobody's.
    assert_eq!(planned(&both, 'a', Source::Kept), "");
    assert_eq!(planned(&shown, 'b', Source::Kept), "");
    let fresh = [party('1', '1', "ab", ""), party('2', '1', "b", "b")];
    let show = "1: CONFIG SET masteruser mooring; CONFIG SET masterauth secret-b";
    assert_eq!(planned(&fresh, 'a', Source::Kept), show);
}

#[test]
fn the_user_is_made_by_its_own_hook_only() {
    let parties = [party('1', '1', "", ""), party('2', '1', "b", "b")];
    // It came back empty, and has taken some writes since.
    let closed = [Party { keys: 49, ..parties[0].clone() }, parties[1].clone()];
    let extended = "2: ACL SETUSER mooring on #hash-a +psync +replconf +ping";
    assert_eq!(planned(&closed, 'a', Source::Registry), extended);
    assert_eq!(planned(&closed, 'b', Source::Kept), "");
    // With its data, and without the step: its replica would never be linked again.
    let release = "2: CONFIG SET masterauth ; CONFIG SET masteruser ";
    assert_eq!(planned(&parties, 'b', Source::Kept), release);
    let own = away('1', '1', Presence::Says(Stand::HandsOff(Why::Configured)));
    assert_eq!(planned(&[own, parties[1].clone()], 'b', Source::Kept), release);
    for away in [Presence::Gone, Presence::Silent] {
        let none = [away_master(away), parties[1].clone()];
        assert_eq!(planned(&none, 'b', Source::Kept), "");
    }
}

fn away_master(presence: Presence) -> Party {
    away('1', '1', presence)
}

/// What a server says: masters 1, 2 and 3, and replicas 4 and 5 of 1.
fn says(me: char, replication: &str, keys: i64, change: impl Fn(&str) -> String) -> Inspection {
    let of = id('1');
    let line = |digit: char, rest: &str| {
        let own = if digit == me { "myself," } else { "" };
        format!("{} 10.0.0.{digit}:6379@16379 {own}{rest}\n", id(digit))
    };
    let nodes = [
        line('1', "master - 0 0 1 connected 0-5460"),
        line('2', "master - 0 0 2 connected 5461-10922"),
        line('3', "master - 0 0 3 connected 10923-16383"),
        line('4', &format!("slave {of} 0 0 1 connected")),
        line('5', &format!("slave {of} 0 0 1 connected")),
    ];
    Inspection::read(&change(&nodes.concat()), replication, &Reply::Integer(keys)).unwrap()
}

fn same(nodes: &str) -> String {
    nodes.to_owned()
}

fn replica(me: char, link: &str, offset: u32, keys: i64) -> Inspected {
    let said = format!("role:slave\r\nmaster_link_status:{link}\r\nslave_repl_offset:{offset}\r\n");
    Inspected::Node(Box::new(says(me, &said, keys, same)))
}

fn at(digit: char) -> SocketAddr {
    format!("10.0.0.{digit}:6379").parse().unwrap()
}

#[test]
fn an_empty_master_gives_way_to_a_replica_that_has_the_data() {
    let master = "role:master\r\nmaster_repl_offset:0\r\n";
    let me = says('1', master, 0, same);
    assert_eq!(replicas(&me), [at('4'), at('5')]);
    let heir = |mates: &[(char, Inspected)]| {
        let mates: Vec<_> = mates.iter().map(|(digit, i)| (at(*digit), i.clone())).collect();
        look(&me, &mates)
    };
    let promote = |digit: char| Gate::Promote { at: at(digit), id: id(digit) };
    let (behind, ahead) = (replica('4', "down", 7, 100), replica('5', "down", 9, 100));
    assert_eq!(heir(&[('4', behind.clone()), ('5', ahead)]), promote('5'));
    // One that has nothing, one that copies already, one that is not there: nothing to save.
    for (n, other) in [replica('5', "down", 9, 0), replica('5', "up", 9, 100), Inspected::Nobody]
        .iter()
        .enumerate()
    {
        assert_eq!(heir(&[('5', other.clone())]), Gate::Open, "{n}");
        assert_eq!(heir(&[('4', behind.clone()), ('5', other.clone())]), promote('4'), "{n}");
    }
    assert!(matches!(heir(&[('5', Inspected::Unclear)]), Gate::Wait(_)));
    // With its data, or as a replica, it may be copied.
    let mates = [(at('4'), behind)];
    assert_eq!(look(&says('1', master, 1, same), &mates), Gate::Open);
    assert_eq!(look(&says('4', "role:slave\r\n", 0, same), &mates), Gate::Open);
}

#[test]
fn nobody_is_told_who_can_not_be_elected_or_is_already() {
    let me = says('1', "role:master\r\nmaster_repl_offset:0\r\n", 0, same);
    let cut = |nodes: &str| nodes.replace("3 connected 10923", "3 disconnected 10923");
    let said = "role:slave\r\nmaster_link_status:down\r\nslave_repl_offset:9\r\n";
    let alone = Inspected::Node(Box::new(says('4', said, 100, cut)));
    assert!(matches!(look(&me, &[(at('4'), alone)]), Gate::Wait(why) if why.contains("elect")));
    let owner = says('4', "role:master\r\nmaster_repl_offset:9\r\n", 100, |nodes| {
        nodes.replace(" 1 connected 0-5460", " 1 connected").replace(
            &format!("myself,slave {} 0 0 1 connected", id('1')),
            "myself,master - 0 0 4 connected 0-5460",
        )
    });
    let owner = Inspected::Node(Box::new(owner));
    assert!(matches!(look(&me, &[(at('4'), owner)]), Gate::Wait(why) if why.contains("owns")));
}
