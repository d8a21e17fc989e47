//! What the registry decides about a cluster's record: who a registering member is, and whether
//! a proposed change is made.
//!
//! Guarantees: pure. The record is a lower bound: an id on a disk always wins over the plan, and
//! nothing is changed on the record's word alone where a disk or a living member may know more.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::NodeId;
use crate::moment;
use crate::nodes::renamed;
use crate::plan::Plan;
use crate::protocol::{Disk, Identity, Mark, Member, Pod, Proposal, Register, Role, Succession};
use crate::slot::{SlotRange, covers};

pub(crate) use identity::planned;
pub use identity::{has_begun, identities, known_identity, remembered};
pub use lingering::lingering;

mod identity;
mod lingering;

/// What the registry knows when it is asked for a change.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    /// Name of the cluster.
    pub set: &'a str,
    /// The pods that its StatefulSets' controllers are to make.
    pub wanted: BTreeSet<String>,
    /// The pod that asks.
    pub pod: &'a str,
    /// The plan.
    pub plan: &'a Plan,
    /// All entries, those of pods that are gone included.
    pub members: &'a BTreeMap<String, Member>,
    /// The pods as they are.
    pub pods: &'a BTreeMap<String, Pod>,
    /// The pods that have a claim; `None` where it is not known.
    pub claims: Option<&'a BTreeSet<String>>,
    /// Earlier successions.
    pub successions: &'a BTreeMap<NodeId, Succession>,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// This succession, for this former owner.
    Succession(NodeId, Succession),
    /// This generation of the plan.
    Generation(u64),
    /// Nothing: somebody else's proposal has made it so already, and the view says how.
    Nothing,
}

/// Who a registering member is, for its entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// [`Member::node_id`].
    pub node_id: Option<NodeId>,
    /// [`Member::disk`]: with the ids of this set, where the disk is a copy of another one's.
    pub disk: Disk,
    /// [`Member::was`].
    pub was: Option<Identity>,
}

/// Where a set is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The StatefulSet's name.
    pub set: &'a str,
}

/// The entry that a registration makes. `before` is the entry that it replaces, and `past` why
/// the set may have a life behind it.
///
/// A blank disk of a member that has begun before, or of a set with a past, makes a guest: its
/// server chooses an id of its own, and nobody may be told that the old one is found at its
/// address until it says so itself ([`Register::node_id`]).
pub fn entry(
    place: Place<'_>,
    cluster: &str,
    plan: &Plan,
    pod: &str,
    register: &Register,
    before: Option<&Member>,
    past: &[String],
) -> Entry {
    let mut disk = register.disk.clone();
    if let Some(mark) = &disk.mark
        && is_copy(mark, place)
        && let Some(identity) = &mut disk.identity
        && !is_renamed(mark, identity.node_id, plan)
    {
        rename(identity, &plan.salt);
        disk.failed = disk.failed.iter().map(|id| renamed(*id, &plan.salt)).collect();
    }
    if let Some(identity) = &disk.identity {
        return Entry { node_id: Some(identity.node_id), disk, was: None };
    }
    let was = before.and_then(|b| remembered(plan, cluster, pod, b));
    let planned = planned(plan, cluster, pod).map(|identity| identity.node_id);
    let node_id = match &was {
        Some(was) => register.node_id.filter(|id| was.node_id == *id),
        None if disk.data => None,
        None if past.is_empty() => planned,
        // The cluster began anew after its past.
        None if plan.generation > 1 => register.node_id.filter(|id| planned == Some(*id)),
        None => None,
    };
    Entry { node_id, disk, was }
}

/// Whether a disk's mark says that it belongs to another set: it is a copy of that set's disk.
pub fn is_copy(mark: &Mark, place: Place<'_>) -> bool {
    (mark.namespace.as_str(), mark.name.as_str()) != (place.namespace, place.set)
}

/// Whether a copied disk carries its new ids already, and only its mark is still the old one.
pub fn is_renamed(mark: &Mark, id: NodeId, plan: &Plan) -> bool {
    renamed(mark.node_id, &plan.salt) == id
}

fn rename(identity: &mut Identity, salt: &str) {
    identity.node_id = renamed(identity.node_id, salt);
    if let Role::Replica { of } = &mut identity.role {
        *of = renamed(*of, salt);
    }
}

