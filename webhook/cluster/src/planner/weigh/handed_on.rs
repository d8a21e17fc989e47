//! Slots that have been handed on, or are about to be, while a file still says otherwise.
//!
//! | own file | what is known | decision |
//! |---|---|---|
//! | master | the record names its replica, which runs and is no master yet | that one becomes master first; then step down |
//! | replica | its master has registered as a replica of this member, at an older epoch | the master was named: it becomes master first |
//! | replica | the same, at a newer epoch | this member was named: the record has to say so again, then it succeeds |
//! | replica | the record names it, at an epoch that its file has already | the record has to say a higher one |
//! | replica | the registry is away, and its master runs as its replica and calls it the owner | it succeeds at the epoch that this one says |
//!
//! Two members that follow each other own nothing: a master that turns up as a replica loses its
//! slots in all tables (`clusterProcessPacket`, up to 7.2), and nobody is elected without any. Two
//! such files come about where the record of a succession is gone (one from a backup, disks that
//! were copied) or a former master is back before its heir is elected.
//!
//! Guarantees: nobody starts as a replica of its own running replica; nobody succeeds a master that
//! lives.

use std::cmp::Ordering;

use super::{FORCE_PATIENCE, Step, Weak};
use crate::id::NodeId;
use crate::nodes::{Node, NodesConf};
use crate::past::is_unrecorded;
use crate::planner::{Inspection, decide};
use crate::protocol::{Identity, Member, Pod, Proposal, Role, Severity, Succession, View};
use crate::slot::{covers, overlap};

/// What is to be settled between this member and another one before it starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Open {
    /// That one becomes the master of what this node, this member as it was, owned.
    Other { heir: NodeId, was: Box<Node> },
    /// This member does, instead of that one.
    Own { from: NodeId },
    /// The record's word for it comes too late by its epoch.
    Late { from: NodeId, named: Succession },
    /// The record has lost members that run: the master has to be asked what it is.
    Unknown { master: NodeId },
}

/// Looks for it.
pub(super) fn open(view: &View, conf: &NodesConf) -> Option<Open> {
    let me = conf.myself()?;
    let Some(of) = me.master else {
        let (heir, epoch) = decide::owner_by_record(view, me.id, me.config_epoch);
        let named = heir != me.id && epoch > me.config_epoch;
        let owner = registered(view, heir).is_some_and(|i| i.role == Role::Master);
        let open = named && is_here(view, heir) && !owner && !me.slots.is_empty();
        return open.then(|| Open::Other { heir, was: Box::new(me.clone()) });
    };
    let master = conf.node(of).filter(|m| m.is_master() && !m.slots.is_empty())?;
    if decide::inheritance(view, conf).is_some() {
        let highest = conf.nodes().filter(|n| n.is_master()).map(|n| n.config_epoch).max()?;
        let named = view.successions.get(&of)?;
        let named = Some(named).filter(|s| s.heir == me.id && s.epoch <= highest)?;
        return Some(Open::Late { from: of, named: named.clone() });
    }
    // The former master has lost its disk, and nobody has told the record its epoch.
    let named = view.successions.get(&of).filter(|s| s.heir == me.id);
    let lost = |m: &Member| m.node_id == Some(of) && m.disk.identity.is_none();
    let blank = view.members.values().any(lost);
    if let Some(named) = named.filter(|s| blank && s.epoch == master.config_epoch) {
        return Some(Open::Late { from: of, named: named.clone() });
    }
    let Some(its) = registered(view, of) else {
        let unrecorded = |(name, pod): (&String, &Pod)| is_unrecorded(name, pod, &view.members);
        let rebuilt = |m: &Member| lost(m) && m.was.is_some();
        let ask = view.pods.iter().any(unrecorded) || view.members.values().any(rebuilt);
        return ask.then_some(Open::Unknown { master: of });
    };
    between(me, master, its)
}

/// Whether this replica's master has registered without its data, and as their owner: it may have given
/// its slots away by a record that was put back from before that.
pub(super) fn master_is_empty(view: &View, conf: &NodesConf) -> bool {
    let Some(of) = conf.myself().and_then(|me| me.master) else { return false };
    view.members.values().filter(|member| !member.disk.data).any(|member| {
        let was = member.disk.identity.as_ref().or(member.was.as_ref());
        was.is_some_and(|i| i.node_id == of && i.role == Role::Master)
    })
}

