//! The file that a member starts with whose own one is lost or cut off.
//!
//! Guarantees: what living members see comes before what the record says, and nobody who exists is
//! overlooked before the wait is over; a master's own slots are those of its file, of a living
//! member's view, or of what it inherited by the record.

use std::collections::BTreeSet;

use super::{Weak, all_members, is_cut_off};
use crate::id::NodeId;
use crate::nodes::{Duty, NodesConf, Remains, Sketch};
use crate::protocol::{Identity, Role, View};
use crate::record;
use crate::slot::{SlotRange, overlap};

// === impl Weak ===

impl Weak<'_> {
    /// The own file; else one from the view of a living member that knows this one.
    pub(super) fn file(&self) -> Option<NodesConf> {
        if let Ok(Some(conf)) = self.conf
            && !is_cut_off(conf)
        {
            return Some(conf.clone());
        }
        let me = self.own_id()?;
        let epoch = self.view.map_or(0, |view| self.highest_epoch(view));
        let epoch = epoch.max(self.remains.map_or(0, |r| r.epoch));
        let Some(mut seen) = self.witness(me).map(NodesConf::sketches) else {
            return self.by_record(me, epoch, Vec::new()).or_else(|| self.replica_as_it_is());
        };
        seen.extend(self.own_sketch(me, &seen));
        seen.extend(self.own_replicas(me, &seen));
        let newer = self.own_line_is_newer(me, &seen);
        let file = NodesConf::assemble(me, seen.clone(), epoch, self.target).ok();
        let file = file.filter(|_| !newer);
        // Somebody who comes later may have seen slots that it was given last.
        let owner =
            file.as_ref().and_then(NodesConf::myself).is_some_and(|me| !me.slots.is_empty());
        if (owner || newer) && !matches!(self.conf, Ok(None)) && self.waits_for_others() {
            return None;
        }
        // Where two members follow each other, nobody who lives can say which of them owns.
        file.or_else(|| self.by_record(me, epoch, seen))
    }

    /// Whether what is left of the own file makes it the master of slots at a higher epoch than those who
    /// live know for them: they were out of reach when it was elected.
    fn own_line_is_newer(&self, me: NodeId, seen: &[Sketch]) -> bool {
        let own = self.remains.and_then(|r| r.sketches.iter().find(|s| s.id == me));
        let Some(Duty::Master { slots, config_epoch }) = own.map(|s| &s.duty) else { return false };
        let as_new = |s: &Sketch| match &s.duty {
            Duty::Master { slots: theirs, config_epoch: epoch } => {
                epoch >= config_epoch && overlap(theirs, slots)
            }
            Duty::Replica { .. } => false,
        };
        !slots.is_empty() && !seen.iter().any(as_new)
    }

    /// What this member is by the record, if a living member does not count it any more.
    fn own_sketch(&self, me: NodeId, seen: &[Sketch]) -> Option<Sketch> {
        if self.remains.is_some() || seen.iter().any(|s| s.id == me) {
            return None;
        }
        let was = self.remembered().filter(|was| was.node_id == me)?;
        let inherited = self.view?.successions.values().filter(|s| s.heir == me);
        let duty = match (inherited.max_by_key(|s| s.epoch), was.role) {
            (Some(s), _) => Duty::Master { slots: s.slots.clone(), config_epoch: s.epoch },
            (None, Role::Master) => {
                Duty::Master { slots: was.slots, config_epoch: was.config_epoch }
            }
            (None, Role::Replica { of }) => Duty::Replica { of },
        };
        let duty = match owner_by_now(&duty, seen) {
            Some(of) => Duty::Replica { of },
            None => duty,
        };
        Some(Sketch { id: me, address: None, duty, shard_id: None })
    }

    /// Replicas of this member by the record that a living member does not count any more: it has lost
    /// their addresses, and one of them may be the heir.
    fn own_replicas(&self, me: NodeId, seen: &[Sketch]) -> Vec<Sketch> {
        let master = |s: &Sketch| s.id == me && matches!(s.duty, Duty::Master { .. });
        let blank = self.remains.is_none() && seen.iter().any(master);
        let Some(view) = self.view.filter(|_| blank) else { return Vec::new() };
        let known = record::identities(&view.plan, &view.name, &all_members(view)).into_values();
        let replicas = known.filter(|identity| identity.role == (Role::Replica { of: me }));
        // Of an heir a record that took the place of a deleted one may know nothing else.
        let heir = view.successions.get(&me).map(|s| s.heir);
        let ids: BTreeSet<NodeId> = replicas.map(|identity| identity.node_id).chain(heir).collect();
        let left_out = ids
            .into_iter()
            .filter(|id| !view.forgotten.contains(id) && !seen.iter().any(|s| s.id == *id));
        let duty = Duty::Replica { of: me };
        let sketch = |id| Sketch { id, address: None, duty: duty.clone(), shard_id: None };
        left_out.map(sketch).collect()
    }

    /// A replica's own cut-off file, when nobody is there to ask: its own line and its master's
    /// are whole. It owns nothing that could be wrong, and its master tells it who is missing.
    fn replica_as_it_is(&self) -> Option<NodesConf> {
        if self.waits_for_others() {
            return None;
        }
        let conf = self.conf.as_ref().ok()?.as_ref()?;
        let me = conf.myself().filter(|me| me.slots.is_empty())?;
        conf.node(me.master?).filter(|master| master.is_master())?;
        Some(conf.clone())
    }

    /// A damaged file made whole by the record, when nobody is there to ask. Of a master's own
    /// slots only its own file is believed: it may have got some since it registered.
    fn by_record(&self, me: NodeId, epoch: u64, seen: Vec<Sketch>) -> Option<NodesConf> {
        let (view, remains) = (self.view?, self.remains?);
        if self.waits_for_others() {
            return None;
        }
        let proven = remains.sketches.iter().any(|s| s.id == me);
        let file = self.completed(view, remains.clone(), me, epoch, seen)?;
        let own = file.myself()?;
        let inherited = view.successions.values().any(|s| s.heir == me && s.slots == own.slots);
        (own.slots.is_empty() || proven || inherited).then_some(file)
    }

    /// What this member was by the record, for a blank disk when nobody is there to ask. It has no
    /// keys that a slot list could be wrong about, and whoever has its slots at a higher epoch
    /// keeps them.
    pub(super) fn remembered_file(&self, view: &View) -> Option<NodesConf> {
        let me = self.remembered()?.node_id;
        let known = all_members(view);
        let mut others = view.wanted().into_iter().chain(view.claims.iter().flatten().cloned());
        // A disk that the record has never seen may be of this member's shard, where the record is younger
        // than the set, or not all disks can be known.
        let is_disk = |name: &String| match &view.claims {
            Some(claims) => self.keeps && (claims.contains(name) || view.pods.contains_key(name)),
            None => self.keeps,
        };
        let unknown = |name: &String| *name != view.pod && !known.contains_key(name);
        let whole = view.past.is_empty() && view.claims.is_some();
        if !whole && others.any(|name| unknown(&name) && is_disk(&name)) {
            return None;
        }
        let file =
            self.completed(view, Remains::default(), me, self.highest_epoch(view), Vec::new())?;
        (!view.forgotten.contains(&me)).then_some(file)
    }

    fn completed(
        &self,
        view: &View,
        remains: Remains,
        me: NodeId,
        epoch: u64,
        seen: Vec<Sketch>,
    ) -> Option<NodesConf> {
        let identities = record::identities(&view.plan, &view.name, &all_members(view));
        let record = identities.into_values().map(sketch_of);
        // An heir owns what it inherited; whoever left it follows. What was inherited before the cluster
        // began anew is over.
        let first = view.plan.epoch(0);
        let of_now = view.successions.iter().filter(|(_, s)| s.epoch >= first);
        let heirs = of_now.flat_map(|(from, s)| {
            let owns = Duty::Master { slots: s.slots.clone(), config_epoch: s.epoch };
            let sketch = |id, duty| Sketch { id, address: None, duty, shard_id: None };
            [sketch(s.heir, owns), sketch(*from, Duty::Replica { of: s.heir })]
        });
        let known = record.chain(heirs).chain(seen).collect::<Vec<_>>();
        let later = self.later_ones(view, me, &known);
        remains.complete(me, known.into_iter().chain(later), epoch, self.target).ok()
    }

    /// For a blank disk those that have not begun yet: they will know this member, and have to be known
    /// by it. The plan of a record that was made anew says nothing of a node of the one before.
    fn later_ones(&self, view: &View, me: NodeId, known: &[Sketch]) -> Vec<Sketch> {
        let mut planned = view.plan.ordinals().map(|ordinal| view.plan.node_id(ordinal));
        if self.remains.is_some() || !planned.any(|id| id == me) {
            return Vec::new();
        }
        let taken = |range: SlotRange| {
            known.iter().any(|s| match &s.duty {
                Duty::Master { slots, .. } => overlap(slots, &[range]),
                Duty::Replica { .. } => false,
            })
        };
        let members = all_members(view);
        let free = view.plan.ordinals().filter_map(|ordinal| {
            let pod = view.plan.pod(&view.name, ordinal)?;
            let begun = members.get(&pod).is_some_and(|m| record::has_begun(&view.plan, m));
            let planned = record::planned(&view.plan, &view.name, &pod)?;
            let known = known.iter().any(|s| s.id == planned.node_id);
            let owned = planned.slots.iter().any(|range| taken(*range));
            let out = begun || known || owned || view.forgotten.contains(&planned.node_id);
            (!out).then_some(planned)
        });
        free.map(sketch_of).collect()
    }

    /// Of the living members that know this one, the one that has seen the most.
    fn witness(&self, me: NodeId) -> Option<&NodesConf> {
        let knows = self.weighing.living().map(|(_, i)| &i.nodes).filter(|n| n.node(me).is_some());
        knows.max_by_key(|n| {
            let owners: Vec<_> = n.nodes().filter(|n| !n.slots.is_empty()).collect();
            (owners.iter().map(|n| n.config_epoch).sum::<u64>(), owners.len())
        })
    }
}

/// Who owns slots of a master by now: it was forgotten, and has been succeeded before that.
fn owner_by_now(duty: &Duty, seen: &[Sketch]) -> Option<NodeId> {
    let Duty::Master { slots, config_epoch } = duty else { return None };
    let has = |s: &&Sketch| match &s.duty {
        Duty::Master { slots: theirs, config_epoch: above } => {
            above > config_epoch && overlap(theirs, slots)
        }
        Duty::Replica { .. } => false,
    };
    seen.iter().find(has).map(|s| s.id)
}

fn sketch_of(identity: Identity) -> Sketch {
    let duty = match identity.role {
        Role::Master => Duty::Master { slots: identity.slots, config_epoch: identity.config_epoch },
        Role::Replica { of } => Duty::Replica { of },
    };
    Sketch { id: identity.node_id, address: None, duty, shard_id: None }
}