/// Whether a pod's server has run since its member registered: then the disk may hold more than it
/// did when it was looked at.
pub fn has_run_since(pod: &Pod, member: &Member) -> bool {
    let ended = pod.ended_at.as_deref().and_then(moment::micros);
    let registered = moment::micros(&member.registered_at);
    // Moments of the API server are cut to the second.
    let since = ended.zip(registered).is_some_and(|(ended, at)| ended + 1_000_000 > at);
    pod.running || since
}

/// Whether a member that was this node once is another one now: it lost its disk and runs as a guest,
/// under an id that it has reported or not yet. `pod` is the one that has registered.
pub fn is_another(member: &Member, id: NodeId, pod: &Pod) -> bool {
    match member.node_id {
        Some(own) => own != id,
        None => pod.running && member.disk.identity.is_none(),
    }
}

/// Whether a member's disk holds data, or will once its server has run.
pub fn may_hold_data(member: &Member) -> bool {
    // One whose id is known has begun, though the record of that may be lost.
    let begun = member.bootstrapped || member.node_id.is_some();
    member.disk.data || (member.disk.keeps && begun)
}

/// Whether a member was the master of some of these slots and no others, at a lower epoch: whoever
/// has them at this one has taken them over from it.
pub fn has_lost(identity: &Identity, slots: &[SlotRange], epoch: u64) -> bool {
    identity.role == Role::Master
        && !identity.slots.is_empty()
        && identity.config_epoch < epoch
        && covers(slots, &identity.slots)
}

/// What is known of the owner whose slots another one is to get.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Former {
    /// It proposes itself, or must not be there.
    Gone,
    /// It is a replica of the heir.
    Follows,
}

/// Judges a proposal.
///
/// # Errors
/// One sentence why it is not made.
pub fn judge(proposal: &Proposal, standing: &Standing<'_>) -> Result<Change, String> {
    match proposal {
        Proposal::Anew { generation } => standing.anew(*generation),
        Proposal::Succeed { from, succession } => standing.succeed(*from, succession, Former::Gone),
        Proposal::Settle { from, succession } => {
            standing.succeed(*from, succession, Former::Follows)
        }
    }
}

// === impl Standing ===

