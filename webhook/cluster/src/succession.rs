//! Succession of a running replica: after an outage its master's pod does not come back, and no
//! engine ever elects a replica whose link to its master was not up since its start.
//!
//! The planner of what `post-start` does about it, sans IO like [`crate::planner`]: facts go in by
//! [`Succession::observe`], one action at a time comes out by [`Succession::poll`], `now` is given
//! with both.
//!
//! | what is known | what is done |
//! |---|---|
//! | a master; a replica whose link is or was up; one without keys; a master that runs or has registered | End |
//! | the master's pod is there and scheduled, or is being deleted | Wait |
//! | the master has no pod, or one that no machine takes, for a node timeout | the heir is named in the record |
//! | this member is named | it is made master: by vote once it is linked to a majority of masters, else by the record's word |
//!
//! Guarantees, whatever the facts and their order:
//! - nobody is made master before the record names it;
//! - nobody is named without data, and by itself nobody whose data are not known to be as new as
//!   the outage ([`evidence`]);
//! - nobody is named while the former master may run, or is about to;
//! - it ends in time: nobody is named who could not be made master before the deadline.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::id::NodeId;
use crate::nodes::NodesConf;
use crate::planner::{How, Inspected, Millis, has_majority};
use crate::protocol::{HeirPolicy, Proposal, Report, Succession as Named, View};
use crate::slot::covers;
use absence::Whereabouts;
use evidence::Evidence;

pub(crate) use evidence::{BOUND, Newness, TOGETHER, synced};
pub use words::Own;

mod absence;
mod evidence;
mod words;

/// How long a master's pod has to be seen missing without a break: a controller makes a deleted
/// pod anew within a second, and a scheduler finds it a machine in less.
pub const ABSENT_PATIENCE: Millis = Millis(2_000);
/// How long a majority of masters is waited for before the record decides alone.
pub const MAJORITY_PATIENCE: Millis = Millis(3_000);
/// How long one vote may take: as long as the engine itself tries (`CLUSTER_MF_TIMEOUT`).
pub const VOTE_PATIENCE: Millis = Millis(5_000);
/// How long a named heir may take to be master by the record's word.
const TAKEOVER_PATIENCE: Millis = Millis(2_000);
/// What is left before the deadline when the last heir is named.
const RESERVE: Millis = Millis(MAJORITY_PATIENCE.0 + TAKEOVER_PATIENCE.0);
/// How often the own server is asked.
const PAUSE: Millis = Millis(100);
/// How often the registry is.
const VIEW_PAUSE: Millis = Millis(500);
/// How often a vote is asked for again, where that helps.
const AGAIN: Millis = Millis(1_000);

/// What is known before anything is asked.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `cluster-node-timeout`: so long the engine itself would wait.
    pub node_timeout: Millis,
    /// When this has to have ended.
    pub deadline: Millis,
}

/// Something that was found out.
#[derive(Clone, Debug)]
pub enum Fact {
    /// What the servers at the addresses of [`Action::Inspect`] said.
    Inspected(Vec<Inspected>),
    /// What the own server said to [`Action::Look`].
    Looked(Result<Box<Own>, String>),
    /// The registry's answer to [`Action::Propose`].
    Proposed(Result<Box<View>, String>),
    /// The registry's answer to [`Action::View`].
    Viewed(Result<Box<View>, String>),
}

/// The one thing to do next. What brings a fact is asked again for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// That is all.
    End,
    /// Ask these servers what they and their cluster are, all at once, within a second.
    Inspect(BTreeSet<SocketAddr>),
    /// Ask the own server what it and its cluster are.
    Look,
    /// Make the own server the master of its shard. Whether it is taken is seen afterwards.
    Promote(How),
    /// Ask the registry for a change of the record.
    Propose(Proposal),
    /// Tell the registry what was done, or was not.
    Report(Report),
    /// Ask the registry what it knows.
    View,
    /// Do nothing until then.
    Wait(Millis),
}

/// The state machine of one server's start.
#[derive(Debug)]
pub struct Succession {
    setup: Setup,
    own: Option<Box<Own>>,
    looked: Option<Millis>,
    view: Option<Box<View>>,
    viewed: Option<Millis>,
    around: Option<Vec<Inspected>>,
    /// Since when the master has been seen missing, and how.
    missing: Option<(Millis, String)>,
    /// Why the last proposal was refused.
    refused: Option<String>,
    naming: Option<Naming>,
    reports: VecDeque<Report>,
    ended: bool,
}

