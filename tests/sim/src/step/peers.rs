//! What a step asks servers, and what it tells them.

use std::net::SocketAddr;

use cluster::id::NodeId;
use cluster::nodes::NodesConf;
use cluster::planner::{Answer, How, Inspected, Inspection, Link};

use crate::engine::{Owner, Takeover};
use crate::ids::{Addr, ProcId};
use crate::mutation::Mutation;
use crate::schedule::Strangers;
use crate::world::World;

/// A probe gives up after this.
const PATIENCE: u64 = 250;

impl World {
    /// Whoever is at an address; else how long it takes to know that nobody is.
    pub fn at(&self, at: SocketAddr) -> Result<ProcId, u64> {
        let id = Addr::of(at.ip()).and_then(|addr| self.net.who(addr));
        match id {
            None => Err(5),
            Some(id) if self.net.is_cut(id) => Err(PATIENCE),
            Some(id) => Ok(id),
        }
    }

    /// Whether it says who it is.
    fn speaks(&self, id: ProcId) -> bool {
        let lets_in = match self.proc(id).with.owner {
            Owner::Pod { .. } => true,
            Owner::Stranger => self.schedule.config.strangers == Strangers::Trusted,
        };
        lets_in && self.proc(id).answers(self.now()) && self.proc(id).with.cluster
    }

    /// Asks for a node id.
    pub fn probe_at(&mut self, at: SocketAddr) -> (u64, Answer) {
        let delay = self.chance(1..=8);
        match self.at(at) {
            Err(delay) => (delay, Answer::Nobody),
            Ok(id) if self.speaks(id) => (delay, Answer::Node(self.names.id(self.proc(id).id()))),
            Ok(id) if self.proc(id).loading_until > self.now() => (delay, Answer::Loading),
            Ok(_) => (delay, Answer::Unclear),
        }
    }

    /// Asks what it and its cluster are.
    pub fn inspect_at(&mut self, at: SocketAddr) -> (u64, Inspected) {
        let delay = self.chance(1..=15);
        let id = match self.at(at) {
            Err(delay) => return (delay, Inspected::Nobody),
            Ok(id) => id,
        };
        let nodes = self.seen_nodes(id).ok().filter(|_| self.speaks(id));
        let Some(nodes) = nodes else { return (delay, Inspected::Unclear) };
        let proc = self.proc(id);
        let inspection = Inspection {
            nodes,
            offset: proc.offset,
            link: proc.repl.map(|r| if r.up.is_some() { Link::Up } else { Link::Down }),
            linked_ago: proc.repl.and_then(|r| match (r.up, r.down_since) {
                (Some(_), _) => Some(0),
                (None, 0) => None,
                (None, since) => Some((self.now() - since) / 1000 * 1000),
            }),
            // Each server's data are its own until it has copied somebody else's.
            stream: Some(format!("{:?}", proc.copy_of.unwrap_or(id))),
            keys: proc.data.count() as u64,
        };
        (delay, Inspected::Node(Box::new(inspection)))
    }

    /// What a server answers to CLUSTER NODES, if it makes sense: for a moment two members may follow
    /// each other.
    pub fn seen_nodes(&self, id: ProcId) -> Result<NodesConf, String> {
        let text = self.proc(id).nodes(&self.names, &self.units);
        NodesConf::of_server(&text).map_err(|e| e.to_string())
    }

    pub(super) fn force_at(
        &mut self,
        at: SocketAddr,
        whom: NodeId,
        how: How,
    ) -> Result<(), String> {
        if self.mutation == Some(Mutation::ForceDoesNothing) {
            return Ok(());
        }
        let id = self.at(at).map_err(|_| "nobody answers".to_owned())?;
        if !self.speaks(id) || self.names.id(self.proc(id).id()) != whom {
            return Err("it is somebody else".to_owned());
        }
        let how = match how {
            How::Vote => Takeover::Force,
            How::Record => Takeover::Takeover,
        };
        self.counts.forces += 1;
        let taken = self.act(id, |proc, cx| proc.take_over(cx, how));
        if taken { Ok(()) } else { Err("it is no replica".to_owned()) }
    }
}
