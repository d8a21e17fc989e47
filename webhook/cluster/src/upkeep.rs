//! What a start can leave undone: members that do not find each other, a replica that dials where
//! its master was, a guest that nobody has brought in.
//!
//! The engines mend most of it by themselves. What they do not:
//! - Redis: a replica that heard of its master's new address from others first goes on dialling
//!   the old one (redis/redis 14633); naming the same master again makes it look
//!   ([`Standing::redials`]). A master that was away for longer than a node timeout, or loads its
//!   data for so long, leaves its replicas in that state ([`Standing::unlinked`]).
//! - All: a node whose address nobody knows is looked for by nobody ([`Standing::places`],
//!   [`Standing::meets`]).
//! - All: a replica whose master has lost its slots while it was away, and does not say to whom, goes
//!   on following it, even where that one follows the replica ([`Standing::owner_instead`]).
//!
//! Guarantees: nobody is met whose id was not named at that very address, and who is not a member
//! already; a replica whose link is being made is left alone, and one is sent only to a living owner
//! of what its master had.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::id::NodeId;
use crate::nodes::{Flag, Node, NodesConf};
use crate::planner::{Link, all_members};
use crate::protocol::View;
use crate::slot::{SLOTS, covers};
use crate::{record, resp};

/// How a server stands in its cluster, by its own word.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its CLUSTER NODES.
    pub nodes: NodesConf,
    /// Whether it serves.
    pub health: Health,
    /// A replica: where it dials its master.
    pub dials: Option<SocketAddr>,
    /// Who copies it.
    pub copied_by: BTreeSet<IpAddr>,
}

/// The part of it that can be asked often: a server answers it in no time, however many nodes there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Health {
    /// Whether its `cluster_state` is `ok`.
    pub ok: bool,
    /// A replica: whether the link to its master is up. A master: `None`.
    pub link: Option<Link>,
}

// === impl Health ===

impl Health {
    /// Reads the answers to CLUSTER INFO and INFO replication.
    pub fn read(cluster: &str, replication: &str) -> Self {
        let said = |name: &str| resp::field(replication, name);
        let link = (said("role") == Some("slave")).then(|| match said("master_link_status") {
            Some("up") => Link::Up,
            _ => Link::Down,
        });
        Self { ok: resp::field(cluster, "cluster_state") == Some("ok"), link }
    }

    /// Whether it serves in its cluster: its state is ok, and a replica has its link.
    pub fn is_in_cluster(&self) -> bool {
        self.ok && self.link != Some(Link::Down)
    }
}

// === impl Standing ===

impl Standing {
    /// Reads the answers to CLUSTER NODES, CLUSTER INFO and INFO replication.
    ///
    /// # Errors
    /// If CLUSTER NODES is not what it has to be.
    pub fn read(nodes: &str, cluster: &str, replication: &str) -> Result<Self, String> {
        let nodes = NodesConf::of_server(nodes).map_err(|e| e.to_string())?;
        let dials = resp::dialled(replication);
        // Whoever is still being sent the data is left alone, too.
        let copied_by = resp::copiers(replication).into_iter().map(|c| c.at.ip()).collect();
        let health = Health::read(cluster, replication);
        Ok(Self { nodes, health, dials, copied_by })
    }

    /// Whether it has a cluster still to join: it owns nothing, follows nobody, and those that it knows
    /// do not own all slots between them. It may have met somebody who was gone a moment later.
    pub fn is_guest(&self) -> bool {
        let owned = self.nodes.nodes().flat_map(|n| &n.slots).map(|range| range.count());
        let me = self.nodes.myself();
        let idle = me.is_some_and(|me| me.is_master() && me.slots.is_empty());
        idle && owned.sum::<u32>() < u32::from(SLOTS)
    }

    /// Whether nothing is left to be done: it is in its cluster, all others are, and its replicas
    /// copy it.
    pub fn is_settled(&self) -> bool {
        let mut others = self.others();
        self.health.is_in_cluster()
            && !self.is_guest()
            && others.all(Node::answers)
            && self.replicas().all(|(_, at)| self.copied_by.contains(&at.ip()))
    }

    /// The master that it has to name again: it knows where that one is, and dials elsewhere.
    pub fn redials(&self) -> Option<NodeId> {
        if self.health.link != Some(Link::Down) {
            return None;
        }
        let master = self.nodes.node(self.nodes.myself()?.master?)?;
        let known = master.endpoint.address()?.client()?;
        // Without an address it dials nobody, and would go on doing so.
        (self.dials != Some(known)).then_some(master.id)
    }

