//! Names: node ids by number, addresses, servers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use cluster::id::NodeId;

/// A node id, by its number in [`Names`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Nid(pub u32);

/// An address of the network's only range, 10.0.0.0/24.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Addr(pub u8);

/// A server process, by the order of starts; none ever gets another one's number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ProcId(pub u32);

/// All node ids of a world.
#[derive(Debug, Default)]
pub struct Names {
    ids: Vec<NodeId>,
    numbers: BTreeMap<NodeId, Nid>,
    made: u32,
}

/// The port for clients.
pub const PORT: u16 = 6379;

// === impl Names ===

impl Names {
    /// The number of an id.
    pub fn number(&mut self, id: NodeId) -> Nid {
        let next = Nid(self.ids.len() as u32);
        let number = *self.numbers.entry(id).or_insert(next);
        if number == next {
            self.ids.push(id);
        }
        number
    }

    /// The id of a number.
    pub fn id(&self, number: Nid) -> NodeId {
        self.ids[number.0 as usize]
    }

    /// An id that nobody has: what a server without a file gives itself.
    pub fn fresh(&mut self) -> Nid {
        self.made += 1;
        let mut digest = [0xee; 32];
        digest[..4].copy_from_slice(&self.made.to_be_bytes());
        self.number(NodeId::from_digest(&digest))
    }

    /// The first characters, for people.
    pub fn short(&self, number: Nid) -> String {
        self.id(number).as_str().chars().take(6).collect()
    }
}

// === impl Addr ===

impl Addr {
    /// As an IP address.
    pub fn ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, self.0))
    }

    /// Where clients connect.
    pub fn client(self) -> SocketAddr {
        SocketAddr::new(self.ip(), PORT)
    }

    /// The address with that IP, if it is in the range.
    pub fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(v4) if v4.octets()[..3] == [10, 0, 0] => Some(Self(v4.octets()[3])),
            _ => None,
        }
    }
}
