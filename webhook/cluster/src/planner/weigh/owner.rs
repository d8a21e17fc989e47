//! A master that comes back without its data: whoever of its shard has them becomes the owner
//! first.
//!
//! Guarantees: nobody is promoted while somebody answers at this member's former address; the
//! record names an heir before one is made master without a vote; this member starts as a replica
//! only of an owner that a majority has seen, or that the record names.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::handed_on::is_here;
use super::mates::{Mate, may_be_of};
use super::{FORCE_PATIENCE, MAJORITY_PATIENCE, Step, Weak, all_members, is_cut_off, standing};
use crate::id::NodeId;
use crate::nodes::{Node, NodesConf};
use crate::planner::{How, Inspection, Link, decide};
use crate::protocol::{Identity, Proposal, Role, Severity, Succession, View};
use crate::record;
use crate::slot::{SlotRange, covers};

// === impl Weak ===

impl Weak<'_> {
    /// Who owns what this member owned, where its file comes from a living member that has seen
    /// it lose its slots: a master without slots would stay one, and its shard without a replica.
    pub(super) fn dispossessed(&self, file: &NodesConf, me: &Node) -> Option<(NodeId, u64)> {
        let own = self.conf.as_ref().is_ok_and(|c| c.as_ref().is_some_and(|c| !is_cut_off(c)));
        if !me.is_master() || !me.slots.is_empty() || own {
            return None;
        }
        // It has just had them taken over.
        let made = self.weighing.force.as_ref().and_then(|f| file.node(f.id));
        if let Some(heir) = made.filter(|n| n.is_master() && !n.slots.is_empty()) {
            return Some((heir.id, heir.config_epoch));
        }
        // It followed that one already, and not all have heard of it.
        let followed = self.remembered().and_then(|was| match was.role {
            Role::Replica { of } if was.node_id == me.id => file.node(of),
            _ => None,
        });
        if let Some(master) = followed.filter(|n| n.is_master() && !n.slots.is_empty()) {
            return Some((master.id, master.config_epoch));
        }
        let slots = self.once_owned(me.id)?;
        let owner = file.nodes().find(|n| n.id != me.id && covers(&n.slots, &slots))?;
        Some((owner.id, owner.config_epoch))
    }

    /// The slots of the shard that this member was the master of, by the record. It registers
    /// before its server runs: one that was made master after that is there as a replica.
    fn once_owned(&self, me: NodeId) -> Option<Vec<SlotRange>> {
        let view = self.view?;
        if let Some(succession) = view.successions.get(&me) {
            return Some(succession.slots.clone());
        }
        let was = self.remembered()?;
        let slots = match was.role {
            Role::Master => was.slots,
            Role::Replica { of } => match view.successions.get(&of) {
                Some(succession) => succession.slots.clone(),
                None => all_members(view)
                    .iter()
                    .filter_map(|(name, member)| {
                        record::known_identity(&view.plan, &view.name, name, member)
                    })
                    .find(|identity| identity.node_id == of)
                    .map(|identity| identity.slots)?,
            },
        };
        (!slots.is_empty()).then_some(slots)
    }

    pub(super) fn empty_owner(&self, file: NodesConf, me: &Node, reason: &'static str) -> Step {
        if let Some((heir, epoch)) = self.succeeded_by(me) {
            return self.follow(file, heir, epoch);
        }
        if let Some(force) = &self.weighing.force {
            let since = self.now.0.saturating_sub(force.since.0);
            if let Some(Err(why)) = &force.result {
                return self.refuse(format!("the replica at {} was not promoted: {why}", force.at));
            }
            if since < FORCE_PATIENCE.0 {
                return Step::Wait(format!("{} to be elected", force.id));
            }
            // It knew of fewer slots than this member had, and has been elected for those.
            if let Some((_, heir)) = self.weighing.by_id(force.id)
                && heir.nodes.myself().is_some_and(|n| n.is_master() && !n.slots.is_empty())
            {
                return self.done(file, reason, "", Severity::Normal);
            }
            // Those who could vote may not want to: a table that was filled under another's address
            // has epochs that are not the owner's.
            if force.how == How::Vote && self.view.is_some() && self.weighing.refused.is_none() {
                return self.name_and_promote(force.at, force.id, me);
            }
            return self.refuse(format!(
                "this member's disk is empty and its replica {} has the data, but was not elected \
                 in time; trying again",
                force.id
            ));
        }
        if let Some(heir) = self.awaited(me) {
            return self.not_yet(heir);
        }
        let alive: BTreeSet<NodeId> =
            self.weighing.living().filter_map(|(_, i)| Some(i.nodes.myself()?.id)).collect();
        let absent = self.mates_on_disk(Some(&file), me, &alive);
        if let Some((at, heir)) = self.living_heir(me) {
            let better = |mate: &&Mate| self.may_be_better(mate, heir);
            if let Some(mate) = absent.iter().find(better)
                && self.patient()
            {
                return Step::Wait(format!("{}, which may have newer data", mate.pod));
            }
            if let Some(mate) = absent.iter().filter(better).find(|m| self.is_outdated(heir, m)) {
                return self.refuse(mate.much_newer());
            }
            return self.promote(at, heir, me);
        }
        if let Some(id) = self.deposed_before(me) {
            if self.patient() {
                return Step::Wait(format!("{id} to hear that it is no master any more"));
            }
            return self.refuse(format!(
                "this member's disk is empty, and {id}, which was the master of its slots before, \
                 has data and goes on as their master: see that the other masters can be reached; \
                 trying again"
            ));
        }
        if self.weighing.unclear() || absent.iter().any(|mate| mate.comes) {
            if self.patient() {
                return Step::Wait("a member of the shard that may have the data".to_owned());
            }
            if self.weighing.unclear() {
                return self.refuse(
                    "this member's disk is empty, and a server that does not say who it is may be \
                     the replica that has the data; trying again"
                        .to_owned(),
                );
            }
        }
        if let Some(mate) = absent.iter().find(|mate| mate.runs) {
            return self.refuse(mate.out_of_reach());
        }
        if let Some(mate) = absent.iter().max_by_key(|m| m.rank()) {
            return self.bequeath(mate.id, me);
        }
        if let Some(replica) = self.unheard_of(&file, me, &alive) {
            if self.patient() {
                return Step::Wait(
                    "a replica by its nodes.conf, which may have the data".to_owned(),
                );
            }
            // Its pod comes only once this one is ready, unless it is one that runs already.
            if self.view.is_some_and(|view| !view.parallel && !self.is_one_out_of_reach(view)) {
                return self.bequeath(replica, me);
            }
            return self.refuse(format!(
                "this member's disk is empty, and its replica {replica}, of which the record knows \
                 nothing, may have the data: let the other pods start (podManagementPolicy: \
                 Parallel lets them come at once); if its data are gone, delete this pod's claim and \
                 the replica's; trying again"
            ));
        }
        let unseen = file.nodes().any(|n| may_be_of(n, me.id) && !alive.contains(&n.id));
        let nobody = self.weighing.living().next().is_none();
        if self.view.is_none() && self.keeps && (unseen || nobody) {
            if self.patient() {
                return Step::Wait("somebody to ask".to_owned());
            }
            return self.refuse(format!(
                "this member's disk is empty, and without the registry nobody knows whether \
                 another one has the data ({}); trying again",
                self.away
            ));
        }
        if self.may_run_elsewhere() && self.patient() {
            return Step::Wait(
                "the server of a pod before this one, which nobody has seen end and may have the data"
                    .to_owned(),
            );
        }
        let told = match self.conf {
            Ok(Some(_)) => "",
            _ => "nobody of its shard has data: its slots begin empty; ",
        };
        let severity = if told.is_empty() { Severity::Normal } else { Severity::Warning };
        self.done(file, reason, told, severity)
    }

    /// Whether a server of a pod of this name may still run, out of reach: its replicas get what it takes.
    fn may_run_elsewhere(&self) -> bool {
        let own = self.view.and_then(|view| view.members.get(&view.pod));
        own.is_some_and(|own| !own.lingering.is_empty())
    }

    /// Whoever has this member's slots at a higher epoch, by a living member's word, a registered
    /// disk or the record. Where a replica was just told to become master, a majority of the
    /// living owners has to say so: a master that starts as replica before its peers know the new
    /// owner takes the slots out of their tables (`clusterProcessPacket`, up to 7.2).
    pub(super) fn succeeded_by(&self, me: &Node) -> Option<(NodeId, u64)> {
        let says = |nodes: &NodesConf| {
            let owner = nodes.nodes().find(|n| n.id != me.id && covers(&n.slots, &me.slots))?;
            (owner.config_epoch > me.config_epoch).then_some((owner.id, owner.config_epoch))
        };
        let owners = |i: &&Inspection| i.nodes.myself().is_some_and(|n| !n.slots.is_empty());
        let living: Vec<_> = self.weighing.living().map(|(_, i)| i).collect();
        let seen = living.iter().filter_map(|i| says(&i.nodes)).max_by_key(|o| o.1);
        if let Some((heir, epoch)) = seen {
            let all = living.iter().copied().filter(owners).count();
            let agree = living
                .iter()
                .copied()
                .filter(owners)
                .filter(|i| says(&i.nodes).is_some_and(|(id, e)| id == heir && e >= epoch));
            let by_vote = self.weighing.force.as_ref().is_some_and(|f| f.how == How::Vote);
            if !by_vote || agree.count() * 2 > all {
                return Some((heir, epoch));
            }
            return None;
        }
        let told = decide::owner_above(self.view?, me)?;
        // Named by the record and running as a replica: it has to be made master first.
        let runs = self.weighing.by_id(told.0).is_some();
        (!runs && self.awaited(me).is_none()).then_some(told)
    }

    /// The heir that the record names, if its pod is there and it does not answer: it may start as
    /// a replica of this member.
    fn awaited(&self, me: &Node) -> Option<NodeId> {
        let view = self.view?;
        let (heir, epoch) = decide::owner_by_record(view, me.id, me.config_epoch);
        if heir == me.id || epoch <= me.config_epoch {
            return None;
        }
        let answers = self.weighing.by_id(heir).is_some();
        let owns = |i: &Identity| {
            i.node_id == heir && i.role == Role::Master && covers(&i.slots, &me.slots)
        };
        let owner = view.members.values().filter_map(|m| m.disk.identity.as_ref()).any(owns);
        // The record may have been lost since the heir started.
        let unheard = view.members.values().all(|m| m.node_id != Some(heir));
        let there = is_here(view, heir) || (unheard && self.is_one_out_of_reach(view));
        (!answers && !owner && there).then_some(heir)
    }

    pub(super) fn follow(&self, file: NodesConf, heir: NodeId, epoch: u64) -> Step {
        if let Some(proposal) = self.elected(&file, heir) {
            return Step::Propose(proposal);
        }
        let runs = self.weighing.by_id(heir).is_some();
        let reason = if runs { "Rejoined" } else { "Yielded" };
        let told = format!(
            "this member's disk is empty and {heir} has the shard's data at epoch {epoch}; "
        );
        self.as_replica_of(file, (heir, epoch), reason, &told, Severity::Warning)
    }

    /// What the record does not know yet: the others have elected the heir, which runs as the master.
    /// Without its disk this member would not know it the next time.
    fn elected(&self, file: &NodesConf, heir: NodeId) -> Option<Proposal> {
        let view = self.view.filter(|_| self.weighing.refused.is_none())?;
        let from = file.myself()?.id;
        let (_, found) = self.weighing.by_id(heir)?;
        let owner = found.nodes.myself().filter(|n| n.is_master() && !n.slots.is_empty())?;
        let known = view.successions.get(&from).is_some_and(|s| s.epoch >= owner.config_epoch);
        let succession = Succession {
            heir,
            slots: owner.slots.clone(),
            epoch: owner.config_epoch,
            held: file.myself().map(|me| me.config_epoch),
            reason: format!("the disk of {} is empty, and the others have elected it", view.pod),
        };
        (!known).then_some(Proposal::Succeed { from, succession })
    }

    /// Starts as a replica of whoever owns its slots since this epoch.
    pub(super) fn as_replica_of(
        &self,
        mut file: NodesConf,
        (heir, epoch): (NodeId, u64),
        reason: &'static str,
        told: &str,
        severity: Severity,
    ) -> Step {
        match file.step_down(heir, epoch) {
            Ok(()) => self.done(file, reason, told, severity),
            Err(unknown) => self.refuse(format!(
                "the node {} owns this member's slots and is not in its nodes.conf: start it first, \
                 or join this member by hand",
                unknown.0
            )),
        }
    }

    /// A living replica has the data: it becomes the master first.
    pub(super) fn promote(&self, at: SocketAddr, heir: &Inspection, me: &Node) -> Step {
        let Some(id) = heir.nodes.myself().map(|n| n.id) else {
            return Step::Wait("a replica that says who it is".to_owned());
        };
        if heir.link == Some(Link::Up) && !self.is_left_over(heir, me) {
            if self.patient() {
                return Step::Wait(format!("{id} to notice that its master has stopped"));
            }
            return self.refuse(format!(
                "the replica {id} is linked to a server at this member's former address, which is \
                 not this member: find out who answers there"
            ));
        }
        if has_majority(&heir.nodes, me.id) {
            return Step::Force { at, id, how: How::Vote, of: me.id };
        }
        if self.weighing.lasts(self.now) < MAJORITY_PATIENCE {
            return Step::Wait("a majority of masters that can elect".to_owned());
        }
        self.name_and_promote(at, id, me)
    }

    /// Whether the link of a replica that calls it up leads nowhere: another member has its master's
    /// address by now, and the replica has not begun to copy that one. Soon it would.
    fn is_left_over(&self, heir: &Inspection, me: &Node) -> bool {
        let place = heir.nodes.node(me.id).and_then(|n| n.endpoint.address()?.client());
        let others = self.weighing.living().filter(|(at, _)| Some(*at) == place);
        let id = |i: &Inspection| i.nodes.myself().map(|n| n.id);
        others.into_iter().any(|(_, other)| {
            let both = heir.stream.as_ref().zip(other.stream.as_ref());
            id(other).is_some_and(|id| id != me.id) && both.is_some_and(|(a, b)| a != b)
        })
    }

    /// The record names it heir, and then it takes over.
    fn name_and_promote(&self, at: SocketAddr, id: NodeId, me: &Node) -> Step {
        match self.view {
            Some(view) if view.successions.get(&me.id).is_some_and(|s| s.heir == id) => {
                Step::Force { at, id, how: How::Record, of: me.id }
            }
            Some(_) => self.bequeath(id, me),
            None => self.refuse(format!(
                "this member's disk is empty and its replica {id} has the data, but no majority of \
                 masters is there to elect it, and the registry is away; trying again"
            )),
        }
    }

    pub(super) fn bequeath(&self, heir: NodeId, me: &Node) -> Step {
        let Some(view) = self.view else {
            return self.refuse(format!(
                "this member's disk is empty and {heir} may have its data, but the registry that \
                 could name it heir is away ({}); trying again",
                self.away
            ));
        };
        if let Some(why) = &self.weighing.refused
            && !self.patient()
        {
            return self.refuse(format!(
                "this member's disk is empty and {heir} could not be made its heir: {why}"
            ));
        }
        Step::Propose(Proposal::Succeed {
            from: me.id,
            succession: Succession {
                heir,
                slots: me.slots.clone(),
                epoch: self.highest_epoch(view).saturating_add(1),
                held: Some(me.config_epoch),
                reason: format!("the disk of {} is empty", view.pod),
            },
        })
    }

    pub(super) fn highest_epoch(&self, view: &View) -> u64 {
        let members = all_members(view);
        let by_record = standing(view, &members).highest_epoch();
        let own = match self.conf {
            Ok(Some(conf)) => conf.vars().current_epoch,
            _ => 0,
        };
        let living = self.weighing.living();
        let by_living = living.flat_map(|(_, i)| i.nodes.nodes().map(|n| n.config_epoch)).max();
        by_record.max(own).max(by_living.unwrap_or(0))
    }
}

/// Whether the heir is linked to a majority of the masters that own slots, the one that has gone
/// counted as one that votes for nobody.
pub(crate) fn has_majority(nodes: &NodesConf, gone: NodeId) -> bool {
    let owners: Vec<_> = nodes.nodes().filter(|n| n.is_master() && !n.slots.is_empty()).collect();
    let linked = owners.iter().filter(|n| n.id != gone && n.answers());
    linked.count() * 2 > owners.len()
}
