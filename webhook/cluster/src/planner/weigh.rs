//! Starts that could do harm: a disk that is empty, unreadable or cut off.
//!
//! "Empty" means without data, whether or not there is a nodes.conf: a master that starts empty
//! empties its replicas. A server that persists nothing is empty at every start.
//!
//! | disk | what is known | decision |
//! |---|---|---|
//! | empty, was master | a living replica has data | Rejoin: it is made master, seen by a majority; then this one starts as its replica, with its old id |
//! | empty, was master | no member of the shard lives, one has its disk | Yield: the record names it heir; start as its replica |
//! | empty, was master | nobody of the shard has data | Repair, as it was |
//! | empty, was replica | | Repair, or with a blank disk the same from a living member's view |
//! | blank | all disks are empty and no process owns anything | Form anew: the plan's next generation |
//! | blank | a past that is not this member's | Guest |
//! | unreadable, or cut off in the slots | a living member knows it | Salvage: role and slots as that one sees them |
//! | unreadable | nobody is there to ask | Refuse |
//!
//! Guarantees: no slot is guessed: slots come from the own disk, or from a living member's view;
//! nobody who is there is overlooked without having been waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::decide::{self, Decision, Sound};
use super::{Action, HoldBack, How, Inspected, Inspection, Link, Millis, PROBE_PATIENCE, Poll};
use crate::id::NodeId;
use crate::net::Address;
use crate::nodes::{Duty, Flag, Node, NodesConf, Remains, Sketch, Target, Trust};
use crate::protocol::{Identity, Member, Proposal, Role, Severity, Succession, View};
use crate::record::{self, Standing};
use crate::slot::SlotRange;

/// How long members that exist and do not answer are waited for.
pub(super) const WEIGH_PATIENCE: Millis = Millis(10_000);
/// How long a replica may take to be elected: as long as the engine itself tries
/// (`CLUSTER_MF_TIMEOUT`).
pub(super) const FORCE_PATIENCE: Millis = Millis(5_000);
/// How long a majority of masters is waited for before the record decides alone.
pub(super) const MAJORITY_PATIENCE: Millis = Millis(3_000);
const PAUSE: Millis = Millis(200);

/// What is known of a start that could do harm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weak<'a> {
    pub(super) conf: &'a Result<Option<NodesConf>, String>,
    pub(super) remains: Option<&'a Remains>,
    pub(super) data: bool,
    pub(super) keeps: bool,
    pub(super) own: Address,
    pub(super) peers: &'a BTreeMap<NodeId, Address>,
    pub(super) view: Option<&'a View>,
    pub(super) away: &'a str,
    pub(super) target: Target,
    pub(super) declared: Option<NodeId>,
    pub(super) weighing: &'a Weighing,
    pub(super) now: Millis,
}

/// What comes next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// This is it.
    Done(Decision),
    /// Look again in a moment; the text says for what.
    Wait(String),
    /// Tell the registry that this id is kept.
    Declare(NodeId),
    /// Make this replica a master.
    Force { at: SocketAddr, id: NodeId, how: How },
    /// Have the record changed.
    Propose(Proposal),
    /// The record's answer is still to come.
    Proposing,
}

/// What has been asked around, and what is under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Weighing {
    began: Option<Millis>,
    asked: Option<Millis>,
    next: Millis,
    found: BTreeMap<SocketAddr, Option<Inspected>>,
    pub(super) force: Option<Forced>,
    pub(super) proposing: Option<Proposal>,
    /// For what it waits, for people.
    pub(super) waits_for: Option<String>,
    /// Why the last proposal was refused.
    pub(super) refused: Option<String>,
}

/// A replica that was told to become master.
#[derive(Clone, Debug)]
pub(super) struct Forced {
    pub(super) at: SocketAddr,
    pub(super) id: NodeId,
    pub(super) how: How,
    pub(super) since: Millis,
    pub(super) result: Option<Result<(), String>>,
}

// === impl Weighing ===

