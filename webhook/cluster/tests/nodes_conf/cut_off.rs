//! Files that can not be used as they are, and what the record makes of them.

use std::collections::BTreeMap;

use cluster::net::Ports;
use cluster::nodes::{
    AssembleError, Damage, Duty, Flag, NodesConf, Remains, Sketch, Target, Trust,
};
use cluster::slot::SlotRange;
use rstest::rstest;

use crate::{Six, VARS, at, id, line, loads_everywhere, repaired_six};

fn master(n: u8, slots: Option<(u16, u16)>, config_epoch: u64) -> Sketch {
    let slots = slots.map(|(start, end)| SlotRange::new(start, end).unwrap());
    let duty = Duty::Master { slots: slots.into_iter().collect(), config_epoch };
    Sketch { id: id(n), address: Some(at(n, Ports::plain(6379))), duty, shard_id: None }
}

fn replica(n: u8, of: u8) -> Sketch {
    let address = Some(at(n, Ports::plain(6379)));
    Sketch { id: id(n), address, duty: Duty::Replica { of: id(of) }, shard_id: None }
}

/// What the record says of the six.
fn record() -> Vec<Sketch> {
    let ranges = [(0, 5460), (5461, 10922), (10923, 16383)];
    let masters = (1..=3).zip(ranges).map(|(n, range)| master(n, Some(range), u64::from(n)));
    masters.chain((4..=6).map(|n| replica(n, n - 3))).collect()
}

/// The file for the member whose file is damaged: what is left of it first, then the record.
fn rebuilt(text: &[u8], record: Vec<Sketch>, epoch: u64) -> Result<NodesConf, AssembleError> {
    let remains = Remains::of(text);
    let me = remains.me.unwrap_or(id(1));
    let conf = remains.complete(me, record, epoch, Target::Unknown)?;
    loads_everywhere(&conf);
    assert_eq!(NodesConf::parse(conf.to_string().as_bytes()).unwrap(), conf);
    let vars = conf.vars();
    assert_eq!(vars.current_epoch, vars.last_vote_epoch, "no vote is given twice");
    Ok(conf)
}

fn says(conf: &NodesConf, n: u8) -> String {
    let node = conf.node(id(n)).unwrap();
    let slots: Vec<_> = node.slots.iter().map(ToString::to_string).collect();
    match node.master {
        Some(of) => {
            let epoch = conf.node(of).unwrap().config_epoch;
            assert_eq!(node.config_epoch, epoch, "a replica bears its master's epoch: {conf}");
            format!("of {}", (1..10).find(|n| id(*n) == of).unwrap())
        }
        None => format!("{} at {}", slots.join(" "), node.config_epoch),
    }
}

#[test]
fn a_file_of_zero_bytes_is_made_anew_from_the_record() {
    let conf = rebuilt(&[0; 2000], record(), 6).unwrap();
    assert_eq!(conf.myself().unwrap().id, id(1));
    assert_eq!((says(&conf, 1), says(&conf, 6)), ("0-5460 at 1".to_owned(), "of 3".to_owned()));
    assert_eq!(conf.vars().current_epoch, 6);
    let stranger = rebuilt(&[0; 2000], record().split_off(1), 6);
    assert_eq!(stranger.unwrap_err(), AssembleError::NoOwnSketch(id(1)));
}

#[test]
fn zero_bytes_at_the_end_cost_the_lines_behind_and_the_record_has_them() {
    let whole = Six::of(1).text();
    let third_line_ends = whole.match_indices('\n').nth(2).unwrap().0 + 1;
    let text = format!("{}{}", &whole[..third_line_ends], "\0".repeat(200));
    let conf = repaired_six(&text);
    assert_eq!(conf.damage(), [Damage::ZeroBytes(4), Damage::NoVars]);
    assert_eq!(conf.trust(), Trust::LinesMissing);
    assert_eq!(conf.nodes().count(), 3, "what was cut off is not invented");
    assert!(conf.to_string().ends_with("vars currentEpoch 3 lastVoteEpoch 3\n"));

    let conf = rebuilt(text.as_bytes(), record(), 6).unwrap();
    assert_eq!(conf.nodes().count(), 6);
    assert_eq!(
        [1, 2, 3, 4, 5, 6].map(|n| says(&conf, n)),
        ["0-5460 at 1", "5461-10922 at 2", "10923-16383 at 3", "of 1", "of 2", "of 3"]
    );
    assert!(conf.to_string().ends_with("vars currentEpoch 6 lastVoteEpoch 6\n"));
}

#[test]
fn zero_bytes_in_the_middle_cost_the_lines_that_they_are_in() {
    let mut bytes = Six::of(1).text().into_bytes();
    let hole = bytes.len() / 2;
    bytes[hole..hole + 40].fill(0);
    let conf = NodesConf::parse(&bytes).unwrap();
    assert_eq!(conf.damage(), [Damage::ZeroBytes(4)]);
    assert_eq!((conf.trust(), conf.nodes().count()), (Trust::LinesMissing, 5));
    assert_eq!(conf.vars().current_epoch, 6);
    assert_eq!(rebuilt(&bytes, record(), 0).unwrap().nodes().count(), 6);
}

