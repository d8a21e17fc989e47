//! The decision about a sound disk: one with an identity, and with data or without slots to own;
//! and about a blank one of a set without a past.
//!
//! | disk | what is known | decision |
//! |---|---|---|
//! | blank | the set has no past, the plan seats this ordinal | Bootstrap |
//! | blank | beyond the plan | Guest |
//! | nodes.conf | its id lives in another pod of the set | Refuse |
//! | nodes.conf, replica | the record names it its master's heir | Succeed |
//! | nodes.conf, master | a registered disk or the record gives its slots to another at a higher epoch | Step down |
//! | nodes.conf, master | the set has stopped and nobody else has come yet | Repair, held back |
//! | nodes.conf | else | Repair |
//!
//! All other starts are weighed ([`super::weigh`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::HoldBack;
use crate::id::NodeId;
use crate::net::Address;
use crate::nodes::edit::Changes;
use crate::nodes::{Node, NodesConf, Target};
use crate::protocol::{Identity, REFUSED, Report, Role, Severity, View};
use crate::slot::covers;

/// What is known of a start on a sound disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sound<'a> {
    /// The disk's file, with this set's ids; `None` on a blank disk.
    pub(super) conf: Option<&'a NodesConf>,
    /// The pod's address.
    pub(super) own: Address,
    /// The addresses that are certain, by node id.
    pub(super) peers: &'a BTreeMap<NodeId, Address>,
    /// The registry's answer, if it came.
    pub(super) view: Option<&'a View>,
    /// Which engine will read the file.
    pub(super) target: Target,
    /// Whether it is held back, being a master that finds nobody.
    pub(super) hold_back: HoldBack,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// Write the plan's file.
    Bootstrap(NodesConf),
    /// Let the server start as a node of its own, without slots.
    Guest {
        /// The file: its id is known, and marked as this set's, before a copy of the disk can be made.
        conf: NodesConf,
        /// Why it has no seat.
        why: String,
    },
    /// End with this sentence.
    Refuse(String),
    /// Write this file.
    Rewrite {
        /// The file.
        conf: NodesConf,
        /// In CamelCase, such as `Repaired`.
        reason: &'static str,
        /// What was changed.
        message: String,
        /// How loud it is told.
        severity: Severity,
    },
}

// === impl Decision ===

impl Decision {
    /// The file to write, if there is one.
    pub(super) fn conf(&self) -> Option<&NodesConf> {
        match self {
            Self::Bootstrap(conf) | Self::Guest { conf, .. } | Self::Rewrite { conf, .. } => {
                Some(conf)
            }
            Self::Refuse(_) => None,
        }
    }

    /// What the registry is told.
    pub(super) fn report(&self) -> Report {
        match self {
            Self::Bootstrap(_) => Report {
                bootstrapped: true,
                ..Report::normal("Bootstrapped", "wrote the plan's nodes.conf on an empty disk")
            },
            Self::Guest { why, .. } => Report::warning("StartedAsGuest", why),
            Self::Refuse(why) => Report::warning(REFUSED, why),
            Self::Rewrite { conf, reason, message, severity } => Report {
                severity: *severity,
                node_id: conf.myself().map(|me| me.id),
                ..Report::normal(reason, message)
            },
        }
    }
}

/// Decides.
pub(super) fn decide(sound: &Sound<'_>) -> Decision {
    match (sound.conf, sound.view) {
        (Some(conf), view) => resume(sound, conf, view),
        (None, Some(view)) => begin(sound, view),
        (None, None) => {
            Decision::Refuse("an empty disk can not be begun without the registry".into())
        }
    }
}

/// A blank disk of a set without a past.
pub(super) fn begin(sound: &Sound<'_>, view: &View) -> Decision {
    let Sound { own, peers, target, .. } = *sound;
    match NodesConf::bootstrap(&view.plan, view.ordinal, own, peers, target.format()) {
        Some(mut conf) => {
            // Its master has come back without its disk before this one has begun: nobody of the shard
            // has anything, and the master waits as this one's replica.
            let inherits = inheritance(view, &conf);
            if let Some((pod, of)) = inherits.and_then(|_| mate_with_data(view, &conf)) {
                return Decision::Refuse(format!(
                    "the record names this member heir of {of}, its disk is empty, and {pod} has data of \
                     that shard: let a person decide, by `mooring promote -n {} {} {pod}`",
                    view.namespace, view.name
                ));
            }
            let changed = match inherits {
                Some(epoch) => {
                    conf.succeed(epoch).map_err(|why| format!("can not take over: {why}"))
                }
                None => step_down(view, &mut conf).map(drop),
            };
            changed.map_or_else(Decision::Refuse, |()| Decision::Bootstrap(conf))
        }
        None => {
            let why = format!("the plan seats {} pods and this is one more", view.plan.pods());
            guest(view, own, why)
        }
    }
}