impl Weighing {
    /// Asks everybody around; true once all have answered or had their time.
    pub(super) fn look_around(
        &mut self,
        now: Millis,
        around: BTreeSet<SocketAddr>,
        poll: &mut Poll,
    ) -> bool {
        self.began.get_or_insert(now);
        if now < self.next {
            poll.wake_at(self.next);
            return false;
        }
        let Some(asked) = self.asked else {
            self.asked = Some(now);
            self.found = around.iter().map(|at| (*at, None)).collect();
            poll.actions.extend(around.into_iter().map(Action::Inspect));
            let open = !self.found.is_empty();
            if open {
                poll.wake_at(Millis(now.0 + PROBE_PATIENCE.0));
            }
            return !open;
        };
        let until = Millis(asked.0 + PROBE_PATIENCE.0);
        if now < until && self.found.values().any(Option::is_none) {
            poll.wake_at(until);
            return false;
        }
        true
    }

    pub(super) fn inspected(&mut self, at: SocketAddr, answer: Inspected) {
        if let Some(found) = self.found.get_mut(&at) {
            found.get_or_insert(answer);
        }
    }

    pub(super) fn forced(&mut self, _now: Millis, at: SocketAddr, result: Result<(), String>) {
        if let Some(force) = self.force.as_mut().filter(|f| f.at == at) {
            force.result.get_or_insert(result);
        }
    }

    /// Everybody is asked again after a pause.
    pub(super) fn pause(&mut self, now: Millis) -> Millis {
        self.asked = None;
        self.next = Millis(now.0 + PAUSE.0);
        self.next
    }

    /// The servers that have answered.
    pub(super) fn living(&self) -> impl Iterator<Item = (SocketAddr, &Inspection)> {
        self.found.iter().filter_map(|(at, found)| match found {
            Some(Inspected::Node(inspection)) => Some((*at, &**inspection)),
            _ => None,
        })
    }

    fn unclear(&self) -> bool {
        self.found.values().any(|found| matches!(found, Some(Inspected::Unclear)))
    }

    fn lasts(&self, now: Millis) -> Millis {
        Millis(now.0.saturating_sub(self.began.unwrap_or(now).0))
    }
}

/// Whether a start can do no harm by what its disk says alone.
pub(super) fn is_sound(
    conf: &Result<Option<NodesConf>, String>,
    data: bool,
    view: Option<&View>,
) -> bool {
    match conf {
        Err(_) => false,
        Ok(None) => {
            !data
                && view.is_some_and(|v| {
                    let own = v.members.get(&v.pod);
                    let before = v.before.as_ref();
                    v.past.is_empty()
                        && own.is_none_or(|m| m.was.is_none())
                        && before.is_none_or(|b| !record::has_begun(&v.plan, b))
                })
        }
        Ok(Some(conf)) => {
            let Some(me) = conf.myself() else { return false };
            let owner = !me.slots.is_empty()
                || view.is_some_and(|v| decide::inheritance(v, conf).is_some());
            if owner { data && !is_cut_off(conf) } else { true }
        }
    }
}

/// Weighs it.
pub(super) fn weigh(weak: &Weak<'_>) -> Step {
    if weak.weighing.proposing.is_some() {
        return Step::Proposing;
    }
    let Some(mut file) = weak.file() else { return weak.without_identity() };
    if let Some(refusal) = weak.view.and_then(|v| decide::twin(v, &file)) {
        return Step::Done(refusal);
    }
    let mut reason = weak.reason();
    if let Some(view) = weak.view
        && let Some(epoch) = decide::inheritance(view, &file)
        && file.succeed(epoch).is_ok()
    {
        reason = "Succeeded";
    }
    let Some(me) = file.myself().cloned() else { return weak.without_identity() };
    if let Some((heir, epoch)) = weak.dispossessed(&file, &me) {
        return weak.follow(file, heir, epoch);
    }
    if !me.is_master() || me.slots.is_empty() || weak.data {
        return weak.done(file, reason, "", Severity::Normal);
    }
    weak.empty_owner(file, &me, reason)
}

// === impl Weak ===

