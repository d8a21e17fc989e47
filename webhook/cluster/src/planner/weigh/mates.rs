//! The other members of a shard: who of them may have its data, and how new those are.
//!
//! Guarantees: what a disk held when it registered is a lower bound; nobody whom a file or the record
//! names is taken for one without data unless that was seen.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{Weak, all_members};
use crate::id::NodeId;
use crate::moment;
use crate::nodes::{Flag, Node, NodesConf};
use crate::planner::Inspection;
use crate::protocol::{Identity, Member, Pod, Role, View};
use crate::record;
use crate::succession::{Newness, TOGETHER, synced};

// === impl Weak ===

impl Weak<'_> {
    /// A member of the shard, by the own file or a living member's table, that neither lives nor is in the
    /// record, as long as members exist that have not registered: the record was lost, and one of those may
    /// be it. A table may have lost its address, and then a file that is made of it leaves it out.
    pub(super) fn unheard_of(
        &self,
        file: &NodesConf,
        me: &Node,
        alive: &BTreeSet<NodeId>,
    ) -> Option<NodeId> {
        let view = self.view?;
        let members = all_members(view);
        let ids: BTreeSet<NodeId> = members
            .iter()
            .filter_map(|(name, m)| record::known_identity(&view.plan, &view.name, name, m))
            .map(|identity| identity.node_id)
            .collect();
        // Where nothing is kept, whoever does not run has nothing.
        let there = view.pods.iter().filter(|(_, pod)| self.keeps || pod.running);
        let claimed = view.claims.iter().flatten().filter(|_| self.keeps);
        // Who was another node than any in the file was that in an older generation: the record has
        // been rolled back.
        let of_another_life = |name: &String, m: &Member| {
            let known = record::known_identity(&view.plan, &view.name, name, m);
            let unknown = known.is_none_or(|identity| file.node(identity.node_id).is_none());
            unknown && !view.members.contains_key(name)
        };
        let unregistered = there
            .map(|(name, _)| name)
            .chain(claimed)
            .any(|name| members.get(name).is_none_or(|m| of_another_life(name, m)));
        let of_shard = |n: &&Node| unregistered && may_be_of(n, me.id);
        let tables = self.weighing.living().map(|(_, i)| &i.nodes).chain([file]);
        let unknown = tables.flat_map(NodesConf::nodes).filter(of_shard).filter(|n| {
            !alive.contains(&n.id) && !ids.contains(&n.id) && !view.forgotten.contains(&n.id)
        });
        // A master without slots may have lost them to another shard.
        unknown.min_by_key(|n| n.master != Some(me.id)).map(|n| n.id)
    }

    /// Whether a server runs in a pod that has not registered, and does not answer.
    pub(super) fn is_one_out_of_reach(&self, view: &View) -> bool {
        let answers = |pod: &Pod| self.weighing.living().any(|(at, _)| pod.ips.contains(&at.ip()));
        let mut others = view.pods.iter().filter(|(name, _)| **name != view.pod);
        others.any(|(name, pod)| {
            pod.running && !pod.deleting && !view.members.contains_key(name) && !answers(pod)
        })
    }

    /// When a replica took something over last before it started, by the record.
    pub(super) fn synced(&self, replica: &Inspection) -> Option<i64> {
        let id = replica.nodes.myself()?.id;
        let members = self.view?.members.values();
        let of = |m: &&Member| m.disk.identity.as_ref().is_some_and(|i| i.node_id == id);
        members.filter(of).find_map(synced)
    }

    /// Whether a replica has become a copy of another shard's master, which has taken the address of
    /// its own: an engine asks nobody's id when it copies, and throws away what it had.
    pub(super) fn copies_another(&self, replica: &Inspection, me: NodeId) -> bool {
        let copied = |i: &Inspection| i.stream.is_some() && i.stream == replica.stream;
        self.weighing.living().filter(|(_, i)| copied(i)).any(|(_, i)| {
            i.nodes.myself().is_some_and(|n| n.id != me && n.is_master() && !n.slots.is_empty())
        })
    }

    /// Members of the shard that do not run now and may have data.
    ///
    /// The record says what a member was when it registered. Who was this one's master then and
    /// lost its slots since follows it now, as the own file has it.
    pub(super) fn mates_on_disk(
        &self,
        file: Option<&NodesConf>,
        me: &Node,
        alive: &BTreeSet<NodeId>,
    ) -> Vec<Mate> {
        let Some(view) = self.view else { return Vec::new() };
        let mut failed: BTreeSet<NodeId> =
            view.members.values().flat_map(|m| m.disk.failed.iter().copied()).collect();
        let own = self.conf.iter().flatten().flat_map(NodesConf::nodes);
        failed.extend(own.filter(|n| n.flags.contains(&Flag::Failing)).map(|n| n.id));
        let mut mates = Vec::new();
        let members: Vec<_> = all_members(view)
            .into_iter()
            .map(|(name, m)| (record::known_identity(&view.plan, &view.name, &name, &m), name, m))
            .collect();
        let identities = members.iter().filter_map(|(identity, ..)| identity.as_ref());
        // Who followed the owner before this one, and has not been told yet, has the shard's data.
        let former: BTreeSet<NodeId> = identities
            .filter(|i| i.node_id != me.id && record::has_lost(i, &me.slots, me.config_epoch))
            .map(|i| i.node_id)
            .collect();
        for (identity, name, member) in members {
            // A guest's id is known once it has joined, and what it is by the own file only.
            let by_mark = member.disk.mark.as_ref().map(|mark| mark.node_id);
            let known = identity.as_ref().map(|i| i.node_id).or(member.node_id).or(by_mark);
            let Some(id) = known else { continue };
            let follows = file.and_then(|f| f.node(id)).and_then(|n| n.master);
            let of_shard = match &identity {
                Some(Identity { role: Role::Replica { of }, .. }) => {
                    *of == me.id || former.contains(of)
                }
                Some(identity) => record::has_lost(identity, &me.slots, me.config_epoch),
                None => false,
            };
            let of_shard = of_shard || follows == Some(me.id);
            if name == view.pod || !of_shard || alive.contains(&id) {
                continue;
            }
            let pod = view.pods.get(&name);
            let registered = view.members.contains_key(&name);
            let disk_stays = view.claims.as_ref().is_none_or(|claims| claims.contains(&name));
            let here = pod.filter(|p| p.injected && !p.deleting);
            // It began without any data, as somebody else.
            if registered && here.is_some_and(|p| record::is_another(&member, id, p)) {
                continue;
            }
            // What its disk held when it registered is less than what it has copied since.
            let runs = here.is_some_and(|p| p.running);
            let looked_at = registered && here.is_some_and(|p| !record::has_run_since(p, &member));
            let holds = if looked_at {
                member.disk.data
            } else {
                // Whatever its volume is, it stays as long as its pod.
                let disk_stays = disk_stays || (registered && here.is_some());
                runs || (disk_stays && record::may_hold_data(&member))
            };
            if holds {
                let here = here.is_some();
                let began = moment::micros(&member.registered_at);
                let ended = view.ended.get(&name).and_then(|at| moment::micros(at));
                let ran_for = ended.zip(began).and_then(|(ended, began)| ended.checked_sub(began));
                // What was registered before the outage says nothing of what the disk holds now.
                let said = Some(&member).filter(|_| here && registered);
                mates.push(Mate {
                    id,
                    certain: member.disk.data,
                    cut_off: failed.contains(&id),
                    newness: said.map(Newness::of).unwrap_or_default(),
                    recent: true,
                    ended,
                    steady: ran_for.is_some_and(|micros| micros >= STEADY * 1_000),
                    // Whoever is on the way out has outlived those that are gone.
                    ran: match (registered, looked_at) {
                        (true, true) => None,
                        (true, false) => Some(u64::MAX),
                        (false, _) => began,
                    },
                    since: Reverse(began),
                    comes: here,
                    runs,
                    pod: name,
                });
            }
        }
        let newest = mates.iter().map(|mate| mate.newness).max_by_key(|newness| newness.synced);
        for mate in &mut mates {
            mate.recent = newest.is_none_or(|newest| !newest.is_much_newer_than(mate.newness));
        }
        outlived(mates)
    }
}

