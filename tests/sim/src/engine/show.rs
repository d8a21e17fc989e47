//! CLUSTER NODES, and nodes.conf, which is almost the same.

use std::fmt::Write as _;

use super::{Proc, Role};
use crate::ids::{Names, PORT};
use crate::units::Units;

impl Proc {
    /// nodes.conf.
    pub fn file(&self, names: &Names, units: &Units) -> String {
        let mut text = self.nodes(names, units);
        let (current, vote) = (self.current_epoch, self.last_vote);
        let _ = writeln!(text, "vars currentEpoch {current} lastVoteEpoch {vote}");
        text
    }

    /// CLUSTER NODES.
    pub fn nodes(&self, names: &Names, units: &Units) -> String {
        let mut text = String::new();
        for peer in &self.peers {
            let mine = peer.id == self.my_id;
            let role = match peer.role {
                Role::Master => "master",
                Role::Replica(_) => "slave",
                Role::Unknown => "",
            };
            let flags = [
                (mine, "myself"),
                (!role.is_empty(), role),
                (peer.pfail, "fail?"),
                (peer.fail, "fail"),
                (peer.handshake.is_some(), "handshake"),
                (peer.noaddr, "noaddr"),
            ];
            let flags: Vec<_> = flags.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
            let flags = if flags.is_empty() { "noflags".to_owned() } else { flags.join(",") };
            let link = if mine || peer.link.is_some() { "connected" } else { "disconnected" };
            let _ = write!(text, "{} ", names.id(peer.id));
            let _ = match peer.addr {
                Some(addr) => write!(text, "{}:{PORT}@{}", addr.ip(), PORT + 10_000),
                None => write!(text, ":0@0"),
            };
            let _ = write!(text, " {flags} ");
            let _ = match peer.role {
                Role::Replica(of) => write!(text, "{}", names.id(of)),
                _ => write!(text, "-"),
            };
            let _ = write!(text, " {} {} {} {link}", peer.ping_sent, peer.pong, peer.epoch);
            for range in units.ranges(peer.slots) {
                let _ = write!(text, " {range}");
            }
            text.push('\n');
        }
        text
    }
}