impl Weak<'_> {
    /// The own file; else one from the view of a living member that knows this one.
    fn file(&self) -> Option<NodesConf> {
        if let Ok(Some(conf)) = self.conf
            && !(is_cut_off(conf) && conf.myself().is_some_and(Node::is_master))
        {
            return Some(conf.clone());
        }
        let me = self.own_id()?;
        let epoch = self.view.map_or(0, |view| self.highest_epoch(view));
        let epoch = epoch.max(self.remains.map_or(0, |r| r.epoch));
        match self.witness(me) {
            Some(witness) => NodesConf::assemble(me, witness.sketches(), epoch, self.target).ok(),
            None => self.by_record(me, epoch),
        }
    }

    /// A damaged file made whole by the record, when nobody is there to ask. Of a master's own
    /// slots only its own file is believed: it may have got some since it registered.
    fn by_record(&self, me: NodeId, epoch: u64) -> Option<NodesConf> {
        let (view, remains) = (self.view?, self.remains?);
        if self.patient() && others_come(view) {
            return None;
        }
        let proven = remains.sketches.iter().any(|s| s.id == me);
        let record = all_members(view).into_iter().filter_map(|(name, member)| {
            let identity = record::known_identity(&view.plan, &view.name, &name, &member)?;
            let duty = match identity.role {
                Role::Master => {
                    Duty::Master { slots: identity.slots, config_epoch: identity.config_epoch }
                }
                Role::Replica { of } => Duty::Replica { of },
            };
            Some(Sketch { id: identity.node_id, address: None, duty, shard_id: None })
        });
        // An heir owns what it inherited; whoever left it follows.
        let heirs = view.successions.iter().flat_map(|(from, s)| {
            let owns = Duty::Master { slots: s.slots.clone(), config_epoch: s.epoch };
            let sketch = |id, duty| Sketch { id, address: None, duty, shard_id: None };
            [sketch(s.heir, owns), sketch(*from, Duty::Replica { of: s.heir })]
        });
        let file = remains.clone().complete(me, record.chain(heirs), epoch, self.target).ok()?;
        let own = file.myself()?;
        let inherited = view.successions.values().any(|s| s.heir == me && s.slots == own.slots);
        (own.slots.is_empty() || proven || inherited).then_some(file)
    }

    /// Of the living members that know this one, the one that has seen the most.
    fn witness(&self, me: NodeId) -> Option<&NodesConf> {
        let knows = self.weighing.living().map(|(_, i)| &i.nodes).filter(|n| n.node(me).is_some());
        knows.max_by_key(|n| {
            let owners: Vec<_> = n.nodes().filter(|n| !n.slots.is_empty()).collect();
            (owners.iter().map(|n| n.config_epoch).sum::<u64>(), owners.len())
        })
    }

    /// The id that this member had, by its disk or by the record.
    fn own_id(&self) -> Option<NodeId> {
        match self.conf {
            Ok(Some(conf)) => conf.myself().map(|me| me.id),
            _ => {
                let by_file = self.remains.and_then(|r| r.me);
                by_file.or_else(|| self.remembered().map(|identity| identity.node_id))
            }
        }
    }

    fn remembered(&self) -> Option<Identity> {
        let view = self.view?;
        let own = view.members.get(&view.pod).into_iter().chain(&view.before);
        own.filter_map(|m| record::known_identity(&view.plan, &view.name, &view.pod, m)).next()
    }

    fn reason(&self) -> &'static str {
        match self.conf {
            Ok(Some(conf)) if !is_cut_off(conf) => "Repaired",
            _ if self.data => "Salvaged",
            Ok(None) => "Rebuilt",
            _ => "Salvaged",
        }
    }

    fn patient(&self) -> bool {
        self.weighing.lasts(self.now) < WEIGH_PATIENCE
    }

    fn done(&self, file: NodesConf, reason: &'static str, told: &str, severity: Severity) -> Step {
        let id = file.myself().map(|me| me.id);
        let on_disk = matches!(self.conf, Ok(Some(_)));
        if let (Some(id), false, Some(_)) = (id, on_disk, self.view)
            && self.declared != Some(id)
        {
            return Step::Declare(id);
        }
        Step::Done(decide::finish(&self.sound(), file, reason, told, severity))
    }

    fn sound(&self) -> Sound<'_> {
        Sound {
            conf: None,
            own: self.own,
            peers: self.peers,
            view: self.view,
            target: self.target,
            // It has no writes that somebody else could know better.
            hold_back: HoldBack::Forbidden,
        }
    }

    /// Who owns what this member owned, where its file comes from a living member that has seen
    /// it lose its slots: a master without slots would stay one, and its shard without a replica.
    fn dispossessed(&self, file: &NodesConf, me: &Node) -> Option<(NodeId, u64)> {
        if !me.is_master() || !me.slots.is_empty() || matches!(self.conf, Ok(Some(_))) {
            return None;
        }
        let was = self.remembered()?;
        let owner = file.nodes().find(|n| n.id != me.id && covers(&n.slots, &was.slots))?;
        (!was.slots.is_empty()).then_some((owner.id, owner.config_epoch))
    }

    // --- an owner of slots without data ---

    fn empty_owner(&self, file: NodesConf, me: &Node, reason: &'static str) -> Step {
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
            return self.refuse(format!(
                "this member's disk is empty and its replica {} has the data, but was not elected \
                 in time; trying again",
                force.id
            ));
        }
        let mates: Vec<_> = self
            .weighing
            .living()
            .filter(|(_, i)| i.nodes.myself().is_some_and(|n| n.master == Some(me.id)))
            .collect();
        let with_data = mates.iter().filter(|(_, i)| i.keys && i.offset > 0);
        if let Some((at, heir)) = with_data.max_by_key(|(_, i)| i.offset) {
            return self.promote(*at, heir, me);
        }
        let alive: BTreeSet<NodeId> =
            self.weighing.living().filter_map(|(_, i)| Some(i.nodes.myself()?.id)).collect();
        let absent = self.mates_on_disk(me, &alive);
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
        if let Some(mate) = absent.iter().max_by_key(|m| (m.certain, m.comes)) {
            return self.bequeath(mate.id, me);
        }
        if self.view.is_none() && self.keeps && self.weighing.living().next().is_none() {
            if self.patient() {
                return Step::Wait("somebody to ask".to_owned());
            }
            return self.refuse(format!(
                "this member's disk is empty, and without the registry nobody knows whether \
                 another one has the data ({}); trying again",
                self.away
            ));
        }
        let told = match self.conf {
            Ok(Some(_)) => "",
            _ => "nobody of its shard has data: its slots begin empty; ",
        };
        let severity = if told.is_empty() { Severity::Normal } else { Severity::Warning };
        self.done(file, reason, told, severity)
    }

    /// Whoever has this member's slots at a higher epoch, by a living member's word, a registered
    /// disk or the record. Where a replica was just told to become master, a majority of the
    /// living owners has to say so: a master that starts as replica before its peers know the new
    /// owner takes the slots out of their tables (`clusterProcessPacket`, up to 7.2).
    fn succeeded_by(&self, me: &Node) -> Option<(NodeId, u64)> {
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
        let runs = living.iter().any(|i| i.nodes.myself().is_some_and(|n| n.id == told.0));
        (!runs).then_some(told)
    }

    fn follow(&self, mut file: NodesConf, heir: NodeId, epoch: u64) -> Step {
        if let Err(unknown) = file.step_down(heir, epoch) {
            return self.refuse(format!(
                "the node {} owns this member's slots and is not in its nodes.conf: start it first, \
                 or join this member by hand",
                unknown.0
            ));
        }
        let living = self.weighing.living();
        let runs = living.into_iter().any(|(_, i)| i.nodes.myself().is_some_and(|n| n.id == heir));
        let reason = if runs { "Rejoined" } else { "Yielded" };
        let told = format!(
            "this member's disk is empty and {heir} has the shard's data at epoch {epoch}; "
        );
        self.done(file, reason, &told, Severity::Warning)
    }

    /// A living replica has the data: it becomes the master first.
    fn promote(&self, at: SocketAddr, heir: &Inspection, me: &Node) -> Step {
        let Some(id) = heir.nodes.myself().map(|n| n.id) else {
            return Step::Wait("a replica that says who it is".to_owned());
        };
        if heir.link == Some(Link::Up) {
            if self.patient() {
                return Step::Wait(format!("{id} to notice that its master has stopped"));
            }
            return self.refuse(format!(
                "the replica {id} is linked to a server at this member's former address, which is \
                 not this member: find out who answers there"
            ));
        }
        if has_majority(&heir.nodes, me.id) {
            return Step::Force { at, id, how: How::Vote };
        }
        if self.weighing.lasts(self.now) < MAJORITY_PATIENCE {
            return Step::Wait("a majority of masters that can elect".to_owned());
        }
        match self.view {
            Some(view) if view.successions.get(&me.id).is_some_and(|s| s.heir == id) => {
                Step::Force { at, id, how: How::Record }
            }
            Some(_) => self.bequeath(id, me),
            None => self.refuse(format!(
                "this member's disk is empty and its replica {id} has the data, but no majority of \
                 masters is there to elect it, and the registry is away; trying again"
            )),
        }
    }

    fn bequeath(&self, heir: NodeId, me: &Node) -> Step {
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
                reason: format!("the disk of {} is empty", view.pod),
            },
        })
    }

    fn highest_epoch(&self, view: &View) -> u64 {
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

    /// Members of the shard that do not run now and may have data.
    fn mates_on_disk(&self, me: &Node, alive: &BTreeSet<NodeId>) -> Vec<Mate> {
        let Some(view) = self.view else { return Vec::new() };
        let mut mates = Vec::new();
        for (name, member) in all_members(view) {
            let Some(identity) = record::known_identity(&view.plan, &view.name, &name, &member)
            else {
                continue;
            };
            let of_shard = match identity.role {
                Role::Replica { of } => of == me.id,
                Role::Master => false,
            };
            if name == view.pod || !of_shard || alive.contains(&identity.node_id) {
                continue;
            }
            let pod = view.pods.get(&name);
            let registered = view.members.contains_key(&name);
            let disk_stays = view.claims.as_ref().is_none_or(|claims| claims.contains(&name));
            let holds = if registered {
                member.disk.data
            } else {
                disk_stays && record::may_hold_data(&member)
            };
            if holds {
                let comes = pod.is_some_and(|p| p.injected && !p.deleting);
                mates.push(Mate { id: identity.node_id, certain: member.disk.data, comes });
            }
        }
        mates
    }

    // --- a disk that does not say who it belongs to ---

    fn without_identity(&self) -> Step {
        let Some(view) = self.view else {
            return self.refuse(match self.conf {
                Err(why) => damaged(why),
                Ok(_) if self.data => orphaned(),
                Ok(_) => format!(
                    "this member has an empty disk and can not begin without the registry: {}",
                    self.away
                ),
            });
        };
        if matches!(self.conf, Err(_) | Ok(Some(_))) || self.data {
            let known = self.own_id().is_some();
            if known && self.patient() && others_come(view) {
                return Step::Wait("a member that knows this one".to_owned());
            }
            return self.refuse(match self.conf {
                Err(why) => damaged(why),
                Ok(Some(_)) => damaged("it was cut off, and its slots can not be known"),
                Ok(None) => orphaned(),
            });
        }
        self.blank(view)
    }

    fn blank(&self, view: &View) -> Step {
        if let Some(generation) = self.begun_anew(view) {
            let _ = generation;
            return match decide::begin(&self.sound(), view) {
                Decision::Bootstrap(conf) => Step::Done(Decision::Bootstrap(conf)),
                other => Step::Done(other),
            };
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
                Err(_) if self.patient() && others_come(view) => {
                    return Step::Wait(
                        "the other members, whose disks may be empty too".to_owned(),
                    );
                }
                Err(_) => {}
            }
            if let Some(step) = self.leave_to_heir(view) {
                return step;
            }
        }
        let why = match (self.remembered(), view.past.first()) {
            (Some(_), _) => "this member has begun before and its disk is empty now".to_owned(),
            (None, Some(past)) => {
                format!("the disk is empty and the cluster may have a past: {past}")
            }
            (None, None) => "the disk is empty".to_owned(),
        };
        Step::Done(Decision::Guest { why: format!("{why}, so it starts without slots") })
    }

    /// The plan's generation that this member may begin in, once the record has opened it.
    fn begun_anew(&self, view: &View) -> Option<u64> {
        let own = view.members.get(&view.pod)?;
        let generation = view.plan.generation;
        let before = self
            .remembered()
            .is_none_or(|was| view.plan.ordinals().all(|o| view.plan.node_id(o) != was.node_id));
        (generation > 1 && !record::has_begun(&view.plan, own) && before).then_some(generation)
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
            endpoint: crate::nodes::Endpoint::unknown(),
            flags: BTreeSet::from([Flag::Master]),
            master: None,
            ping_sent: 0,
            pong_received: 0,
            config_epoch: was.config_epoch,
            link: String::new(),
            slots: was.slots,
            open_slots: Vec::new(),
        };
        let mates = self.mates_on_disk(&me, &BTreeSet::new());
        let heir = mates.iter().max_by_key(|m| (m.certain, m.comes))?;
        Some(self.bequeath(heir.id, &me))
    }

    fn refuse(&self, why: String) -> Step {
        Step::Done(Decision::Refuse(why))
    }
}