/// Another replica of this one's master that has registered with data.
fn mate_with_data<'a>(view: &'a View, conf: &NodesConf) -> Option<(&'a str, NodeId)> {
    let of = conf.myself()?.master?;
    let mut mates = view.members.iter().filter(|(name, m)| {
        let follows = |i: &Identity| i.role == Role::Replica { of };
        **name != view.pod && m.disk.data && m.disk.identity.as_ref().is_some_and(follows)
    });
    mates.next().map(|(name, _)| (name.as_str(), of))
}

/// A blank disk that has no seat in the plan, or a past that is not known.
pub(super) fn guest(view: &View, own: Address, why: String) -> Decision {
    let entry = view.members.get(&view.pod);
    let id = view.plan.guest_id(entry.map_or("", |m| &m.pod_uid));
    Decision::Guest { conf: NodesConf::guest(id, own), why }
}

fn resume(sound: &Sound<'_>, conf: &NodesConf, view: Option<&View>) -> Decision {
    let mut new = conf.clone();
    if let Some(refusal) = view.and_then(|v| twin(v, &new)) {
        return refusal;
    }
    let mut told = String::new();
    let mut reason = "Repaired";
    if let Some(view) = view {
        if let Some(epoch) = inheritance(view, &new) {
            match new.succeed(epoch) {
                Ok(()) => {
                    reason = "Succeeded";
                    told = format!("the record names it its master's heir at epoch {epoch}; ");
                }
                Err(why) => return Decision::Refuse(format!("can not take over: {why}")),
            }
        } else if let Some(epoch) = new.myself().and_then(|me| owns_again(view, me)) {
            new.own_from(epoch);
            reason = "Succeeded";
            told = format!("the record has given its slots back to it at epoch {epoch}; ");
        } else {
            match step_down(view, &mut new) {
                Err(why) => return Decision::Refuse(why),
                Ok(None) => {}
                Ok(Some((heir, epoch))) => {
                    reason = "SteppedDown";
                    told = format!("{heir} owns this member's slots at epoch {epoch}; ");
                }
            }
        }
    }
    finish(sound, new, reason, &told, Severity::Normal)
}

/// Makes a master the replica of whoever has its slots by now, and says of whom.
fn step_down(view: &View, conf: &mut NodesConf) -> Result<Option<(NodeId, u64)>, String> {
    let above = conf.myself().and_then(|me| owner_above(view, me));
    let Some((heir, epoch)) = above else { return Ok(None) };
    conf.step_down(heir, epoch).map_err(|unknown| {
        format!(
            "the node {} owns this member's slots at epoch {epoch} and is not in its nodes.conf: start \
             it first, or join this member by hand",
            unknown.0
        )
    })?;
    Ok(above)
}

/// What is said while another server runs under this member's id.
pub(super) fn runs_on(at: std::net::SocketAddr) -> String {
    format!(
        "a server at {at} still runs as this member: the pod before this one was deleted by force and \
         has not ended; end it, then this pod starts"
    )
}

/// Another pod of the set that runs under this file's id.
pub(super) fn twin(view: &View, conf: &NodesConf) -> Option<Decision> {
    let id = conf.myself()?.id;
    let other = living_twin(view, id)?;
    Some(Decision::Refuse(format!(
        "the node id {id} on the disk of {} is also that of the running pod {other}: two pods share \
         one volume or a copy of it; give each its own",
        view.pod
    )))
}