impl Standing<'_> {
    /// All disks are empty, and no server runs that owns anything.
    fn anew(&self, generation: u64) -> Result<Change, String> {
        if generation != self.plan.generation {
            return Ok(Change::Nothing);
        }
        let known = self.members.keys().chain(self.pods.keys());
        let names: BTreeSet<&String> =
            known.chain(&self.wanted).chain(self.claims.into_iter().flatten()).collect();
        for name in names {
            if let Some(why) = self.may_know_more(name) {
                return Err(why);
            }
        }
        Ok(Change::Generation(generation + 1))
    }

    /// Why a member may have a disk or a life that is not known; `None` if it surely has none.
    fn may_know_more(&self, name: &str) -> Option<String> {
        let member = self.members.get(name);
        let Some(pod) = self.pods.get(name) else {
            let claimed = self.claims.is_none_or(|claims| claims.contains(name));
            return claimed.then(|| format!("{name} is not there and may have a disk"));
        };
        match member {
            Some(m) if m.pod_uid == pod.uid => {
                if m.disk.identity.is_some() || m.disk.data {
                    return Some(format!("the disk of {name} is not empty"));
                }
                // It was empty when it registered; a guest owns nothing until it has joined.
                let runs = has_begun(self.plan, m) && has_run_since(pod, m);
                (runs || m.node_id.is_some())
                    .then(|| format!("{name} has begun and goes on as what it was"))
            }
            _ if pod.running || !pod.injected => {
                Some(format!("{name} runs and has not registered"))
            }
            // Its step has not registered yet. With a claim it has a disk that nobody has seen.
            _ => self
                .claims
                .is_none_or(|claims| claims.contains(name))
                .then(|| format!("{name} has not registered yet")),
        }
    }

    fn succeed(
        &self,
        from: NodeId,
        succession: &Succession,
        former: Former,
    ) -> Result<Change, String> {
        let Succession { heir, slots, epoch, .. } = succession;
        let known = |id: NodeId| {
            self.members.iter().find_map(|(name, member)| {
                let identity = known_identity(self.plan, self.set, name, member)?;
                (identity.node_id == id).then_some((name.as_str(), member, identity))
            })
        };
        if let Some(earlier) = self.successions.get(&from)
            && !self.is_over(from, earlier)
            && self.successions.get(&earlier.heir).is_none()
        {
            // The heir owns them, at the epoch that its engine has chosen.
            let above = known(from).is_none_or(|(_, _, identity)| identity.config_epoch < *epoch);
            let by_itself = known(*heir).is_some_and(|(name, ..)| name == self.pod);
            if (earlier.heir, &earlier.slots) == (*heir, slots)
                && earlier.epoch != *epoch
                && by_itself
                && above
            {
                return Ok(Change::Succession(from, succession.clone()));
            }
            // It has had its slots again since, says so itself, and has lost the disk that did.
            let held = succession.held.is_some_and(|held| held > earlier.epoch);
            let again = (earlier.heir == *heir || held)
                && known(from).is_some_and(|(name, member, _)| {
                    name == self.pod && member.disk.identity.is_none()
                });
            if earlier.epoch >= *epoch || (earlier.slots == *slots && !again) {
                return Ok(Change::Nothing);
            }
        }
        if from == *heir {
            return Err("a member can not inherit from itself".to_owned());
        }
        if slots.is_empty() {
            return Err(format!("{from} has no slots to inherit"));
        }
        match known(*heir) {
            Some((pod, member, identity)) => self.may_inherit(pod, member, &identity, slots)?,
            // The record was lost or rolled back: a member that has not registered since may be the one.
            None if self.knows_not_all() => {}
            None => return Err(format!("{heir} is not a member that has registered")),
        }
        if let Some((name, member, _)) = known(from)
            && name != self.pod
            && former == Former::Gone
            && let Some(pod) = self.pods.get(name)
            && !(pod.uid == member.pod_uid && is_another(member, from, pod))
        {
            if pod.uid == member.pod_uid && !pod.deleting {
                return Err(format!("{name} is there itself"));
            }
            if pod.running {
                return Err(format!("{name} runs, or nobody has seen it end"));
            }
        }
        let highest = self.highest_epoch();
        if *epoch <= highest {
            return Err(format!("epoch {epoch} is not above {highest}, which is known"));
        }
        Ok(Change::Succession(from, succession.clone()))
    }

    fn may_inherit(
        &self,
        pod: &str,
        member: &Member,
        identity: &Identity,
        slots: &[SlotRange],
    ) -> Result<(), String> {
        // Unless they are the very ones: it had them before and has followed since.
        if identity.role == Role::Master && !covers(slots, &identity.slots) {
            return Err(format!("{pod} owns slots of its own"));
        }
        // A server that keeps nothing has its data while it runs; whoever proposes has seen them, also
        // where the record was restored and knows an earlier pod only.
        let runs = self.pods.get(pod).is_some_and(|p| p.running);
        if !runs && !may_hold_data(member) {
            return Err(format!("the disk of {pod} is empty"));
        }
        Ok(())
    }

    /// Whether there are pods or claims of which no member has registered, or none since its pod went.
    fn knows_not_all(&self) -> bool {
        let present = |name: &String| {
            let member = self.members.get(name);
            member.zip(self.pods.get(name)).is_some_and(|(member, pod)| member.pod_uid == pod.uid)
        };
        let claimed = self.claims.into_iter().flatten();
        self.pods.keys().chain(claimed).any(|name| !present(name))
    }

    /// Whether the former owner has its slots again since, by anybody's disk.
    fn is_over(&self, from: NodeId, succession: &Succession) -> bool {
        self.members.iter().any(|(name, member)| {
            let identity = known_identity(self.plan, self.set, name, member);
            identity.is_some_and(|identity| {
                let owns = identity.role == Role::Master
                    && identity.node_id == from
                    && !identity.slots.is_empty();
                let follows = identity.role == Role::Replica { of: from };
                (owns || follows) && identity.config_epoch > succession.epoch
            })
        })
    }

    /// The highest epoch that the record knows.
    pub fn highest_epoch(&self) -> u64 {
        let members = self.members.iter();
        let by_disk = members.filter_map(|(name, member)| {
            let identity = known_identity(self.plan, self.set, name, member)?;
            Some(identity.current_epoch.max(identity.config_epoch))
        });
        by_disk.chain(self.successions.values().map(|s| s.epoch)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
