//! Names to addresses, within a bound: the system's resolver alone may take half a minute.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The addresses of a name, or none if the answer takes longer than `timeout`.
pub(crate) fn resolve(name: &str, timeout: Duration) -> Vec<IpAddr> {
    let (send, receive) = mpsc::channel();
    let name = name.to_owned();
    // The thread is left behind when it takes too long; it ends with the process.
    thread::spawn(move || {
        let found = (name.as_str(), 0).to_socket_addrs();
        let _ = send.send(found.map(|all| all.map(|a| a.ip()).collect()).unwrap_or_default());
    });
    receive.recv_timeout(timeout).unwrap_or_default()
}
