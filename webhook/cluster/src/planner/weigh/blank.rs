//! A blank disk of a set that has a past.
//!
//! Guarantees: an id of its own (a guest) is taken only by whoever surely was nobody that is missed, or
//! where refusing would keep the others from coming; nothing begins anew while anybody may know more.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::{Step, Weak, all_members, decide, is_new, standing};
use crate::id::NodeId;
use crate::nodes::{Endpoint, Flag, Node};
use crate::planner::Inspection;

use crate::protocol::{Member, Proposal, Role, View};
use crate::record;

// === impl Weak ===

impl Weak<'_> {
    pub(super) fn blank(&self, view: &View) -> Step {
        let stranger = self.owner_beyond(view);
        if stranger.is_none() && is_new(view) && view.plan.generation == 1 {
            return Step::Done(decide::begin(&self.sound(), view));
        }
        if stranger.is_none() && self.begins_anew(view) {
            let planned = view.plan.node_id(view.ordinal);
            if view.plan.seat(view.ordinal).is_some() && self.declared != Some(planned) {
                return Step::Declare(planned);
            }
            return Step::Done(decide::begin(&self.sound(), view));
        }
        let owns = |i: &Inspection| i.nodes.nodes().any(|n| !n.slots.is_empty());
        let lives = self.weighing.living().any(|(_, i)| owns(i));
        if !lives && !self.weighing.unclear() {
            let members = all_members(view);
            match record::judge(
                &Proposal::Anew { generation: view.plan.generation },
                &standing(view, &members),
            ) {
                Ok(_) if self.weighing.refused.is_none() || self.patient() => {
                    return Step::Propose(Proposal::Anew { generation: view.plan.generation });
                }
                Ok(_) => {}
                Err(_) if self.waits_for_others() => {
                    return Step::Wait(
                        "the other members, whose disks may be empty too".to_owned(),
                    );
                }
                Err(_) => {}
            }
            if let Some(step) = self.leave_to_heir(view) {
                return step;
            }
            if let Some(file) = self.remembered_file(view) {
                return self.with_file(file);
            }
        }
        if !lives && self.weighing.unclear() {
            if self.patient() {
                return Step::Wait("members that are loading".to_owned());
            }
            if self.remembered().is_some() {
                return self.refuse(unheard());
            }
        }
        if let Some(step) = self.not_a_guest_yet() {
            return step;
        }
        // Of a record that is younger than the set: who all others are says who this one was.
        let unknown = self.remembered().is_none() && !is_new(view);
        if unknown && view.parallel && self.waits_for_others() {
            return Step::Wait("the other members, who may know who this one was".to_owned());
        }
        let past = view.past.first().cloned();
        let beyond = |id| format!("the node {id} owns slots, which the record does not know");
        let why = match (self.remembered(), past.or(stranger.map(beyond))) {
            (Some(_), _) => "this member has begun before and its disk is empty now".to_owned(),
            (None, Some(past)) => {
                format!("the disk is empty and the cluster may have a past: {past}")
            }
            (None, None) => "the disk is empty".to_owned(),
        };
        // Nobody owns anything, so there is nothing to join; where all come at once nobody waits for
        // this one.
        if !lives && view.parallel {
            return self.refuse(format!(
                "{why}, and no member runs that owns slots: let the others start; if their data are \
                 not needed, delete their claims; trying again"
            ));
        }
        let why = format!("{why}, so it starts without slots");
        Step::Done(decide::guest(view, self.own, why))
    }

    /// An owner of slots that a living pod's server knows and the plan does not: the record is that of
    /// an earlier life, or of none. One whose pod was deleted by force may know such a life itself.
    fn owner_beyond(&self, view: &View) -> Option<NodeId> {
        let planned: BTreeSet<NodeId> =
            view.plan.ordinals().map(|ordinal| view.plan.node_id(ordinal)).collect();
        let of_pod = |at: &SocketAddr| view.pods.values().any(|pod| pod.ips.contains(&at.ip()));
        let living = self.weighing.living().filter(|(at, _)| of_pod(at));
        let owners = living.flat_map(|(_, i)| i.nodes.nodes());
        let mut owners = owners.filter(|n| !n.slots.is_empty()).map(|n| n.id);
        owners.find(|id| !planned.contains(id))
    }

    /// Whether the record has opened a generation of the plan in which this member has not begun, as far as
    /// it knows: the one before it may have known more.
    fn begins_anew(&self, view: &View) -> bool {
        let begun = |m: &Member| record::has_begun(&view.plan, m);
        let own = view.members.get(&view.pod);
        view.plan.generation > 1
            && !view.restored
            && !own.is_some_and(begun)
            && self.remembered().is_none()
    }

    /// Its disk is lost, and its shard's data are on another one: the record says so before this
    /// member goes on as somebody else.
    fn leave_to_heir(&self, view: &View) -> Option<Step> {
        let was = self.remembered()?;
        if was.role != Role::Master
            || was.slots.is_empty()
            || view.successions.contains_key(&was.node_id)
            || self.weighing.refused.is_some()
        {
            return None;
        }
        let me = Node {
            id: was.node_id,
            endpoint: Endpoint::unknown(),
            flags: BTreeSet::from([Flag::Master]),
            master: None,
            ping_sent: 0,
            pong_received: 0,
            config_epoch: was.config_epoch,
            link: String::new(),
            slots: was.slots,
            open_slots: Vec::new(),
        };
        let mates = self.mates_on_disk(None, &me, &BTreeSet::new());
        if let Some(mate) = mates.iter().find(|mate| mate.runs) {
            return Some(self.refuse(mate.out_of_reach()));
        }
        let heir = mates.iter().max_by_key(|m| m.rank())?;
        Some(self.bequeath(heir.id, &me))
    }
}

fn unheard() -> String {
    "this member's disk is empty, and the members that run do not say what they know of it: they are \
     loading, or have another password; trying again"
        .to_owned()
}
