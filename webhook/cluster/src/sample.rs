//! What the tests of several modules begin with.

use std::net::IpAddr;

use crate::protocol::Pod;

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
