//! nodes.conf: read, write back, repair, read again.
#![no_main]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use cluster::net::{Address, Ports};
use cluster::nodes::{Flag, NodesConf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut nodes) = NodesConf::parse(bytes) else { return };
    let text = nodes.to_string();
    let again = NodesConf::parse(text.as_bytes()).expect("what was written can be read");
    assert_eq!(again.to_string(), text, "writing what was read changes nothing");

    let own = Address { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), ports: Ports::plain(6379) };
    let ids: Vec<_> = nodes.nodes().filter(|n| !n.flags.contains(&Flag::Myself)).map(|n| n.id).collect();
    let peers: BTreeMap<_, _> = ids
        .into_iter()
        .zip(2u8..=255)
        .map(|(id, last)| (id, Address { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), ..own }))
        .collect();
    let slots = |nodes: &NodesConf| -> Vec<_> {
        nodes.nodes().map(|n| (n.id, n.slots.clone())).filter(|(_, s)| !s.is_empty()).collect()
    };
    let before = slots(&nodes);
    nodes.repair(own, &peers);
    assert_eq!(slots(&nodes), before, "a repair moves no slots");
    let text = nodes.to_string();
    let mut again = NodesConf::parse(text.as_bytes()).expect("what was repaired can be read");
    again.repair(own, &peers);
    assert_eq!(again.to_string(), text, "a second repair changes nothing");
});