#[test]
fn an_own_line_without_a_role_gets_the_recorded_one() {
    for own in ["myself", "myself,slave"] {
        let text = line(1, "10.1.0.1:6379@16379", "master", "- 0 1 2 connected 0-16383")
            + &line(2, "10.1.0.2:6379@16379", own, "- 0 0 1 connected")
            + VARS;
        assert_eq!(Remains::of(text.as_bytes()).me, Some(id(2)));
        let conf = rebuilt(text.as_bytes(), vec![replica(2, 1)], 0).unwrap();
        assert_eq!((says(&conf, 1), says(&conf, 2)), ("0-16383 at 2".into(), "of 1".into()));
        assert!(conf.myself().unwrap().flags.contains(&Flag::Replica));
        let unknown = rebuilt(text.as_bytes(), vec![], 0).unwrap_err();
        assert_eq!(unknown, AssembleError::NoOwnSketch(id(2)));
    }
}

#[test]
fn the_recorded_succession_ends_a_circle() {
    let own = Six::of(4).with(1, "10.1.0.1:6379@16379", "slave", "{4} 0 1 1 connected");
    let own = own.with(4, "10.1.0.4:6379@16379", "myself,slave", "{1} 0 1 1 connected");
    let text = own.text();
    let succession = vec![master(4, Some((0, 5460)), 7), replica(1, 4)];
    let conf = rebuilt(text.as_bytes(), succession, 7).unwrap();
    assert_eq!((says(&conf, 4), says(&conf, 1)), ("0-5460 at 7".into(), "of 4".into()));
    assert_eq!((says(&conf, 2), says(&conf, 5)), ("5461-10922 at 2".into(), "of 2".into()));
    assert_eq!(conf.vars().current_epoch, 7);
    assert_eq!(rebuilt(text.as_bytes(), vec![], 0).unwrap_err(), AssembleError::NoOwnSketch(id(4)));
}

#[test]
fn the_disk_of_another_member_can_be_left_for_the_recorded_part() {
    // Member 2's file lies on the disk of member 4, which has lost its own.
    let remains = Remains::of(Six::of(2).text().as_bytes());
    let conf = remains.complete(id(4), record(), 0, Target::Unknown).unwrap();
    assert_eq!((conf.myself().unwrap().id, says(&conf, 4)), (id(4), "of 1".into()));
    loads_everywhere(&conf);
}

/// A file cut at any byte: it never looks whole, what it says is true, and no vote is repeated.
#[rstest]
#[case::of_a_master(1)]
#[case::of_a_replica(6)]
fn a_file_that_was_cut_off_never_looks_whole(#[case] me: u8) {
    let text = Six::of(me).text().replace(VARS, "vars currentEpoch 126 lastVoteEpoch 121\n");
    let whole = NodesConf::parse(text.as_bytes()).unwrap();
    let (mine, all) = (whole.myself().unwrap(), whole.sketches());
    let mut readable = 0;
    for length in 0..text.len() {
        let cut = &text.as_bytes()[..length];
        let remains = Remains::of(cut);
        assert!(remains.epoch <= 126);
        assert!(remains.me.is_none_or(|id| id == mine.id), "{length}");
        for sketch in &remains.sketches {
            assert!(all.contains(sketch), "{length}: {sketch:?}");
        }
        let Ok(mut conf) = NodesConf::parse(cut) else { continue };
        readable += 1;
        assert_ne!(conf.trust(), Trust::Whole, "{length}");
        assert_eq!(conf.myself(), Some(mine), "{length}");
        for node in conf.nodes() {
            assert_eq!(whole.node(node.id), Some(node), "{length}");
        }
        if conf.trust() == Trust::AllButEpochs {
            assert_eq!(conf.nodes().count(), 6);
        }
        conf.repair(at(me, Ports::plain(6379)), &BTreeMap::new());
        conf.raise_epoch(126);
        let vars = conf.vars();
        assert_eq!((vars.current_epoch, vars.last_vote_epoch), (126, 126), "{length}");
        let again = NodesConf::parse(conf.to_string().as_bytes()).unwrap();
        assert_eq!(again.trust(), Trust::Whole);
    }
    assert!(readable > 30, "{readable}");
}

#[test]
fn line_ends_at_the_end_are_no_damage() {
    // Up to 7.0 a file that has become shorter is filled up with them.
    let text = Six::of(1).text() + &"\n".repeat(99);
    assert_eq!(NodesConf::parse(text.as_bytes()).unwrap().trust(), Trust::Whole);
}

#[test]
fn of_two_lines_of_epochs_the_higher_numbers_count() {
    let text = Six::of(1).text() + "vars currentEpoch 5 lastVoteEpoch 4\n";
    let conf = repaired_six(&text);
    assert_eq!((conf.damage(), conf.trust()), (&[Damage::Epochs][..], Trust::AllButEpochs));
    assert_eq!((conf.vars().current_epoch, conf.vars().last_vote_epoch), (6, 6));
}