/// Whether a node of a file may have the data of this master: it follows it, or it has lost its slots,
/// perhaps to it.
pub(super) fn may_be_of(node: &Node, master: NodeId) -> bool {
    let greeted = !node.flags.contains(&Flag::Handshake);
    let deposed = node.is_master() && node.slots.is_empty() && greeted;
    node.id != master && (node.master == Some(master) || deposed)
}

/// So many milliseconds a replica has copied its master after, as a rule.
const STEADY: u64 = 10_000;

/// Those of whom it is not known that another one has run after their end.
fn outlived(mates: Vec<Mate>) -> Vec<Mate> {
    let is_behind = |mate: &Mate| {
        let gone = !mate.runs && !mate.runs_out();
        gone && mates.iter().any(|other| mate.is_outlived_by(other))
    };
    let ahead: Vec<Mate> = mates.iter().filter(|mate| !is_behind(mate)).cloned().collect();
    if ahead.is_empty() { mates } else { ahead }
}

/// A member of the shard that is not there.
#[derive(Clone, Debug)]
pub(super) struct Mate {
    pub(super) id: NodeId,
    pub(super) pod: String,
    /// Whether data were seen on its disk.
    pub(super) certain: bool,
    /// Whether members that have started since, or this one, had given it up before they stopped.
    cut_off: bool,
    /// How new its data are, if its step has said so since.
    pub(super) newness: Newness,
    /// Whether no other one has taken something over when it did not any more.
    recent: bool,
    /// When its last pod was seen to end.
    ended: Option<u64>,
    /// Whether it had run for long enough by then to have copied its master.
    steady: bool,
    /// When it surely ran.
    ran: Option<u64>,
    /// When it registered last: whoever has run the longest has most likely missed nothing.
    since: Reverse<Option<u64>>,
    /// Whether its pod is there, so that it can be waited for.
    pub(super) comes: bool,
    /// Whether its server runs by the registry's word, and does not answer.
    pub(super) runs: bool,
}

