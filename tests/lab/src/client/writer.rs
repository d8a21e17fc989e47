//! One probe: writes a new key to its slot again and again.
//!
//! Guarantees: an attempt asks the slot's last known owner first, and if that fails one other node,
//! in turn; it follows redirects. So as soon as the owner takes writes, or anybody knows the owner,
//! the next attempt succeeds: the error of a measured recovery is one [`TROUBLED`] plus the answer's way.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use redis::ErrorKind;
use tokio::time::{Instant, sleep_until};

use super::pool::{Node, Pool};
use crate::clock;
use crate::timeline::Timeline;

/// Between two writes of one slot.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// The same after a failure: a recovering machine has better things to do.
const TROUBLED: Duration = Duration::from_millis(30);
const REDIRECTS: usize = 3;

/// A slot that is written.
pub(super) struct Probe {
    pub(super) slot: u16,
    pub(super) tag: String,
    pub(super) timeline: RefCell<Timeline>,
}

/// Why an attempt failed.
enum Failure {
    /// Nobody to ask.
    Alone,
    /// The node sends to another one.
    Moved(SocketAddr),
    /// Its answer was an error, or there was none.
    Refused,
}

// === impl Probe ===

impl Probe {
    /// The key of a number.
    pub(super) fn key(&self, n: u64) -> String {
        format!("{{{}}}:{n}", self.tag)
    }

    /// Writes until the process ends; stands still while `paused`.
    pub(super) async fn run(self: Rc<Self>, pool: Rc<Pool>, paused: Rc<std::cell::Cell<bool>>) {
        let mut owner: Option<SocketAddr> = None;
        let mut turn = usize::from(self.slot);
        for n in 1u64.. {
            let begin = Instant::now();
            while paused.get() {
                tokio::time::sleep(TICK).await;
            }
            let pause = match self.attempt(n, &pool, &mut owner, &mut turn).await {
                Ok(()) => {
                    self.timeline.borrow_mut().acknowledge(n, clock::now());
                    TICK
                }
                Err(_) => {
                    self.timeline.borrow_mut().fail(clock::now());
                    TROUBLED
                }
            };
            sleep_until(begin + pause).await;
        }
    }

    async fn attempt(
        &self,
        n: u64,
        pool: &Rc<Pool>,
        owner: &mut Option<SocketAddr>,
        turn: &mut usize,
    ) -> Result<(), Failure> {
        let connected = pool.connected();
        let mut candidate = owner.and_then(|o| connected.iter().find(|node| node.address == o));
        let mut others = 1;
        let mut failure = Failure::Alone;
        for _ in 0..=REDIRECTS {
            let node = match candidate.take() {
                Some(node) => node,
                None if others == 0 => break,
                None => {
                    others -= 1;
                    *turn = turn.wrapping_add(1);
                    let Some(node) = connected.get(*turn % connected.len().max(1)) else { break };
                    node
                }
            };
            match self.write(n, node, pool).await {
                Ok(()) => {
                    *owner = Some(node.address);
                    return Ok(());
                }
                Err(Failure::Moved(address)) => {
                    *owner = Some(address);
                    pool.node(address);
                    candidate = connected
                        .iter()
                        .find(|other| other.address == address && address != node.address);
                    failure = Failure::Moved(address);
                }
                Err(other) => failure = other,
            }
        }
        Err(failure)
    }

    async fn write(&self, n: u64, node: &Rc<Node>, pool: &Pool) -> Result<(), Failure> {
        let Some(mut link) = node.link() else { return Err(Failure::Alone) };
        let mut set = redis::cmd("SET");
        set.arg(self.key(n)).arg(n);
        let error = match set.query_async::<()>(&mut link.connection).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        pool.note(node.address, &error);
        if let Some((address, _)) = error.redirect_node() {
            return Err(redirect(address, node.address).map_or(Failure::Refused, Failure::Moved));
        }
        if !matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) {
            node.give_up(&link);
        }
        Err(Failure::Refused)
    }
}

/// The address of a redirect; the answering node's own host where it names none. `None` where it
/// names nobody (`:0`, of a member whose address is not known yet).
fn redirect(text: &str, from: SocketAddr) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let ip: IpAddr = if host.is_empty() { from.ip() } else { host.parse().ok()? };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects() {
        let from: SocketAddr = "10.0.0.1:6379".parse().unwrap();
        let ok = |text: &str| redirect(text, from).map(|a| a.to_string());
        assert_eq!(ok("10.0.0.2:6380").as_deref(), Some("10.0.0.2:6380"));
        assert_eq!(ok(":6380").as_deref(), Some("10.0.0.1:6380"));
        assert_eq!(ok("fd00::5:6379").as_deref(), Some("[fd00::5]:6379"));
        assert_eq!(ok(":0"), None);
        assert_eq!(ok("name.example:6379"), None);
        assert_eq!(ok("10.0.0.2"), None);
    }
}
