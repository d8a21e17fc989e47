//! Starts that could do harm: a disk that is empty, unreadable or cut off.
//!
//! "Empty" means without data, whether or not there is a nodes.conf: a master that starts empty
//! empties its replicas. A server that persists nothing is empty at every start.
//!
//! | disk | what is known | decision |
//! |---|---|---|
//! | empty, was master | a living replica has data | Rejoin: it is made master, seen by a majority; then this one starts as its replica, with its old id |
//! | empty, was master | a replica runs and does not answer | Refuse, after a wait: it may have the data |
//! | empty, was master | no member of the shard lives, one has its disk | Yield: the record names it heir; start as its replica |
//! | empty, was master | nobody of the shard has data | Repair, as it was |
//! | empty, was replica | | Repair, or with a blank disk the same from a living member's view |
//! | blank | all disks are empty and no process owns anything | Form anew: the plan's next generation |
//! | blank | nobody is there to ask, the record knows what it was | as with a file that says so |
//! | blank | a past that is not this member's | Guest |
//! | unreadable, or cut off in the slots | a living member knows it | Salvage: role and slots as that one sees them |
//! | cut off, replica | nobody is there to ask, its master's line is whole | Salvage: as it is |
//! | unreadable | nobody is there to ask | Refuse |
//!
//! Guarantees: no slot is guessed: slots come from the own disk, or from a living member's view;
//! nobody who is there is overlooked without having been waited for.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::decide::{self, Decision, Sound};
use super::{HoldBack, How, Millis, TWIN_PATIENCE};
use crate::id::NodeId;
use crate::net::Address;
use crate::nodes::{Node, NodesConf, Remains, Target, Trust};
use crate::protocol::{Identity, Member, Proposal, Severity, View};
use crate::record::{self, Standing};
use crate::slot::covers;
pub(super) use around::{Forced, Weighing};
pub(crate) use owner::has_majority;

mod around;
mod blank;
mod file;
mod handed_on;
mod heir;
mod mates;
mod missing;
mod owner;

/// How long members that exist and do not answer are waited for.
pub(super) const WEIGH_PATIENCE: Millis = Millis(10_000);
/// How long a replica may take to be elected: as long as the engine itself tries
/// (`CLUSTER_MF_TIMEOUT`).
pub(super) const FORCE_PATIENCE: Millis = Millis(5_000);
/// How long a majority of masters is waited for before the record decides alone.
pub(super) const MAJORITY_PATIENCE: Millis = Millis(3_000);

const CUT_OFF: &str = "it was cut off, and its slots can not be known";

/// What is known of a start that could do harm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weak<'a> {
    pub(super) conf: &'a Result<Option<NodesConf>, String>,
    pub(super) remains: Option<&'a Remains>,
    /// The id that the birth mark says, if it is of this set.
    pub(super) marked: Option<NodeId>,
    pub(super) data: bool,
    pub(super) keeps: bool,
    pub(super) own: Address,
    pub(super) peers: &'a BTreeMap<NodeId, Address>,
    pub(super) view: Option<&'a View>,
    pub(super) away: &'a str,
    pub(super) target: Target,
    /// Whether an owner with its data is held back.
    pub(super) hold_back: HoldBack,
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
    Force { at: SocketAddr, id: NodeId, how: How, of: NodeId },
    /// Have the record changed.
    Propose(Proposal),
    /// The record's answer is still to come.
    Proposing,
}

/// Whether a start can do no harm by what its disk says alone.
pub(super) fn is_sound(
    conf: &Result<Option<NodesConf>, String>,
    data: bool,
    files: bool,
    view: Option<&View>,
) -> bool {
    match conf {
        Err(_) => false,
        Ok(None) => !data && view.is_some_and(|v| is_new(v) && !others_run(v)),
        Ok(Some(conf)) => {
            let Some(me) = conf.myself() else { return false };
            let named = view.filter(|v| decide::inheritance(v, conf).is_some());
            // Whoever runs may know of another heir, named before the record was lost.
            if named.is_some_and(others_run) {
                return false;
            }
            let owner = !me.slots.is_empty() || named.is_some();
            // Without the registry only its master can tell a replica that it was named heir.
            let open = match view {
                Some(view) => {
                    let emptied = data && handed_on::master_is_empty(view, conf);
                    emptied || handed_on::open(view, conf).is_some()
                }
                None => me.master.is_some() && data,
            };
            !is_cut_off(conf) && !open && (!owner || data || files)
        }
    }
}