/// Brings a file up to date: addresses, stale flags, forgotten ids; holds a lone master back.
pub(super) fn finish(
    sound: &Sound<'_>,
    mut conf: NodesConf,
    reason: &'static str,
    told: &str,
    severity: Severity,
) -> Decision {
    let damage = conf.damage().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let mut message = told.to_owned();
    if let Some(view) = sound.view {
        conf.forget(&view.forgotten);
    }
    // A replica of nobody: an engine would make up its master, and Valkey 9.0 crashes on hearing
    // from that one (`nodeIsPrimary(sender)` in `cluster_legacy.c`). Others say where it belongs.
    let orphans = conf.nodes().filter(|n| n.master.is_some_and(|of| conf.node(of).is_none()));
    let orphans = orphans.map(|n| n.id).collect();
    conf.forget(&orphans);
    let changes = conf.repair(sound.own, sound.peers);
    conf.adapt(sound.target);
    message += &describe(&changes);
    if !damage.is_empty() {
        let _ = write!(message, "; damage found: {damage}");
    }
    let owner = conf.myself().is_some_and(|me| me.is_master() && !me.slots.is_empty());
    let may = sound.hold_back == HoldBack::Allowed;
    if owner && may && conf.hold_back() {
        message += "; finding nobody, it takes no writes until it has met others, since one of them \
                    may know better";
    }
    Decision::Rewrite { conf, reason, message, severity }
}

/// Another pod of the set that runs now and registered under the same id.
fn living_twin(view: &View, id: NodeId) -> Option<&str> {
    let twin = view.members.iter().find(|(name, member)| {
        let pod = view.pods.get(*name);
        **name != view.pod
            && member.node_id == Some(id)
            && pod.is_some_and(|p| p.uid == member.pod_uid && !p.deleting)
    });
    twin.map(|(name, _)| name.as_str())
}

/// Who owns by the record what a node has owned since this epoch: its heir, that one's heir, and so on.
pub(super) fn owner_by_record(view: &View, id: NodeId, epoch: u64) -> (NodeId, u64) {
    let mut owner = (id, epoch);
    // Epochs rise, so that it ends.
    while let Some(next) = view.successions.get(&owner.0).filter(|s| s.epoch > owner.1) {
        owner = (next.heir, next.epoch);
    }
    owner
}

/// The epoch at which the record has given a master its own slots back.
fn owns_again(view: &View, me: &Node) -> Option<u64> {
    let (owner, epoch) = owner_by_now(view, me)?;
    (owner == me.id && epoch > me.config_epoch).then_some(epoch)
}

/// The epoch at which the record makes this replica its master's heir, if it does and nobody has
/// inherited from it since.
pub(super) fn inheritance(view: &View, conf: &NodesConf) -> Option<u64> {
    let me = conf.myself()?;
    let master = conf.node(me.master?)?;
    let (owner, epoch) = owner_by_record(view, master.id, master.config_epoch);
    (owner == me.id).then_some(epoch)
}

/// The node that has this master's slots at a higher epoch.
pub(super) fn owner_above(view: &View, me: &Node) -> Option<(NodeId, u64)> {
    owner_by_now(view, me).filter(|(owner, epoch)| *owner != me.id && *epoch > me.config_epoch)
}

/// The node that has this master's slots at the highest epoch, by its own word, a registered disk's or
/// the record's: what a disk owned may have been inherited since. A disk has to have all of them: part
/// of them is a resharding under way, which the engines settle among themselves.
fn owner_by_now(view: &View, me: &Node) -> Option<(NodeId, u64)> {
    if !me.is_master() || me.slots.is_empty() {
        return None;
    }
    let owns = |id: &Identity| {
        let above = id.node_id != me.id && id.config_epoch > me.config_epoch;
        id.role == Role::Master && above && covers(&id.slots, &me.slots)
    };
    let disks = view.members.values().chain(view.earlier.values());
    let disks = disks.filter_map(|m| m.disk.identity.as_ref()).filter(|id| owns(id));
    let known = disks.map(|id| (id.node_id, id.config_epoch)).chain([(me.id, me.config_epoch)]);
    known.map(|(id, epoch)| owner_by_record(view, id, epoch)).max_by_key(|owner| owner.1)
}

fn describe(changes: &Changes) -> String {
    let mut parts = Vec::new();
    let mut count = |n: usize, what: &str| {
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    };
    count(changes.moved.len(), "addresses set");
    count(changes.unknown.len(), "addresses not known yet");
    count(changes.unflagged.len(), "stale flags taken away");
    count(changes.dropped.len(), "unfinished handshakes dropped");
    if parts.is_empty() { "nothing to change".to_owned() } else { parts.join(", ") }
}