/// A member of the shard that is not there.
#[derive(Clone, Copy, Debug)]
struct Mate {
    id: NodeId,
    /// Whether data were seen on its disk.
    certain: bool,
    /// Whether its pod is there, so that it can be waited for.
    comes: bool,
}

/// Whether the heir is linked to a majority of the masters that own slots, the one that has gone
/// counted as one that votes for nobody.
fn has_majority(nodes: &NodesConf, gone: NodeId) -> bool {
    let dead = [Flag::Failing, Flag::PossiblyFailing, Flag::NoAddress, Flag::Handshake];
    let owners: Vec<_> = nodes.nodes().filter(|n| n.is_master() && !n.slots.is_empty()).collect();
    let linked = owners.iter().filter(|n| {
        n.id != gone && n.link == "connected" && !dead.iter().any(|f| n.flags.contains(f))
    });
    linked.count() * 2 > owners.len()
}

/// Whether a file ends before its end: then the slots of its last lines can not be trusted.
fn is_cut_off(conf: &NodesConf) -> bool {
    conf.trust() == Trust::LinesMissing
}

fn covers(all: &[SlotRange], part: &[SlotRange]) -> bool {
    part.iter().all(|p| all.iter().any(|s| s.start() <= p.start() && p.end() <= s.end()))
}

