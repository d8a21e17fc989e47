//! A rolling change of passwords, replicas first.
//!
//! Guarantees: post-start of the first pod promotes nobody, although it can log in to no other member;
//! what its gate reads of the server says all the while that it is to be held (only the link does: the
//! state of the cluster is ok); what the user has set is as it was; and with the rollout held there, a
//! master of another shard that dies is replaced. In the control the rollout goes on, all replicas get
//! the new password, and the same death leaves the slots without an owner.

use std::thread;
use std::time::{Duration, Instant};

use cluster::id::NodeId;
use cluster::nodes::NodesConf;
use cluster::secret::{self, Stand, Why};

use super::{ELECTED_AT_LAST, EMPTIED, HANGS, formed, hook, replica_of};
use crate::cases::nobody_refuses;
use crate::client::Client;
use crate::member::Door;
use crate::set::{Control, Measured, Set, Shape};

const NEW: &str = "changed";
/// Two node timeouts: whoever is promoted because of it is promoted by then.
const WATCHED: Duration = Duration::from_secs(10);

/// The control, then the same with the rollout held; the set's own password again afterwards.
pub(super) fn run(beside: &Set) -> Result<Measured, String> {
    let control = control(beside).map_err(|why| format!("control: {why}"))?;
    let mut set = formed(beside, "passwords", Shape::USUAL)?;
    let name = set.fill()?;
    let before = owners(&set)?;
    let first = *replicas(&set)?.last().ok_or("nobody is a replica")?;
    let victim = master_of_another(&set, first)?;
    let mut server = rolled(&mut set, first)?;
    let member = set.members.get(first).ok_or("there is no such member")?;
    let (held_at, hook) =
        (member.address(), hook::start(&set.common, &member.pod, member.address(), NEW));
    held(&mut server)?;
    let reports = hook.join().map_err(|_| "the hook panicked")??;
    if !reports.is_empty() {
        return Err(format!("the hook has something to say of it: {reports:?}"));
    }
    match secret::read(&mut server)? {
        Stand::HandsOff(Why::Configured | Why::Unable) => {}
        other => return Err(format!("the user's own passwords are not left alone: {other:?}")),
    }
    let after = owners(&set)?;
    if after != before {
        return Err(format!("somebody was promoted: {before:?} were masters, now {after:?}"));
    }

    // Nobody else was restarted, so the other shards are as safe as they were.
    set.kill(|n| n == victim)?;
    let began = Instant::now();
    let servers: Vec<_> = set.addresses().into_iter().filter(|at| *at != held_at).collect();
    let until = set.writable_at(&servers, ELECTED_AT_LAST)?;
    let seconds = until.saturating_duration_since(began).as_secs_f64();
    nobody_refuses(&[set.start_one(victim)?])?;

    set.members.get_mut(first).ok_or("there is no such member")?.door = Door::Locked;
    let last = set.restart_in_place(first)?;
    set.wait_until_whole()?;
    let whole = last.elapsed().as_secs_f64();
    let lost = set.lost(&name)?;
    Ok(Measured { seconds, whole, lost, control: Some(control), ..Measured::NOTHING })
}

/// Nobody holds the rollout: when all replicas have the new password a master's pod goes.
fn control(beside: &Set) -> Result<Control, String> {
    let mut set = formed(beside, "passwords-control", Shape::USUAL)?;
    set.fill()?;
    let masters = set.masters()?;
    for replica in replicas(&set)?.into_iter().rev() {
        rolled(&mut set, replica)?;
    }
    let [victim, witness, ..] = masters[..] else { return Err("there are no two masters".into()) };
    let witness = set.members.get(witness).ok_or("there is no such member")?.address();
    let state = || Client::connect(witness, EMPTIED)?.text(&["CLUSTER", "INFO"]);
    if !state()?.contains("cluster_state:ok") {
        return Err("the state is not ok, so somebody would have seen it".to_owned());
    }
    set.kill(|n| n == victim)?;
    thread::sleep(HANGS);
    // It is to a master without some slots, and would be ok if another had them.
    match state()?.contains("cluster_state:fail") {
        true => Ok(Control::Hangs),
        false => Err("somebody was elected without Mooring, so the case shows nothing".to_owned()),
    }
}

/// A member is restarted with the new password, and is a replica again.
pub(super) fn rolled(set: &mut Set, replica: usize) -> Result<Client, String> {
    let member = set.members.get_mut(replica).ok_or("there is no such member")?;
    member.door = Door::Other(NEW);
    let at = member.address();
    set.restart_in_place(replica)?;
    let began = Instant::now();
    loop {
        let server = Client::open(at, EMPTIED).and_then(|mut client| {
            client.log_in(NEW)?;
            // Until its first round of the cluster's clock it does not know that it is a replica.
            let said = client.info("replication")?;
            let known = said.get("role").is_some_and(|role| role == "slave");
            known.then_some(client).ok_or_else(|| format!("{at} is no replica"))
        });
        match server {
            Err(_) if began.elapsed() < EMPTIED => thread::sleep(Duration::from_millis(20)),
            other => return other,
        }
    }
}

/// Whether the gate would hold this server's pod, by the link alone.
pub(super) fn held(server: &mut Client) -> Result<(), String> {
    let mut ok = 0;
    let began = Instant::now();
    while began.elapsed() < WATCHED {
        let said = server.info("replication")?;
        let is = |name: &str, value: &str| said.get(name).is_some_and(|v| v == value);
        if !is("role", "slave") || is("master_link_status", "up") {
            return Err(format!("the rollout is not held: {said:?}"));
        }
        let state = server.text(&["CLUSTER", "INFO"])?;
        ok += usize::from(state.contains("cluster_state:ok"));
        thread::sleep(Duration::from_millis(100));
    }
    match ok {
        0 => Err("the state was never ok: it would have held the rollout as well".to_owned()),
        _ => Ok(()),
    }
}

/// Who owns slots, by a master's word.
fn owners(set: &Set) -> Result<Vec<NodeId>, String> {
    let at = set.members.get(set.a_master()?).ok_or("there is no such member")?.address();
    owners_in(&Client::connect(at, EMPTIED)?.text(&["CLUSTER", "NODES"])?)
}

/// Who owns slots, by a server's CLUSTER NODES.
pub(super) fn owners_in(nodes: &str) -> Result<Vec<NodeId>, String> {
    let nodes = NodesConf::parse(nodes.as_bytes()).map_err(|e| e.to_string())?;
    let owners = nodes.nodes().filter(|n| n.is_master() && !n.slots.is_empty());
    let mut ids: Vec<NodeId> = owners.map(|n| n.id).collect();
    ids.sort_unstable();
    Ok(ids)
}

pub(super) fn replicas(set: &Set) -> Result<Vec<usize>, String> {
    let masters = set.masters()?;
    Ok((0..set.members.len()).filter(|n| !masters.contains(n)).collect())
}

fn master_of_another(set: &Set, replica: usize) -> Result<usize, String> {
    let at = set.members.get(replica).ok_or("there is no such member")?.address();
    for master in set.masters()? {
        if replica_of(set, master)? != at {
            return Ok(master);
        }
    }
    Err("there is no other master".to_owned())
}
