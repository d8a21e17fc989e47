//! What the tests of several modules begin with.

use std::net::IpAddr;

use crate::id::NodeId;
use crate::net::Ports;
use crate::protocol::{Disk, Member, Pod};

/// A pod with the step that runs at these addresses and is not ready.
pub(crate) fn pod(uid: &str, ips: &[IpAddr]) -> Pod {
    Pod {
        uid: uid.to_owned(),
        ips: ips.to_vec(),
        injected: true,
        scheduled: true,
        ended_at: None,
        running: true,
        ready: false,
        deleting: false,
    }
}

/// What a member that has begun has registered, with a blank disk.
pub(crate) fn member(pod_uid: &str, node_id: Option<NodeId>, ips: &[IpAddr]) -> Member {
    Member {
        node_id,
        ips: ips.to_vec(),
        ports: Ports::plain(6379),
        pod_uid: pod_uid.to_owned(),
        registered_at: String::new(),
        disk: Disk::default(),
        lingering: Vec::new(),
        was: None,
        bootstrapped: true,
        generation: 1,
        server: None,
        decision: None,
    }
}