    /// Its replicas that are there and do not copy it: they have to be asked whom they dial.
    pub fn unlinked(&self) -> Vec<(NodeId, SocketAddr)> {
        let all = self.replicas();
        all.filter(|(_, at)| !self.copied_by.contains(&at.ip())).collect()
    }

    /// Where members may be that it does not reach: wherever a pod of its set runs and nobody whom
    /// it reaches is.
    pub fn places(&self, view: &View) -> BTreeSet<SocketAddr> {
        let own = self.own_port();
        // A container counts as running once its own post-start has ended.
        let there = |name: &String| view.members.contains_key(name);
        let pods = view
            .pods
            .iter()
            .filter(|(name, p)| **name != view.pod && !p.deleting && (p.running || there(name)));
        self.not_taken(pods.flat_map(|(name, pod)| {
            let member = view.members.get(name);
            let port = member.map_or(own, |m| m.ports.client());
            let ips = member.map_or(&pod.ips, |m| &m.ips);
            ips.iter().filter_map(move |ip| Some(SocketAddr::new(*ip, port?)))
        }))
    }

    /// The same without the registry: of the addresses behind the headless Service.
    pub fn places_by_name(&self, ips: &[IpAddr]) -> BTreeSet<SocketAddr> {
        let port = self.own_port();
        self.not_taken(ips.iter().filter_map(|ip| Some(SocketAddr::new(*ip, port?))))
    }

    /// Whether it knows nobody else: its file was cut off, or made before there were others.
    fn is_alone(&self) -> bool {
        self.others().next().is_none()
    }

    fn not_taken(&self, places: impl Iterator<Item = SocketAddr>) -> BTreeSet<SocketAddr> {
        if !self.is_alone() && self.others().all(Node::answers) {
            return BTreeSet::new();
        }
        let known = self.others().filter(|n| n.answers()).chain(self.nodes.myself());
        let taken: BTreeSet<IpAddr> =
            known.filter_map(|n| Some(n.endpoint.address()?.ip)).collect();
        places.filter(|at| !taken.contains(&at.ip())).collect()
    }

    fn own_port(&self) -> Option<u16> {
        self.nodes.myself()?.endpoint.address()?.client().map(|at| at.port())
    }

    /// Whether to meet whoever has just named this id at this address: a member that it knows and
    /// does not reach, or knows at another one; if it knows nobody, one that has registered.
    pub fn meets(&self, at: SocketAddr, id: NodeId, view: Option<&View>) -> bool {
        if view.is_some_and(|view| view.forgotten.contains(&id)) {
            return false;
        }
        if self.is_alone() {
            let owner = self.nodes.myself().is_some_and(|me| !me.slots.is_empty());
            let registered = |v: &View| v.members.values().any(|m| m.node_id == Some(id));
            return owner && view.is_some_and(registered);
        }
        let node = self.others().find(|n| n.id == id);
        node.is_some_and(|n| {
            !n.answers() && n.endpoint.address().and_then(|a| a.client()) != Some(at)
        })
    }

    /// A replica without a link whose master has no slots any more: who owns what that one had, by the
    /// record, and answers.
    pub fn owner_instead(&self, view: &View) -> Option<NodeId> {
        let me = self.nodes.myself().filter(|_| self.health.link == Some(Link::Down))?;
        let master = me.master?;
        if self.nodes.node(master).is_some_and(|m| m.is_master() && !m.slots.is_empty()) {
            return None;
        }
        let had = match view.successions.get(&master) {
            Some(succession) => succession.slots.clone(),
            None => {
                let known = record::identities(&view.plan, &view.name, &all_members(view));
                known.into_values().find(|i| i.node_id == master)?.slots
            }
        };
        let owns = |n: &&Node| {
            let all = !had.is_empty() && covers(&n.slots, &had);
            n.id != me.id && n.is_master() && n.answers() && all
        };
        self.others().find(owns).map(|owner| owner.id)
    }

    fn others(&self) -> impl Iterator<Item = &Node> {
        self.nodes.nodes().filter(|n| !n.flags.contains(&Flag::Myself))
    }

    fn replicas(&self) -> impl Iterator<Item = (NodeId, SocketAddr)> {
        let me = self.nodes.myself().map(|me| me.id);
        let mine = self.others().filter(move |n| n.master.is_some() && n.master == me);
        mine.filter(|n| n.answers()).filter_map(|n| Some((n.id, n.endpoint.address()?.client()?)))
    }
}

#[cfg(test)]
mod tests;