/// The epoch of the heir if it owns what this node had, except for what has been moved on from it.
fn shared_out(seen_by_heir: &NodesConf, was: &Node) -> Option<u64> {
    let heir =
        seen_by_heir.myself().filter(|n| n.is_master() && n.config_epoch > was.config_epoch)?;
    let has = |n: &Node, slot: u16| {
        n.slots.iter().any(|s| s.start().number() <= slot && slot <= s.end().number())
    };
    // One that had a slot before this member has it only by a table that is behind.
    let later = seen_by_heir.nodes().filter(|n| n.config_epoch > was.config_epoch);
    let owners: Vec<&Node> = later.filter(|n| n.id != was.id).chain([heir]).collect();
    let mut slots = was.slots.iter().flat_map(|s| s.start().number()..=s.end().number());
    let any = overlap(&was.slots, &heir.slots);
    (any && slots.all(|slot| owners.iter().any(|n| has(n, slot)))).then_some(heir.config_epoch)
}

/// Between a replica and its master, which says this of itself.
fn between(me: &Node, master: &Node, its: &Identity) -> Option<Open> {
    if its.role != (Role::Replica { of: me.id }) {
        return None;
    }
    match its.config_epoch.cmp(&master.config_epoch) {
        Ordering::Greater => Some(Open::Own { from: master.id }),
        Ordering::Equal => None,
        Ordering::Less => {
            let mut was = master.clone();
            (was.id, was.config_epoch) = (me.id, its.config_epoch);
            Some(Open::Other { heir: master.id, was: Box::new(was) })
        }
    }
}

/// Whether the present pod of a node has registered: it may have read the record before the node was
/// named, so that it starts as what its file says.
pub(super) fn is_here(view: &View, id: NodeId) -> bool {
    view.members.iter().any(|(name, m)| {
        let is = m.node_id.or(m.disk.identity.as_ref().map(|i| i.node_id)) == Some(id);
        is && view.pods.get(name).is_some_and(|pod| !pod.deleting)
    })
}

/// What the disk held with which this id's present pod has registered.
fn registered(view: &View, id: NodeId) -> Option<&Identity> {
    view.members.values().filter_map(|m| m.disk.identity.as_ref()).find(|i| i.node_id == id)
}

// === impl Weak ===

