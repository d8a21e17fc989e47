//! The answer to CLUSTER NODES and single fields of a line: whatever comes, reading ends.
#![no_main]

use cluster::id::NodeId;
use cluster::nodes::NodesConf;
use cluster::resp::{self, Reply};
use libfuzzer_sys::fuzz_target;

const VARS: &str = "\nvars currentEpoch 6 lastVoteEpoch 0\n";

fuzz_target!(|bytes: &[u8]| {
    let mut reply = format!("${}\r\n", bytes.len()).into_bytes();
    reply.extend_from_slice(bytes);
    reply.extend_from_slice(b"\r\n");
    let (reply, used) = resp::decode(&reply).expect("a whole reply").expect("all of it is there");
    assert_eq!(used, format!("${}\r\n", bytes.len()).len() + bytes.len() + 2);
    assert_eq!(reply, Reply::Bulk(Some(bytes.to_vec())));
    let Some(text) = reply.text() else { return };
    // The answer has no `vars`; the reader of the file is the reader of the answer.
    let Ok(nodes) = NodesConf::parse(format!("{text}{VARS}").as_bytes()) else { return };
    for node in nodes.nodes() {
        assert_eq!(node.id.to_string().parse::<NodeId>(), Ok(node.id));
        let _ = (node.endpoint.address(), node.endpoint.shard_id(), node.is_master());
        let _ = node.to_string();
    }
});
