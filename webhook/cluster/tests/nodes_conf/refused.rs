//! Own lines with which no engine should start, and what others' lines like them come to.

use cluster::nodes::Remains;

use super::*;

#[test]
fn what_no_engine_should_start_with_is_refused() {
    assert_eq!(refused(&[0; 300]), "the file holds nothing but zero bytes");
    let mut first_line = Six::of(1).text().into_bytes();
    first_line.truncate(60);
    first_line.extend([0; 100]);
    assert_eq!(refused(&first_line), "not one line is whole");

    let address = "10.1.0.2:6379@16379";
    let pair = |flags: &str, rest: &str| {
        line(1, "10.1.0.1:6379@16379", "master", "- 0 1 2 connected 0-16383")
            + &line(2, address, flags, rest)
            + VARS
    };
    let why = |text: String| refused(text.as_bytes());
    assert_eq!(
        why(pair("myself", "- 0 0 1 connected")),
        "the own line says neither master nor replica"
    );
    assert_eq!(
        why(pair("myself,slave", "- 0 0 1 connected")),
        "the own line says replica and names no master"
    );
    assert_eq!(
        why(pair("myself,slave", "{3} 0 0 1 connected")),
        "the own line names a master that has no line"
    );
    assert_eq!(
        why(pair("myself,master,slave", "{1} 0 0 1 connected")),
        "the own line says both master and replica"
    );
    let long = format!("{}:6379@16379", "n".repeat(46));
    assert_eq!(
        why(Six::of(1).with(2, &long, "master", "- 0 1 2 connected 5461-10922").text()),
        "line 2: the address is longer than the 45 characters that engines hold"
    );
}

#[rstest]
#[case::its_own_replica("{4} 0 1 1 connected", "{1} 0 1 1 connected")]
#[case::itself("{1} 0 1 1 connected", "{4} 0 1 1 connected")]
fn a_replica_of_its_own_replica_is_refused(#[case] first: &str, #[case] own: &str) {
    let six = Six::of(4).with(1, "10.1.0.1:6379@16379", "slave", first).with(
        4,
        "10.1.0.4:6379@16379",
        "myself,slave",
        own,
    );
    let why = refused(six.text().as_bytes());
    assert!(why.contains("whose masters go round in a circle"), "{why}");
    // Who succeeded whom is not in the file: only the two others' shards are.
    let remains = Remains::of(six.text().as_bytes());
    assert_eq!(remains.me, Some(id(4)));
    let known: Vec<_> = remains.sketches.iter().map(|s| s.id).collect();
    assert_eq!(known, [2, 3, 5, 6].map(id));
}

#[test]
fn others_that_replicate_each_other_are_named_and_left_to_themselves() {
    let six = Six::of(2)
        .with(1, "10.1.0.1:6379@16379", "slave", "{4} 0 1 1 connected")
        .with(4, "10.1.0.4:6379@16379", "slave", "{1} 0 1 1 connected")
        .with(6, "10.1.0.6:6379@16379", "slave", "- 0 1 1 connected");
    let conf = repaired_six(&six.text());
    assert_eq!(conf.damage(), [1, 4, 6].map(|n| Damage::NoRole(id(n))));
    // A replica of a replica is no circle: engines go on to the master themselves.
    let chain = Six::of(5).with(4, "10.1.0.4:6379@16379", "slave", "{5} 0 1 1 connected");
    assert_eq!(repaired_six(&chain.text()).damage(), []);
}
