//! Where a master is that its replica can not reach.
//!
//! Guarantees: it is called missing only where every pod that could be its is not there, or has no
//! machine to run on. A pod that runs by the API server's word is never missing, however long its
//! machine has been silent: it may still take writes.

use std::collections::BTreeSet;

use crate::id::{NodeId, Ordinal};
use crate::nodes::{Node, NodesConf};
use crate::protocol::{Member, Pod, SetSeen, View};
use crate::record;

/// Where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Whereabouts {
    /// Its pod is scheduled and does not run yet, or is being deleted.
    Comes,
    /// It runs, has registered, or is not due before this member is ready: nothing to do here.
    Elsewhere,
    /// It has no pod that could run; the text says how that is known.
    Missing(String),
}

/// Where the pod of this master is.
pub(super) fn whereabouts(view: &View, nodes: &NodesConf, master: NodeId) -> Whereabouts {
    let may_be = |name: &&str| !is_somebody_else(view, nodes, name, master);
    let mut pods: BTreeSet<&str> = known_pods(view, master).filter(may_be).collect();
    let all;
    if pods.is_empty() {
        // Its record is lost: it may be in any pod that has not registered as somebody else.
        all = view.wanted();
        let named = all.iter().chain(view.pods.keys()).map(String::as_str);
        pods.extend(named.filter(|name| *name != view.pod).filter(may_be));
    }
    let mut how = Vec::new();
    let mut comes = false;
    for name in pods {
        match of_pod(view, name) {
            Whereabouts::Elsewhere => return Whereabouts::Elsewhere,
            Whereabouts::Comes => comes = true,
            Whereabouts::Missing(why) => how.push(why),
        }
    }
    match (comes, how.is_empty()) {
        (true, _) => Whereabouts::Comes,
        (false, false) => Whereabouts::Missing(how.join(", ")),
        (false, true) => Whereabouts::Missing(format!("no pod of the set is the master {master}")),
    }
}

/// The pods that were this master when they registered last.
pub(super) fn known_pods(view: &View, master: NodeId) -> impl Iterator<Item = &str> {
    let all = view.members.iter().chain(&view.earlier);
    all.filter(move |(name, member)| is(view, name, member, master)).map(|(name, _)| name.as_str())
}

fn is(view: &View, name: &str, member: &Member, id: NodeId) -> bool {
    let was = record::known_identity(&view.plan, &view.name, name, member);
    member.node_id == Some(id) || was.is_some_and(|identity| identity.node_id == id)
}

/// Whether its present pod has said that it is another node, runs on a blank disk without having said so
/// (then it is a guest), or has the address of another node that answers: the record may be older than
/// this pod.
fn is_somebody_else(view: &View, nodes: &NodesConf, name: &str, master: NodeId) -> bool {
    let pod = view.pods.get(name);
    let registered = view.members.get(name).zip(pod);
    let another = |node: &Node| {
        let at = node.endpoint.address().map(|a| a.ip);
        let here = at.is_some_and(|ip| pod.is_some_and(|pod| pod.ips.contains(&ip)));
        here && node.answers() && node.id != master
    };
    registered.is_some_and(|(member, pod)| record::is_another(member, master, pod))
        || nodes.nodes().any(another)
}

fn of_pod(view: &View, name: &str) -> Whereabouts {
    let Some(pod) = view.pods.get(name) else {
        return absent(view, name);
    };
    if pod.running || view.members.get(name).is_some_and(|m| m.pod_uid == pod.uid) {
        return Whereabouts::Elsewhere;
    }
    if pod.deleting || pod.scheduled {
        return Whereabouts::Comes;
    }
    Whereabouts::Missing(format!("no machine takes the pod {name}"))
}

/// Where a pod is that is not there: where pods come one after the other, its controller makes it
/// once those before it are ready.
fn absent(view: &View, name: &str) -> Whereabouts {
    let ordered = |set: &&SetSeen| !set.parallel && set.pods().any(|pod| pod == name);
    if let Some(set) = view.sets().iter().find(ordered) {
        let ordinal = |pod: &str| Ordinal::of_pod(pod, &set.name);
        let before = |pod: &str| ordinal(pod).is_some_and(|o| Some(o) < ordinal(name));
        if before(&view.pod) {
            return Whereabouts::Elsewhere;
        }
        // In another set of the group nobody waits for this pod.
        let comes = |(pod, seen): (&String, &Pod)| before(pod) && !seen.ready && seen.scheduled;
        if ordinal(&view.pod).is_none() && view.pods.iter().any(comes) {
            return Whereabouts::Comes;
        }
    }
    Whereabouts::Missing(format!("the pod {name} is not there"))
}
