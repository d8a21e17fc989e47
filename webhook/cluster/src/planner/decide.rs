//! The decision: which row of the table a start is.
//!
//! | disk | what is known | decision |
//! |---|---|---|
//! | nothing | the set has no past, the plan seats this ordinal | Bootstrap |
//! | nothing | a past, or beyond the plan | Guest |
//! | nothing | the registry is away | Refuse, and try again |
//! | data, no nodes.conf | | Refuse |
//! | nodes.conf | its id lives in another pod of the set | Refuse |
//! | nodes.conf, master | another member's disk owns its slots at a higher epoch | Step down |
//! | nodes.conf | else | Repair |

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::id::NodeId;
use crate::net::Address;
use crate::nodes::edit::Changes;
use crate::nodes::{Format, Node, NodesConf};
use crate::protocol::{Identity, Report, Role, View};

/// What the registry adds to the disk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Knowledge<'a> {
    /// Its answer.
    View(&'a View),
    /// None came, and why.
    Away(&'a str),
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Decision {
    /// Write the plan's file.
    Bootstrap {
        /// The file.
        text: String,
    },
    /// Let the server start as a node of its own, without slots.
    Guest {
        /// Why it has no seat.
        why: String,
    },
    /// End with this sentence.
    Refuse(String),
    /// Write the disk's own file with changes.
    Rewrite {
        /// The file.
        text: String,
        /// `Repaired` or `SteppedDown`.
        reason: &'static str,
        /// What was changed.
        message: String,
    },
}

// === impl Decision ===

impl Decision {
    /// The file to write, if there is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Bootstrap { text } | Self::Rewrite { text, .. } => Some(text),
            Self::Guest { .. } | Self::Refuse(_) => None,
        }
    }

    /// What the registry is told.
    pub(super) fn report(&self) -> Report {
        match self {
            Self::Bootstrap { .. } => Report {
                bootstrapped: true,
                ..Report::normal("Bootstrapped", "wrote the plan's nodes.conf on an empty disk")
            },
            Self::Guest { why } => Report::warning("StartedAsGuest", why),
            Self::Refuse(why) => Report::warning("Refused", why),
            Self::Rewrite { reason, message, .. } => Report::normal(reason, message),
        }
    }
}

/// Decides. `peers` holds the addresses that are certain, by node id.
pub(super) fn decide(
    conf: Option<&NodesConf>,
    data: bool,
    own: Address,
    peers: &BTreeMap<NodeId, Address>,
    knowledge: Knowledge<'_>,
    format: Format,
) -> Decision {
    match (conf, knowledge) {
        (None, _) if data => Decision::Refuse(
            "there are data files and no nodes.conf, so nobody knows which slots they belong to: \
             put the nodes.conf back that belongs to them, or move the data files away"
                .to_owned(),
        ),
        (None, Knowledge::Away(why)) => Decision::Refuse(format!(
            "this member has an empty disk and can not begin without the registry: {why}"
        )),
        (None, Knowledge::View(view)) => begin(view, own, peers, format),
        (Some(conf), knowledge) => {
            let view = match knowledge {
                Knowledge::View(view) => Some(view),
                Knowledge::Away(_) => None,
            };
            resume(conf, own, peers, view)
        }
    }
}

fn begin(view: &View, own: Address, peers: &BTreeMap<NodeId, Address>, format: Format) -> Decision {
    let guest = |why: String| Decision::Guest { why };
    if let Some(past) = view.past.first() {
        return guest(format!("the disk is empty and the cluster may have a past: {past}"));
    }
    if view.before.as_ref().is_some_and(|m| m.bootstrapped) {
        return guest(
            "this member has begun before and its disk is empty now, so it starts without slots"
                .to_owned(),
        );
    }
    match NodesConf::bootstrap(&view.plan, view.ordinal, own, peers, format) {
        Some(conf) => Decision::Bootstrap { text: conf.to_string() },
        None => guest(format!("the plan seats {} pods and this is one more", view.plan.pods())),
    }
}

fn resume(
    conf: &NodesConf,
    own: Address,
    peers: &BTreeMap<NodeId, Address>,
    view: Option<&View>,
) -> Decision {
    let Some(me) = conf.myself() else {
        return Decision::Refuse("nodes.conf has no line of its own".to_owned());
    };
    if let Some(other) = view.and_then(|v| living_twin(v, me.id)) {
        return Decision::Refuse(format!(
            "the node id {} on this disk is also that of the running pod {other}: two pods share \
             one volume or a copy of it; give each its own",
            me.id
        ));
    }
    let mut conf_new = conf.clone();
    let heir = view.and_then(|v| owner_at_higher_epoch(v, me));
    if let Some((heir, epoch)) = heir
        && let Err(unknown) = conf_new.step_down(heir, epoch)
    {
        return Decision::Refuse(format!(
            "the node {} owns this member's slots at epoch {epoch} and is not in its nodes.conf: \
             start it first, or join this member by hand",
            unknown.0
        ));
    }
    let changes = conf_new.repair(own, peers);
    let text = conf_new.to_string();
    let damage = conf.damage().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let mut message = describe(&changes);
    if !damage.is_empty() {
        let _ = write!(message, "; damage found: {damage}");
    }
    match heir {
        Some((heir, epoch)) => Decision::Rewrite {
            text,
            reason: "SteppedDown",
            message: format!("{heir} owns this member's slots at epoch {epoch}; {message}"),
        },
        None => Decision::Rewrite { text, reason: "Repaired", message },
    }
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

/// The master that has this member's slots on its disk at a higher epoch. It has to have all of
/// them: part of them is a resharding under way, which the engines settle among themselves.
fn owner_at_higher_epoch(view: &View, me: &Node) -> Option<(NodeId, u64)> {
    if !me.is_master() || me.slots.is_empty() {
        return None;
    }
    let owns = |id: &Identity| {
        id.role == Role::Master
            && id.node_id != me.id
            && id.config_epoch > me.config_epoch
            && me.slots.iter().all(|mine| {
                id.slots.iter().any(|s| s.start() <= mine.start() && mine.end() <= s.end())
            })
    };
    let identities = view.members.values().filter_map(|m| m.disk.identity.as_ref());
    identities.filter(|id| owns(id)).map(|id| (id.node_id, id.config_epoch)).max_by_key(|o| o.1)
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