/// Whether members exist that have not registered yet.
fn others_come(view: &View) -> bool {
    view.pods.iter().any(|(name, pod)| {
        *name != view.pod && !pod.deleting && pod.injected && !view.members.contains_key(name)
    }) || view.members.keys().any(|name| {
        *name != view.pod && view.pods.get(name).is_some_and(|p| !p.running && !p.deleting)
    })
}

fn all_members(view: &View) -> BTreeMap<String, Member> {
    let mut all = view.earlier.clone();
    all.extend(view.members.iter().map(|(name, member)| (name.clone(), member.clone())));
    all
}

fn standing<'a>(view: &'a View, members: &'a BTreeMap<String, Member>) -> Standing<'a> {
    Standing {
        set: &view.name,
        replicas: view.replicas,
        pod: &view.pod,
        plan: &view.plan,
        members,
        pods: &view.pods,
        claims: view.claims.as_ref(),
        successions: &view.successions,
    }
}

fn damaged(why: &str) -> String {
    format!(
        "nodes.conf is damaged ({why}) and no other member is there to say what it held: start the \
         others first, or restore it from nodes.conf.bak; if the pod's data are not needed, delete \
         its claim"
    )
}

fn orphaned() -> String {
    "there are data files and no nodes.conf, so nobody knows which slots they belong to: put the \
     nodes.conf back that belongs to them, or move the data files away"
        .to_owned()
}