/// This member is its master's heir by the record.
#[derive(Clone, Debug)]
struct Naming {
    from: NodeId,
    named: Named,
    since: Millis,
    votes: Option<(Millis, Millis)>,
    taken: Option<Millis>,
    settled: bool,
}

// === impl Succession ===

impl Succession {
    /// For one server that has just been started.
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            own: None,
            looked: None,
            view: None,
            viewed: None,
            around: None,
            missing: None,
            refused: None,
            naming: None,
            reports: VecDeque::new(),
            ended: false,
        }
    }

    /// Takes a fact in.
    pub fn observe(&mut self, now: Millis, fact: Fact) {
        match fact {
            Fact::Inspected(around) => self.around = Some(around),
            Fact::Looked(result) => self.own = result.ok(),
            Fact::Viewed(Ok(view)) | Fact::Proposed(Ok(view)) => self.view = Some(view),
            // Until it answers again nothing is known of the pods, which may have come.
            Fact::Viewed(Err(_)) => (self.view, self.missing) = (None, None),
            Fact::Proposed(Err(why)) => {
                self.refused = Some(why);
                // It was judged by what is known now, which may be more than this view says.
                (self.view, self.viewed) = (None, Some(now));
            }
        }
    }

    /// What to do now.
    pub fn poll(&mut self, now: Millis) -> Action {
        if !self.ended && self.reports.is_empty() {
            match self.next(now) {
                Some(action) => return action,
                None => self.ended = true,
            }
        }
        self.reports.pop_front().map_or(Action::End, Action::Report)
    }

    /// The next action; `None` when there is none any more.
    fn next(&mut self, now: Millis) -> Option<Action> {
        if self.looked.is_none_or(|at| now.0 >= at.0 + PAUSE.0) {
            self.looked = Some(now);
            return Some(Action::Look);
        }
        let Some(own) = self.own.clone() else { return self.wait(now) };
        if self.naming.is_some() {
            return self.act(now, &own);
        }
        let master = own.master_out_of_reach()?;
        if self.viewed.is_none_or(|at| now.0 >= at.0 + VIEW_PAUSE.0) {
            self.viewed = Some(now);
            return Some(Action::View);
        }
        let Some(view) = self.view.clone() else { return self.wait(now) };
        let me = own.nodes.myself()?.id;
        if let Some(named) = named(&view, &own.nodes, master) {
            if named.heir != me {
                return None;
            }
            self.naming = Some(Naming {
                from: master,
                named: named.clone(),
                since: now,
                votes: None,
                taken: None,
                settled: false,
            });
            return self.act(now, &own);
        }
        match absence::whereabouts(&view, &own.nodes, master) {
            Whereabouts::Elsewhere => return None,
            Whereabouts::Comes => {
                self.missing = None;
                return self.wait(now);
            }
            Whereabouts::Missing(how) => {
                self.missing.get_or_insert((now, how));
            }
        }
        let seen = self.missing.as_ref().map_or(now, |(since, _)| *since);
        let early = own.uptime < self.setup.node_timeout || now.0 < seen.0 + ABSENT_PATIENCE.0;
        if early || own.has_heard_of(master) {
            return self.wait(now);
        }
        self.judge(now, &own, &view, me, master)
    }

    /// The master is missing for good: is this member its heir?
    fn judge(
        &mut self,
        now: Millis,
        own: &Own,
        view: &View,
        me: NodeId,
        master: NodeId,
    ) -> Option<Action> {
        if view.heirs == HeirPolicy::Never {
            return self.refuse("mooring.dev/succession is never", view);
        }
        let Some(around) = &self.around else {
            return Some(Action::Inspect(evidence::around(view)));
        };
        if view.heirs == HeirPolicy::Fresh {
            match evidence::weigh(view, me, master, around) {
                Evidence::Fresh => {}
                Evidence::NotYet => {
                    self.around = None;
                    return self.wait(now);
                }
                Evidence::Unknown(why) => return self.refuse(&why, view),
            }
        }
        if let Some(better) = evidence::better(view, me, master, own.offset, around) {
            self.refused = Some(format!("{better} has more of its data"));
            return self.wait(now);
        }
        if now.0 + RESERVE.0 > self.setup.deadline.0 {
            let why = self.refused.take();
            let short = || "the time that is left is too short for an election".to_owned();
            return self.refuse(&why.unwrap_or_else(short), view);
        }
        let slots = own.nodes.node(master).map(|n| n.slots.clone()).unwrap_or_default();
        if slots.is_empty() {
            return None;
        }
        let how = self.missing.as_ref().map_or("", |(_, how)| how);
        let reason = format!("{how}, and its replica {} has its data", view.pod);
        let epoch = evidence::highest_epoch(view, own).saturating_add(1);
        let succession = Named { heir: me, slots, epoch, held: None, reason };
        Some(Action::Propose(Proposal::Succeed { from: master, succession }))
    }

    /// The record names this member: it is made master, however long it takes.
    fn act(&mut self, now: Millis, own: &Own) -> Option<Action> {
        let deadline = self.setup.deadline;
        let naming = self.naming.as_mut()?;
        let me = own.nodes.myself()?;
        if own.master.is_none() {
            if !covers(&me.slots, &naming.named.slots) {
                return self.wait(now);
            }
            let by = match (naming.taken, naming.votes) {
                (Some(_), _) => "by the record's word",
                (None, Some(_)) => "by vote",
                (None, None) => "by itself",
            };
            let told = format!(
                "{}: master of {} slots at epoch {} {by}",
                naming.named.reason,
                naming.named.slots.iter().map(|s| s.count()).sum::<u32>(),
                me.config_epoch
            );
            // The engine has an epoch of its own: what the record says has to be true in all later
            // comparisons.
            if me.config_epoch != naming.named.epoch && !naming.settled {
                naming.settled = true;
                let succession = Named { epoch: me.config_epoch, ..naming.named.clone() };
                return Some(Action::Propose(Proposal::Succeed { from: naming.from, succession }));
            }
            self.reports.push_back(Report::normal("Succeeded", &told));
            return None;
        }
        if own.master != Some(naming.from) {
            return None;
        }
        let late = now >= deadline;
        if let Some(taken) = naming.taken {
            if now.0 < taken.0 + TAKEOVER_PATIENCE.0 {
                return Some(Action::Wait(Millis(now.0 + PAUSE.0)));
            }
            let why = format!(
                "the record names this member heir of {} and its server does not become master: \
                 delete its pod, and its next start takes over by file",
                naming.from
            );
            self.reports.push_back(Report::warning("NotSucceeded", &why));
            return None;
        }
        if has_majority(&own.nodes, naming.from) && !late {
            match naming.votes {
                None => {
                    naming.votes = Some((now, now));
                    return Some(Action::Promote(How::Vote));
                }
                Some((first, last)) if now.0 < first.0 + VOTE_PATIENCE.0 => {
                    if own.votes_anew && now.0 >= last.0 + AGAIN.0 {
                        naming.votes = Some((first, now));
                        return Some(Action::Promote(How::Vote));
                    }
                    return Some(Action::Wait(Millis(now.0 + PAUSE.0)));
                }
                Some(_) => {}
            }
        } else if now.0 < naming.since.0 + MAJORITY_PATIENCE.0 && !late {
            return Some(Action::Wait(Millis(now.0 + PAUSE.0)));
        }
        naming.taken = Some(now);
        Some(Action::Promote(How::Record))
    }

    /// Looks again in a moment, until the deadline.
    fn wait(&mut self, now: Millis) -> Option<Action> {
        if now < self.setup.deadline {
            return Some(Action::Wait(Millis(now.0 + PAUSE.0)));
        }
        if let (Some(_), Some(view)) = (&self.missing, self.view.clone()) {
            let why = self.refused.clone();
            let why = why.unwrap_or_else(|| "its time to come back is not over".to_owned());
            return self.refuse(&why, &view);
        }
        None
    }

    /// Says what is known, and how a person decides.
    fn refuse(&mut self, why: &str, view: &View) -> Option<Action> {
        let how = self.missing.as_ref().map_or("the master is missing", |(_, how)| how);
        let View { namespace, name, pod, .. } = view;
        self.reports.push_back(Report::warning(
            "NotSucceeded",
            &format!(
                "{how}; its replica {pod} was not made master: {why}. The slots stay down until the \
                 master is back, or somebody decides: `mooring promote -n {namespace} {name} {pod}`"
            ),
        ));
        None
    }
}

/// The succession of this master, unless it has its slots again since.
fn named<'a>(view: &'a View, nodes: &NodesConf, master: NodeId) -> Option<&'a Named> {
    let epoch = nodes.node(master).map_or(0, |n| n.config_epoch);
    view.successions.get(&master).filter(|s| s.epoch > epoch)
}

#[cfg(test)]
mod tests;
