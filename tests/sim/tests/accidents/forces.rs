//! `CLUSTER FAILOVER FORCE`: what it does, and when it is of no use.

use sim::engine::Family;

use super::lab::Lab;
use super::{each, took};

/// It promotes whoever is told to, empty or not.
#[test]
fn it_promotes_an_empty_replica() {
    each(|family| {
        let mut lab = Lab::formed(family);
        lab.kill_all();
        lab.empty(0, 3);
        lab.restart(&[1, 2, 3, 4, 5], 1);
        lab.world.pass(1_000);
        lab.force(3);
        lab.until(1_000, |lab| lab.owns(3));
        lab.until(5_000, Lab::all_ok);
        assert!(lab.lost() > 0 && lab.server(3).data.is_empty());
    });
}

/// Without a majority nothing comes of it, and the next attempt waits four node timeouts (17 s
/// here), except in Valkey 8.1 and later, where each one is an election of its own.
#[test]
fn without_a_majority_the_next_one_waits() {
    each(|family| {
        let mut lab = Lab::formed(family);
        lab.kill_all();
        lab.restart(&[3, 4, 5], 1);
        lab.world.pass(1_000);
        lab.force(3);
        lab.world.pass(2_500);
        assert!(!lab.owns(3));
        // Now there is one: three seconds after the attempt that was of no use it has links.
        let known = lab.addresses();
        for ordinal in [1, 2] {
            let addr = sim::ids::Addr(20 + ordinal as u8);
            lab.repair(ordinal, addr, &known);
            lab.start(0, ordinal, addr);
        }
        lab.world.pass(500);
        let began = lab.world.now();
        let mut time = None;
        while time.is_none() && lab.world.now() < began + 30_000 {
            lab.force(3);
            time = lab.within(500, |lab| lab.owns(3)).map(|_| lab.world.now() - began);
        }
        let time = time.expect("it is elected at last");
        match family {
            Family::Valkey81 | Family::Valkey9 => took(time, 20, 430),
            _ => took(time, 17_000, 17_000),
        }
        lab.until(5_000, Lab::all_ok);
        assert_eq!(lab.lost(), 0);
    });
}
