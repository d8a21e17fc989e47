//! Files that real servers of thirteen versions have left, kept by `engines --corpus`.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use cluster::net::{Address, Ports};
use cluster::nodes::NodesConf;

fn files() -> BTreeMap<String, Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let file = |path: &Path| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
    };
    fs::read_dir(corpus).unwrap().map(|e| file(&e.unwrap().path())).collect()
}

#[test]
fn all_versions_are_there() {
    let files = files();
    let versions: BTreeSet<_> = files.keys().filter_map(|name| name.rsplit_once('-')).collect();
    let versions: BTreeSet<_> = versions.into_iter().map(|(version, _)| version).collect();
    assert_eq!(versions.len(), 13, "{versions:?}");
}

#[test]
fn each_is_written_back_as_it_was() {
    for (name, bytes) in files() {
        let conf = NodesConf::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(conf.to_string().as_bytes(), bytes, "{name}");
        assert!(conf.damage().is_empty(), "{name}: {:?}", conf.damage());
    }
}

/// All addresses change; roles, slots and epochs do not.
#[test]
fn each_is_repaired_and_nothing_else_is_changed() {
    let address = |n: usize| Address {
        ip: format!("10.88.{}.{}", n / 250, n % 250 + 1).parse().unwrap(),
        ports: Ports::plain(6379),
    };
    for (name, bytes) in files() {
        let before = NodesConf::parse(&bytes).unwrap();
        let mut conf = before.clone();
        let known = before.nodes().enumerate().map(|(n, node)| (node.id, address(n)));
        let known: BTreeMap<_, _> = known.collect();
        let own = known[&before.myself().unwrap().id];
        conf.repair(own, &known);
        let after = NodesConf::parse(conf.to_string().as_bytes()).unwrap();
        assert_eq!(before.nodes().count(), after.nodes().count(), "{name}");
        for node in before.nodes() {
            let repaired = after.node(node.id).unwrap();
            assert_eq!(repaired.endpoint.address(), Some(known[&node.id]), "{name}");
            assert_eq!(
                (repaired.master, &repaired.slots, repaired.config_epoch, repaired.is_master()),
                (node.master, &node.slots, node.config_epoch, node.is_master()),
                "{name}"
            );
        }
    }
}
