//! What holds for every file and every sequence of edits.

use std::collections::{BTreeMap, BTreeSet};

use cluster::id::NodeId;
use cluster::net::{Address, Ports};
use cluster::nodes::{
    Duty, Flag, Node, NodesConf, Remains, Sketch, Target, Trust, Vars, agree, renamed,
    renamed_shard,
};
use cluster::slot::SlotRange;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::generator::file;
use crate::loader::VERSIONS;

#[derive(Clone, Debug)]
enum Edit {
    Repair(Places),
    Adapt(Index),
    Rename(u8),
    Succeed(u64),
    StepDown(Index, u64),
    Forget(Vec<Index>),
    HoldBack,
    RaiseEpoch(u64),
}

/// The own address and those of some members, by the last number.
#[derive(Clone, Debug)]
struct Places {
    own: u8,
    peers: BTreeMap<u8, (Index, bool)>,
}

fn places() -> impl Strategy<Value = Places> {
    let peers = btree_map(1..9u8, any::<(Index, bool)>(), 0..8);
    (1..9u8, peers).prop_map(|(own, peers)| Places { own, peers })
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        places().prop_map(Edit::Repair),
        any::<Index>().prop_map(Edit::Adapt),
        any::<u8>().prop_map(Edit::Rename),
        (0..70u64).prop_map(Edit::Succeed),
        (any::<Index>(), 0..70u64).prop_map(|(heir, epoch)| Edit::StepDown(heir, epoch)),
        vec(any::<Index>(), 0..4).prop_map(Edit::Forget),
        Just(Edit::HoldBack),
        (0..70u64).prop_map(Edit::RaiseEpoch),
    ]
}

// === impl Places ===

impl Places {
    fn own(&self) -> Address {
        Address { ip: [10, 7, 0, self.own].into(), ports: Ports::plain(6379) }
    }

    fn peers(&self, conf: &NodesConf) -> BTreeMap<NodeId, Address> {
        let ids: Vec<NodeId> = conf.nodes().map(|n| n.id).collect();
        let place = |n: u8, tls: bool| {
            let ip = [10, 7, 0, n].into();
            let tls = tls.then_some(6380);
            Address { ip, ports: Ports { tcp: Some(6379), tls, bus: 16379 } }
        };
        let peers = self.peers.iter();
        peers.map(|(n, (who, tls))| (*who.get(&ids), place(*n, *tls))).collect()
    }
}

fn apply(conf: &mut NodesConf, edit: &Edit) {
    let ids: Vec<NodeId> = conf.nodes().map(|n| n.id).collect();
    match edit {
        Edit::Repair(places) => drop(conf.repair(places.own(), &places.peers(conf))),
        Edit::Adapt(version) => drop(conf.adapt(version.get(&VERSIONS).target())),
        Edit::Rename(salt) => conf.rename(&salt.to_string()),
        Edit::Succeed(epoch) => drop(conf.succeed(*epoch)),
        Edit::StepDown(heir, epoch) => drop(conf.step_down(*heir.get(&ids), *epoch)),
        Edit::Forget(which) => {
            let which: BTreeSet<NodeId> = which.iter().map(|w| *w.get(&ids)).collect();
            let kept = conf.forget(&which);
            for id in which {
                assert_eq!(conf.node(id).is_some(), kept.contains(&id));
            }
        }
        Edit::HoldBack => drop(conf.hold_back()),
        Edit::RaiseEpoch(epoch) => conf.raise_epoch(*epoch),
    }
}

/// What an edit must not touch.
struct Before {
    /// The owner's epoch of each slot.
    slots: Vec<Option<u64>>,
    vars: Vars,
}

impl Before {
    fn of(conf: &NodesConf) -> Self {
        let mut slots = vec![None; 16384];
        for node in conf.nodes() {
            for range in &node.slots {
                let bounds = usize::from(range.start().number())..=range.end().number().into();
                let taken = slots[bounds.clone()].iter().any(Option::is_some);
                assert!(!taken, "{range} has two owners: {conf}");
                slots[bounds].fill(Some(node.config_epoch));
            }
        }
        Self { slots, vars: conf.vars() }
    }

    /// No slot was lost, won or given to somebody at a lower epoch; no epoch fell.
    fn check(&self, conf: &NodesConf) {
        let now = Self::of(conf);
        for (slot, (was, is)) in self.slots.iter().zip(&now.slots).enumerate() {
            assert_eq!(is.is_some(), was.is_some(), "slot {slot}: {conf}");
            assert!(is >= was, "slot {slot} is owned at a lower epoch: {conf}");
        }
        assert!(now.vars.current_epoch >= self.vars.current_epoch, "{conf}");
        assert!(now.vars.last_vote_epoch >= self.vars.last_vote_epoch, "{conf}");
    }
}