// === impl Mate ===

impl Mate {
    /// The best heir has the highest: the newest data that are there, then the one that ran longest,
    /// or to the end.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let known = self.certain && self.comes;
        let runs_out = self.runs_out();
        let ran = (runs_out, self.steady, self.ended, self.since);
        (known, !self.cut_off, self.recent, self.newness, ran, self.certain)
    }

    /// Whether its pod is being deleted and has outlived those that are gone.
    fn runs_out(&self) -> bool {
        self.ran == Some(u64::MAX)
    }

    /// Whether that one ran after this one's end. One that had only just begun then may have copied
    /// nothing, and counts for less than one that ended in the same moment.
    fn is_outlived_by(&self, other: &Self) -> bool {
        let Some((ended, last)) = self.ended.zip(other.ran.max(other.ended)) else { return false };
        let fresh = self.steady && !other.steady && other.ended == Some(last);
        ended < last && !(fresh && last - ended <= TOGETHER.0 * 1_000)
    }

    /// When its data were the newest, in milliseconds, as far as that is known.
    pub(super) fn last_alive(&self) -> Option<i64> {
        let ended = || i64::try_from(self.ended? / 1_000).ok();
        self.newness.synced.or_else(ended)
    }

    /// What is said where only older data are there.
    pub(super) fn much_newer(&self) -> String {
        format!(
            "this member's disk is empty, and {} has data that are more than a minute newer than those of \
             the replica that runs: let it start, or let a person decide, by `mooring promote`; trying again",
            self.pod
        )
    }

    /// What is said while it is out of reach: naming it heir would not make it a master, and
    /// beginning without it would lose what it has.
    pub(super) fn out_of_reach(&self) -> String {
        format!(
            "this member's disk is empty, and {}, which may have its data, runs and does not answer: \
             see that it can be reached, or delete it if its machine is gone; trying again",
            self.pod
        )
    }
}
