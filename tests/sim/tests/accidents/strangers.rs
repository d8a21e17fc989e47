//! Other people's servers on a dead master's address, and clones beside their original.

use sim::engine::Family;
use sim::ids::Addr;
use sim::world::World;

use super::lab::Lab;
use super::{each, took};

/// Whether the replica of the first master has lost everything.
fn emptied(lab: &Lab) -> bool {
    lab.server(3).data.is_empty()
}

/// What chance decides has to end as measured whatever it decides.
fn often(test: impl Fn(Family, u64)) {
    each(|family| (1..=20).for_each(|seed| test(family, seed)));
}

/// A plain empty server: the replica is emptied after 0.5 to 1.6 s and promoted empty at 6.3 to
/// 8.6 s; the real master comes back with its disk, is demoted and wiped.
#[test]
fn a_plain_stranger_destroys_the_shard() {
    often(|family, seed| {
        let mut lab = Lab::formed_by(family, seed);
        let addr = lab.addr(0);
        lab.kill(0);
        lab.stranger(addr, false, 0);
        let emptied = lab.until(5_000, emptied);
        took(emptied, 500, 1_600);
        took(emptied + lab.until(15_000, |lab| lab.owns(3)), 6_300, 8_600);
        let known = lab.addresses();
        lab.repair(0, Addr(9), &known);
        lab.start(0, 0, Addr(9));
        lab.until(10_000, |lab| !lab.owns(0) && lab.server(0).data.is_empty());
        lab.until(10_000, Lab::all_ok);
        assert!(lab.lost() > 0, "{family:?}");
    });
}

/// A cluster-mode server: on Redis and Valkey 8.0 the replica is emptied and never elected, and
/// the master's disk saves the shard; 8.1 promotes it empty; 9 elects it in time.
#[test]
fn a_strange_node() {
    often(|family, seed| {
        let mut lab = Lab::formed_by(family, seed);
        let addr = lab.addr(0);
        lab.kill(0);
        lab.stranger(addr, true, 0);
        match family {
            Family::Redis72 | Family::Redis8 => {
                lab.until(5_000, emptied);
                assert_eq!(lab.within(60_000, |lab| lab.owns(3)), None, "{family:?}");
                assert!((1..6).all(|ordinal| lab.server(ordinal).ok), "{family:?}");
                let known = lab.addresses();
                lab.repair(0, Addr(9), &known);
                lab.start(0, 0, Addr(9));
                lab.until(20_000, |lab| lab.all_ok() && lab.links_up());
                assert_eq!(lab.lost(), 0);
            }
            Family::Valkey81 => {
                lab.until(15_000, |lab| lab.owns(3));
                lab.until(5_000, Lab::all_ok);
                assert!(emptied(&lab) && lab.lost() > 0, "{seed}");
            }
            Family::Valkey9 => {
                took(lab.until(5_000, |lab| lab.owns(3)), 250, 500);
                lab.until(5_000, Lab::all_ok);
                assert_eq!((emptied(&lab), lab.lost()), (false, 0), "{seed}");
            }
        }
    });
}

/// With a secret of its own nothing is lost. Redis and Valkey 8.0 do not elect by themselves when
/// the stranger is a node; one FORCE heals that.
#[test]
fn a_secret_keeps_strangers_out() {
    each(|family| {
        for node in [false, true] {
            let mut lab = Lab::formed(family);
            let addr = lab.addr(0);
            lab.kill(0);
            lab.stranger(addr, node, 9);
            let by_itself = lab.within(20_000, |lab| lab.owns(3));
            assert!(!emptied(&lab));
            if node && matches!(family, Family::Redis72 | Family::Redis8) {
                assert_eq!(by_itself, None, "{family:?}");
                lab.force(3);
                took(lab.until(5_000, |lab| lab.owns(3)), 100, 400);
            }
            assert!(lab.owns(3), "{family:?}");
            lab.until(10_000, Lab::all_ok);
            assert_eq!(lab.lost(), 0);
        }
    });
}

/// The files of all six are started a second time, elsewhere.
fn clone(lab: &mut Lab, renamed: bool) {
    for ordinal in 0..6 {
        let mut conf = lab.conf(0, ordinal);
        if renamed {
            conf.rename("another");
        }
        let known = (0..6).map(|o| {
            let id = lab.node(o);
            let id = if renamed { cluster::nodes::renamed(id, "another") } else { id };
            (id, super::lab::address(Addr(31 + o as u8)))
        });
        let known = known.collect();
        conf.repair(super::lab::address(Addr(31 + ordinal as u8)), &known);
        lab.put(1, ordinal, &conf);
        lab.start(1, ordinal, Addr(31 + ordinal as u8));
    }
    lab.world.pass(5_000);
}

fn knows_clones(world: &World) -> bool {
    let known = |id| world.proc(id).peers.iter().any(|p| p.addr.is_some_and(|a| a.0 >= 31));
    world.living(0).any(known)
}

/// Same ids: apart while nobody dies; then a member of the clone on a dead original's address is
/// taken for it at once. With ids of its own that never happens.
#[test]
fn a_clone_beside_its_original() {
    each(|family| {
        for renamed in [false, true] {
            let mut lab = Lab::formed(family);
            clone(&mut lab, renamed);
            assert!(!knows_clones(&lab.world), "{family:?}");
            assert!(lab.all_ok());

            // The clone's first member, a master, moves to the address of the dead original.
            let addr = lab.addr(0);
            lab.kill(0);
            let moving = lab.servers[&(1, 0)];
            lab.world.end_proc(moving, sim::net::End::Reset);
            let own = lab.servers[&(0, 0)];
            let mut conf = lab.conf(1, 0);
            let known = (1..6).map(|o| {
                let id = lab.node(o);
                let id = if renamed { cluster::nodes::renamed(id, "another") } else { id };
                (id, super::lab::address(Addr(31 + o as u8)))
            });
            let known = known.collect();
            conf.repair(super::lab::address(addr), &known);
            lab.put(1, 0, &conf);
            let there = lab.start(1, 0, addr);
            assert_ne!(own, there);
            let copies = |lab: &Lab| {
                let repl = lab.server(3).repl;
                repl.is_some_and(|r| r.up.is_some_and(|up| up.to == there))
            };
            if renamed {
                // It needs a secret of its own besides: replication asks nobody for an id.
                lab.world.pass(20_000);
                assert!(!knows_clones(&lab.world), "{family:?}");
            } else {
                took(lab.until(5_000, copies), 100, 2_100);
            }
        }
    });
}
