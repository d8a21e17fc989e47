//! Schedules by seed.
//!
//! Guarantees: the same seed gives the same schedule; every kind of cluster and every fate comes
//! up, alone and together with others.

use fastrand::Rng;

use crate::engine::Family;
use crate::schedule::{
    Claims, Config, Damage, Fate, Keeps, Management, Outage, Probe, Record, Restart, Schedule,
    Stranger, Strangers,
};

/// When the cluster has formed for certain, under OrderedReady too.
const FORMED: u64 = 30_000;

/// How much goes wrong.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Load {
    /// One accident to a whole cluster, now and then with something that makes it harder to come
    /// back.
    One,
    /// Accidents on top of each other, also before there is a cluster.
    #[default]
    Many,
}

/// The schedule of a seed.
pub fn schedule(seed: u64, load: Load) -> Schedule {
    match load {
        Load::One => one(seed),
        Load::Many => many(seed),
    }
}

fn one(seed: u64) -> Schedule {
    let mut rng = Rng::with_seed(seed);
    let config = config(&mut rng);
    let at = FORMED + rng.u64(0..5_000);
    let mut events = vec![(at, blow(&mut rng, &config, at))];
    if rng.u8(0..4) == 0 {
        events.insert(0, (at - rng.u64(0..1_000), hindrance(&mut rng, &config)));
    }
    forgets(&mut rng, at, &mut events);
    Schedule { seed, config, events }
}

fn many(seed: u64) -> Schedule {
    let mut rng = Rng::with_seed(seed);
    let config = config(&mut rng);
    let mut events = Vec::new();
    let formed = if config.pods == Management::Parallel { 8_000 } else { FORMED };
    // Now and then things go wrong before there is a cluster.
    let mut at = if rng.u8(0..8) == 0 { rng.u64(500..formed) } else { formed };
    for _ in 0..rng.usize(1..=3) {
        at += burst(&mut rng, &config, at, &mut events);
        // Right after each other, or when all has settled.
        at += if rng.bool() { rng.u64(0..4_000) } else { rng.u64(8_000..30_000) };
    }
    forgets(&mut rng, events[0].0, &mut events);
    events.sort_by_key(|(at, _)| *at);
    Schedule { seed, config, events }
}

/// Now and then a node is forgotten just when somebody is away.
fn forgets(rng: &mut Rng, at: u64, events: &mut Vec<(u64, Fate)>) {
    if rng.u8(0..6) == 0 {
        events.push((at + rng.u64(0..3_000), Fate::Forget { set: 0 }));
    }
}

fn config(rng: &mut Rng) -> Config {
    let shards = if rng.u8(0..6) == 0 { 4 } else { 3 };
    let replicas = [1, 1, 1, 1, 1, 2, 2, 0][rng.usize(0..8)];
    let keeps = if rng.u8(0..6) == 0 { Keeps::Nothing } else { Keeps::Data };
    let claims = if rng.u8(0..8) == 0 { Claims::No } else { Claims::Yes };
    let pods = if rng.bool() { Management::Parallel } else { Management::Ordered };
    // Under OrderedReady a probe for the cluster's state waits for masters that are not made yet:
    // whether such a set ever comes up is a matter of luck, with or without Mooring.
    let state = pods == Management::Parallel && rng.u8(0..3) == 0;
    Config {
        shards,
        replicas,
        keeps,
        claims,
        pods,
        probe: if state { Probe::State } else { Probe::Ping },
        restart: if rng.u8(0..3) == 0 { Restart::InPlace } else { Restart::WithStep },
        strangers: Strangers::KeptOut,
        ..Config::usual(Family::ALL[rng.usize(0..4)])
    }
}

/// Some events that belong together, from a moment on; returns how long they take.
fn burst(rng: &mut Rng, config: &Config, at: u64, events: &mut Vec<(u64, Fate)>) -> u64 {
    let before = events.len();
    let mut when = at;
    for _ in 0..rng.usize(1..=4) {
        // What makes things worse goes first.
        if rng.u8(0..4) == 0 {
            events.push((when, hindrance(rng, config)));
            when += rng.u64(0..600);
        }
        events.push((when, blow(rng, config, when)));
        when += if rng.bool() { rng.u64(0..300) } else { rng.u64(0..6_000) };
    }
    events.truncate(before + 6);
    when - at
}

fn pod(rng: &mut Rng, config: &Config) -> u32 {
    rng.u32(0..config.pods())
}

/// Something that takes servers, disks or records away.
fn blow(rng: &mut Rng, config: &Config, at: u64) -> Fate {
    let set = 0;
    let pod = pod(rng, config);
    match rng.u8(0..32) {
        0..=3 => Fate::Delete { set, pod },
        4..=7 => Fate::DeleteAll { set },
        8..=9 => Fate::PowerOff { set, ms: rng.u64(500..12_000) },
        10..=11 => Fate::LoseNode { set, pod, ms: rng.u64(500..20_000) },
        12..=14 => Fate::Kill { set, pod },
        15..=16 => Fate::ForceDelete { set, pod, ms: rng.u64(0..12_000) },
        17..=19 => Fate::LoseDisk { set, pod },
        20..=21 => Fate::EmptyData { set, pod },
        22 => Fate::LoseAllDisks { set },
        23 => {
            let how = match rng.u8(0..4) {
                0 => Damage::Missing,
                1 => Damage::Zero,
                _ => Damage::Cut(rng.u8(5..98)),
            };
            Fate::Damage { set, pod, how }
        }
        24 => Fate::DeleteRecord { set },
        25 => Fate::RollBack { set, ms: rng.u64(1_000..40_000) },
        26 => {
            let record = if rng.u8(0..3) == 0 { Record::Lost } else { Record::Kept };
            Fate::Recreate { set, ms: rng.u64(1_000..12_000), record }
        }
        27 => Fate::Rollout { set },
        // Of a cluster that there is.
        28 if at >= FORMED => Fate::Clone,
        28 => Fate::Delete { set, pod },
        29 => {
            let kind = if rng.bool() { Stranger::Node } else { Stranger::Plain };
            Fate::Stranger { kind, ms: rng.u64(2_000..20_000) }
        }
        30 => Fate::Reshard { from: pod, to: self::pod(rng, config) },
        _ => Fate::Cut { set, pod, ms: rng.u64(500..12_000) },
    }
}

/// Something that makes it harder to come back.
fn hindrance(rng: &mut Rng, config: &Config) -> Fate {
    let set = 0;
    let pod = pod(rng, config);
    match rng.u8(0..8) {
        0..=2 => Fate::Block { set, pod, ms: rng.u64(3_000..40_000) },
        3 => Fate::CrashStep { set, pod, action: rng.u32(1..14) },
        4 => {
            let how = if rng.bool() { Outage::Whole } else { Outage::Path };
            Fate::RegistryDown { ms: rng.u64(1_000..30_000), how }
        }
        5 => Fate::LoseAnswers { ms: rng.u64(2_000..12_000) },
        6 => Fate::LoadSlowly { set, pod, ms: rng.u64(500..9_000) },
        _ => Fate::Cut { set, pod, ms: rng.u64(500..12_000) },
    }
}