impl Weak<'_> {
    /// The next step of it, if there is something to settle.
    pub(super) fn handed_on(&self, file: &NodesConf) -> Option<Step> {
        let view = self.view?;
        let open = match open(view, file)? {
            Open::Unknown { master } => {
                let its = self.weighing.by_id(master)?.1.nodes.identity()?;
                between(file.myself()?, file.node(master)?, &its)?
            }
            open => open,
        };
        match open {
            Open::Unknown { .. } => None,
            // Whatever the files say: it has no data to be the master of, and this one has.
            Open::Other { heir, .. } if self.is_followed_by_an_empty(heir, file) => {
                self.instead(file, heir, view)
            }
            // An empty master is weighed as such.
            Open::Other { was, .. } if !self.data && file.node(was.id)?.is_master() => None,
            Open::Other { heir, was } => self.after(file, heir, &was),
            Open::Own { from } => self.instead(file, from, view),
            Open::Late { from, named } => {
                let epoch = self.highest_epoch(view).saturating_add(1);
                let succession = Succession { epoch, ..named };
                Some(self.say(from, Proposal::Succeed { from, succession }))
            }
        }
    }

    /// Where the record does not say so (it is away, or was put back): the epoch at which this member owns
    /// its master's slots by the word of that one, which runs as its replica. It has read the record, and
    /// gave its slots away by it.
    pub(super) fn named_by_its_master(&self, file: &NodesConf) -> Option<u64> {
        let (me, data) = (file.myself()?, self.data);
        let former = file.node(me.master?).filter(|n| data && !n.slots.is_empty())?;
        let (_, found) = self.weighing.by_id(former.id)?;
        let follows = found.nodes.myself().is_some_and(|n| n.master == Some(me.id));
        let own = found.nodes.node(me.id).filter(|n| follows && covers(&n.slots, &former.slots))?;
        (own.config_epoch > former.config_epoch).then_some(own.config_epoch)
    }

    /// Whether this replica's master runs without any data, or with another shard's, as the replica of this
    /// one, which has some.
    fn is_followed_by_an_empty(&self, master: NodeId, file: &NodesConf) -> bool {
        let Some(me) = file.myself().filter(|me| self.data && me.master == Some(master)) else {
            return false;
        };
        self.weighing.by_id(master).is_some_and(|(_, found)| {
            let follows = found.nodes.myself().is_some_and(|n| n.master == Some(me.id));
            follows && (found.keys == 0 || self.copies_another(found, master))
        })
    }

    /// The heir becomes master first. Whoever follows it already is then repaired as it is.
    fn after(&self, file: &NodesConf, heir: NodeId, was: &Node) -> Option<Step> {
        let follows = file.myself()?.master == Some(heir);
        let start = |epoch| (!follows).then(|| self.step_down(file.clone(), heir, epoch));
        if let Some((owner, epoch)) = self.succeeded_by(was) {
            if owner == heir {
                return start(epoch);
            }
            // Another one was elected before the one that was named.
            let lives = self.weighing.by_id(owner).is_some();
            let me = file.myself()?;
            if lives && owner != me.id {
                let follows = me.master == Some(owner);
                return (!follows).then(|| self.step_down(file.clone(), owner, epoch));
            }
        }
        let Some((at, found)) = self.weighing.by_id(heir) else {
            if self.view.is_some_and(|view| is_here(view, heir)) {
                return Some(self.not_yet(heir));
            }
            // It is not there: by the record it begins as the owner.
            let named = self.view.map(|v| decide::owner_by_record(v, was.id, was.config_epoch));
            return match named.filter(|(owner, _)| *owner == heir) {
                Some((_, epoch)) => start(epoch),
                None => Some(self.bequeath(heir, was)),
            };
        };
        if let Some(epoch) = shared_out(&found.nodes, was) {
            return start(epoch);
        }
        if let Some(force) = &self.weighing.force {
            if self.now.0.saturating_sub(force.since.0) < FORCE_PATIENCE.0 {
                return Some(Step::Wait(format!("{heir} to be the master of its shard")));
            }
            return Some(self.refuse(format!(
                "the record names {heir} heir of this member's slots, and it did not become their \
                 master in time; trying again"
            )));
        }
        if self.patient() {
            return Some(self.not_yet(heir));
        }
        if self.data && found.keys == 0 {
            return Some(self.refuse(format!(
                "the record names {heir} heir of this member's slots, and it has no data, which this \
                 one has: let a person decide, by `mooring promote`"
            )));
        }
        Some(self.promote(at, found, was))
    }

    fn step_down(&self, file: NodesConf, heir: NodeId, epoch: u64) -> Step {
        let told = format!("{heir} owns this member's slots at epoch {epoch}; ");
        self.as_replica_of(file, (heir, epoch), "SteppedDown", &told, Severity::Normal)
    }

    /// Waits for a named heir that may start, or run, as a replica of this member.
    pub(super) fn not_yet(&self, heir: NodeId) -> Step {
        if self.patient() {
            return Step::Wait(format!("{heir} to be the master of its shard"));
        }
        self.refuse(format!(
            "{heir} was named heir of this member's slots and has not said yet that it is their \
             master: see that it can be reached; trying again"
        ))
    }

    /// This member succeeds the one that follows it.
    fn instead(&self, file: &NodesConf, from: NodeId, view: &View) -> Option<Step> {
        let owns = |i: &Inspection| i.nodes.myself().is_some_and(|n| !n.slots.is_empty());
        if !self.data || self.weighing.by_id(from).is_some_and(|(_, found)| owns(found)) {
            return None;
        }
        let slots = file.node(from)?.slots.clone();
        let epoch = self.highest_epoch(view).saturating_add(1);
        let reason = format!("it follows {} by its own disk", view.pod);
        let heir = file.myself()?.id;
        let succession = Succession { heir, slots, epoch, held: None, reason };
        Some(self.say(from, Proposal::Settle { from, succession }))
    }

    fn say(&self, from: NodeId, proposal: Proposal) -> Step {
        if let Some(why) = &self.weighing.refused
            && !self.patient()
        {
            return self.refuse(format!("this member could not be named heir of {from}: {why}"));
        }
        Step::Propose(proposal)
    }
}