/// Whether nothing that the registry knows tells of a life before this blank disk.
fn is_new(view: &View) -> bool {
    let (own, before) = (view.members.get(&view.pod), view.before.as_ref());
    view.past.is_empty()
        && own.is_none_or(|m| m.was.is_none())
        && before.is_none_or(|b| !record::has_begun(&view.plan, b))
}

/// Whether somebody can be asked who may know more than a record that was rolled back.
fn others_run(view: &View) -> bool {
    let others = view.pods.iter().filter(|(name, _)| **name != view.pod);
    others.into_iter().any(|(_, pod)| pod.running && !pod.deleting)
}

/// Weighs it.
pub(super) fn weigh(weak: &Weak<'_>) -> Step {
    if weak.weighing.proposing.is_some() {
        return Step::Proposing;
    }
    match weak.file() {
        Some(file) => weak.with_file(file),
        None => weak.without_identity(),
    }
}

// === impl Weak ===

impl Weak<'_> {
    fn with_file(&self, mut file: NodesConf) -> Step {
        if let Some(refusal) = self.view.and_then(|v| decide::twin(v, &file)) {
            return Step::Done(refusal);
        }
        let Some(me) = file.myself().map(|me| me.id) else {
            return self.refuse(damaged("no own line"));
        };
        if let Some(step) = self.still_runs(me).or_else(|| self.handed_on(&file)) {
            return step;
        }
        let mut reason = self.reason();
        let named = match self.view {
            Some(view) => decide::inheritance(view, &file)
                .or_else(|| self.named_by_its_master(&file))
                .filter(|epoch| !self.another_took_over(&file, *epoch)),
            None => self.named_by_its_master(&file),
        };
        if let Some(epoch) = named
            && file.succeed(epoch).is_ok()
        {
            reason = "Succeeded";
        }
        let Some(me) = file.node(me).cloned() else { return self.refuse(damaged("no own line")) };
        if let Some((heir, epoch)) = self.dispossessed(&file, &me) {
            if self.data {
                let told = format!("{heir} owns this member's slots at epoch {epoch}; ");
                return self.as_replica_of(file, (heir, epoch), reason, &told, Severity::Normal);
            }
            return self.follow(file, heir, epoch);
        }
        if !me.is_master() || me.slots.is_empty() || self.data {
            return self.done(file, reason, "", Severity::Normal);
        }
        self.empty_owner(file, &me, reason)
    }

    /// Waits for a server that answers under this member's id: its disk is not needed to know that it
    /// takes writes.
    fn still_runs(&self, me: NodeId) -> Option<Step> {
        let (at, _) = self.weighing.by_id(me)?;
        if self.weighing.lasts(self.now) < TWIN_PATIENCE {
            return Some(Step::Wait(format!("the server at {at}, which runs as this member")));
        }
        Some(self.refuse(decide::runs_on(at)))
    }

    /// Whether any living member knows another heir of this replica's master, with an epoch that is no less.
    /// Unlike [`Self::succeeded_by`] one is enough: others may have this one in its place at the same epoch.
    fn another_took_over(&self, file: &NodesConf, epoch: u64) -> bool {
        let me = file.myself();
        let Some(master) = me.and_then(|me| file.node(me.master?)) else { return false };
        let another = |n: &Node| {
            let none_of_both = Some(n.id) != me.map(|me| me.id) && n.id != master.id;
            let above = n.is_master() && n.config_epoch >= epoch;
            none_of_both && above && !master.slots.is_empty() && covers(&n.slots, &master.slots)
        };
        self.weighing.living().any(|(_, server)| server.nodes.nodes().any(another))
    }

    /// The id that this member had, by its disk or by the record.
    fn own_id(&self) -> Option<NodeId> {
        match self.conf {
            Ok(Some(conf)) => conf.myself().map(|me| me.id),
            _ => {
                let by_mark = || self.remains.and(self.marked);
                let by_file = self.remains.and_then(|r| r.me).or_else(by_mark);
                let by_record = || self.remembered().map(|identity| identity.node_id);
                by_file
                    .or_else(by_record)
                    .or(self.weighing.force.as_ref().map(|f| f.of))
                    .or_else(|| self.the_one_missing())
                    .or_else(|| self.who_it_was_by_plan())
            }
        }
    }

    fn remembered(&self) -> Option<Identity> {
        let view = self.view?;
        let own = view.members.get(&view.pod).into_iter().chain(&view.before);
        let mut was = own.filter_map(|m| record::remembered(&view.plan, &view.name, &view.pod, m));
        was.next()
    }

    fn reason(&self) -> &'static str {
        match self.conf {
            Ok(Some(conf)) if !is_cut_off(conf) => "Repaired",
            _ if self.data => "Salvaged",
            Ok(None) => "Rebuilt",
            _ => "Salvaged",
        }
    }

    /// Whether members exist that have not answered yet: their steps or servers are starting.
    fn others_come(&self, view: &View) -> bool {
        let others = view.pods.iter().filter(|(name, pod)| **name != view.pod && !pod.deleting);
        others.count() > self.weighing.living().count()
    }

    fn patient(&self) -> bool {
        self.weighing.lasts(self.now) < WEIGH_PATIENCE
    }

    /// Whether members exist that have not answered yet, and it is not too late to wait for them.
    fn waits_for_others(&self) -> bool {
        self.patient() && self.view.is_some_and(|view| self.others_come(view))
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
            // Without its data it has no writes that somebody else could know better.
            hold_back: match self.conf {
                Ok(Some(conf)) if self.data && !is_cut_off(conf) => self.hold_back,
                _ => HoldBack::Forbidden,
            },
        }
    }

    // --- a disk that does not say who it belongs to ---

    fn without_identity(&self) -> Step {
        let Some(view) = self.view else {
            return self.refuse(match self.conf {
                Err(why) => damaged(why),
                Ok(Some(_)) => damaged(CUT_OFF),
                Ok(None) if self.data => orphaned(),
                Ok(None) => format!(
                    "this member has an empty disk and can not begin without the registry: {}",
                    self.away
                ),
            });
        };
        if matches!(self.conf, Err(_) | Ok(Some(_))) || self.data {
            if self.own_id().is_some() && self.waits_for_others() {
                return Step::Wait("a member that knows this one".to_owned());
            }
            return self.refuse(match self.conf {
                Err(why) => damaged(why),
                Ok(Some(_)) => damaged(CUT_OFF),
                Ok(None) => orphaned(),
            });
        }
        self.blank(view)
    }

    fn refuse(&self, why: String) -> Step {
        Step::Done(Decision::Refuse(why))
    }
}

/// Whether a file ends before its end: then the slots of its last lines can not be trusted.
fn is_cut_off(conf: &NodesConf) -> bool {
    conf.trust() == Trust::LinesMissing
}

/// Everybody whom the record knows, whether there now or earlier.
pub(crate) fn all_members(view: &View) -> BTreeMap<String, Member> {
    let mut all = view.earlier.clone();
    all.extend(view.members.iter().map(|(name, member)| (name.clone(), member.clone())));
    all
}

/// A view as proposals are judged by it.
pub(crate) fn standing<'a>(view: &'a View, members: &'a BTreeMap<String, Member>) -> Standing<'a> {
    Standing {
        set: &view.name,
        wanted: view.wanted(),
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