/// What holds of every file, edited or not.
fn check_shape(conf: &NodesConf) {
    let mine: Vec<&Node> = conf.nodes().filter(|n| n.flags.contains(&Flag::Myself)).collect();
    assert_eq!(mine.len(), 1, "{conf}");
    for node in conf.nodes() {
        assert!(node.master.is_none_or(|of| conf.node(of).is_some()), "{node} in {conf}");
        assert!(node.slots.is_empty() || node.is_master(), "{node}");
    }
    let text = conf.to_string();
    let again = NodesConf::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(again.nodes().eq(conf.nodes()), "{text}");
    assert_eq!(again.to_string(), text);
}

/// What fails is written down as a case of its own, by hand.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, max_shrink_iters: 3_000, ..Default::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_read_is_written_back_byte_for_byte(file in file()) {
        let text = file.text();
        let conf = NodesConf::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(conf.to_string(), text);
        check_shape(&conf);
    }

    #[test]
    fn edits_in_any_order_lose_nothing(
        file in file(), edits in vec(edit(), 0..6), places in places(), version in any::<Index>()
    ) {
        let mut conf = NodesConf::parse(file.text().as_bytes()).unwrap();
        for edit in &edits {
            let before = Before::of(&conf);
            apply(&mut conf, edit);
            before.check(&conf);
            check_shape(&conf);
        }
        let before = Before::of(&conf);
        let peers = places.peers(&conf);
        conf.repair(places.own(), &peers);
        before.check(&conf);
        check_shape(&conf);

        let written = conf.to_string();
        let mut again = NodesConf::parse(written.as_bytes()).unwrap();
        prop_assert_eq!(again.trust(), Trust::Whole);
        again.repair(places.own(), &peers);
        prop_assert_eq!(again.to_string(), written, "a second repair changes something");

        crate::loads(&conf, *version.get(&VERSIONS));
    }

    #[test]
    fn a_repair_tells_the_truth_about_addresses(file in file(), places in places()) {
        let mut conf = NodesConf::parse(file.text().as_bytes()).unwrap();
        let peers = places.peers(&conf);
        let me = conf.myself().unwrap().id;
        conf.repair(places.own(), &peers);
        let mut taken = BTreeSet::new();
        for node in conf.nodes() {
            let known = if node.id == me { Some(places.own()) } else { peers.get(&node.id).copied() };
            match node.endpoint.address() {
                None => prop_assert_eq!(&node.endpoint.host, ""),
                Some(address) => {
                    prop_assert_eq!(Some(address.ip), known.map(|a| a.ip));
                    prop_assert_eq!(address.ports.bus, 16379);
                    prop_assert!(taken.insert(address.ip), "two nodes at {}", address.ip);
                    prop_assert!(!node.flags.contains(&Flag::NoAddress));
                }
            }
            for stale in [Flag::Failing, Flag::PossiblyFailing, Flag::Handshake] {
                prop_assert!(!node.flags.contains(&stale));
            }
        }
        let peers_with_slots = conf.nodes().filter(|n| n.id != me && !n.slots.is_empty()).count();
        let own_line = conf.myself().cloned();
        prop_assert_eq!(conf.hold_back(), peers_with_slots > 0);
        let flagged = |n: &&Node| n.flags.contains(&Flag::PossiblyFailing);
        prop_assert_eq!(conf.nodes().filter(flagged).count(), peers_with_slots);
        prop_assert_eq!(conf.myself().cloned(), own_line);
    }

    #[test]
    fn a_renamed_file_is_the_same_with_other_names(file in file(), salt in "[a-z]{1,8}") {
        let text = file.text();
        let mut conf = NodesConf::parse(text.as_bytes()).unwrap();
        let mut expected = text;
        for node in conf.nodes() {
            let id = node.id.as_str();
            expected = expected.replace(id, renamed(node.id, &salt).as_str());
            if let Some(shard) = node.endpoint.shard_id() {
                let field = |id: &str| format!("shard-id={id}");
                let new = field(renamed_shard(shard, &salt).as_str());
                expected = expected.replace(&field(shard.as_str()), &new);
            }
        }
        conf.rename(&salt);
        let expected = NodesConf::parse(expected.as_bytes()).unwrap();
        prop_assert!(conf.nodes().eq(expected.nodes()), "{}\n{}", conf, expected);
        prop_assert_eq!(conf.vars(), expected.vars());
        prop_assert_eq!(conf.damage(), expected.damage());
        let ids: BTreeSet<NodeId> = conf.nodes().map(|n| n.id).collect();
        prop_assert_eq!(ids.len(), conf.nodes().count());
    }

    #[test]
    fn a_file_made_from_sketches_says_the_same(file in file(), version in any::<Index>()) {
        let conf = NodesConf::parse(file.text().as_bytes()).unwrap();
        let me = conf.myself().unwrap().id;
        let version = *version.get(&VERSIONS);
        let made = NodesConf::assemble(me, conf.sketches(), 3, version.target()).unwrap();
        crate::loads(&made, version);
        check_shape(&made);
        let vars = made.vars();
        let highest = conf.nodes().map(|n| n.config_epoch).max().unwrap();
        prop_assert!(vars.current_epoch == vars.last_vote_epoch && vars.current_epoch >= 3);
        prop_assert!(vars.current_epoch <= highest.max(3));
        for node in conf.nodes().filter(|n| !n.slots.is_empty()) {
            let copy = made.node(node.id).unwrap();
            prop_assert_eq!((&copy.slots, copy.config_epoch), (&node.slots, node.config_epoch));
        }
        // Merged with itself it is still the same, and so is what Remains says of a sound file.
        let once = agree(made.sketches());
        prop_assert_eq!(&agree(made.sketches().into_iter().chain(made.sketches())), &once);
        let remains = Remains::of(conf.to_string().as_bytes());
        prop_assert_eq!(remains.me, Some(me));
        prop_assert_eq!(remains.sketches, conf.sketches());
    }

    /// Files that were cut, overwritten with zero bytes or with anything else.
    #[test]
    fn damage_never_gives_slots_to_anybody(
        file in file(), cut in any::<Index>(), holes in vec(any::<(Index, u8, u8)>(), 0..3)
    ) {
        let text = file.text();
        let whole = NodesConf::parse(text.as_bytes()).unwrap();
        let cut_only = &text.as_bytes()[..cut.index(text.len())];
        if let Ok(conf) = NodesConf::parse(cut_only) {
            // `vars` is the last line, so without damage every node's line is there.
            if conf.trust() != Trust::LinesMissing {
                prop_assert_eq!(conf.nodes().count(), whole.nodes().count());
            }
            for node in conf.nodes() {
                prop_assert_eq!(whole.node(node.id), Some(node));
            }
        }
        let mut bytes = cut_only.to_vec();
        for (place, length, byte) in holes {
            if !bytes.is_empty() {
                let from = place.index(bytes.len());
                let to = bytes.len().min(from + usize::from(length));
                // Half of the holes are of zero bytes.
                bytes[from..to].fill(byte.saturating_sub(128));
            }
        }
        let remains = Remains::of(&bytes);
        let all = agree(remains.sketches);
        if let Some(me) = remains.me
            && let Ok(made) = NodesConf::assemble(me, all, remains.epoch, Target::Unknown)
        {
            check_shape(&made);
        }
        if let Ok(mut conf) = NodesConf::parse(&bytes) {
            let own = Address { ip: [10, 7, 0, 1].into(), ports: Ports::plain(6379) };
            conf.repair(own, &BTreeMap::new());
            let text = conf.to_string();
            let again = NodesConf::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(again.to_string(), text);
        }
    }

    /// Pictures of a few nodes with a few slots, which contradict each other.
    #[test]
    fn of_several_pictures_the_highest_epoch_counts(
        claims in vec((0..4u8, 0..8u16, 0..4u16, 0..6u64, proptest::option::of(0..4u8)), 0..12)
    ) {
        let id = |n: u8| format!("{n:02x}").repeat(20).parse::<NodeId>().unwrap();
        let sketch = |(n, start, more, config_epoch, of): &(u8, u16, u16, u64, Option<u8>)| {
            let duty = match of {
                Some(of) => Duty::Replica { of: id(*of) },
                None => {
                    let slots = vec![SlotRange::new(*start, start + more).unwrap()];
                    Duty::Master { slots, config_epoch: *config_epoch }
                }
            };
            Sketch { id: id(*n), address: None, duty, shard_id: None }
        };
        let sketches: Vec<Sketch> = claims.iter().map(sketch).collect();
        // A node's own newest claim counts, the first of equally new ones.
        let mut newest: BTreeMap<NodeId, (u64, &Vec<SlotRange>)> = BTreeMap::new();
        for sketch in &sketches {
            if let Duty::Master { slots, config_epoch } = &sketch.duty
                && newest.get(&sketch.id).is_none_or(|(epoch, _)| epoch < config_epoch)
            {
                newest.insert(sketch.id, (*config_epoch, slots));
            }
        }
        let has = |slots: &[SlotRange], slot: u16| {
            slots.iter().any(|r| r.start().number() <= slot && slot <= r.end().number())
        };
        let agreed = agree(sketches.clone());
        for slot in 0..12u16 {
            let claims = newest.iter().filter(|(_, (_, slots))| has(slots, slot));
            let highest = claims.clone().map(|(_, (epoch, _))| *epoch).max();
            let expected: BTreeSet<NodeId> =
                claims.filter(|(_, (epoch, _))| Some(*epoch) == highest).map(|(id, _)| *id).collect();
            let owners: BTreeSet<NodeId> = agreed
                .iter()
                .filter(|s| matches!(&s.duty, Duty::Master { slots, .. } if has(slots, slot)))
                .map(|s| s.id)
                .collect();
            prop_assert_eq!(owners, expected, "slot {}", slot);
        }
        let masters: BTreeSet<NodeId> = agreed
            .iter()
            .filter(|s| matches!(s.duty, Duty::Master { .. }))
            .map(|s| s.id)
            .collect();
        for sketch in &agreed {
            if let Duty::Replica { of } = &sketch.duty {
                prop_assert!(masters.contains(of));
            }
        }
    }
}
