//! A replica is taken out of the cluster and forgotten by all that run, while another member is down
//! whose nodes.conf still has it; then all are killed and come back.

use std::time::Duration;

use cluster::id::NodeId;
use cluster::resp::Reply;

use super::{EMPTIED, Part, formed};
use crate::cases::nobody_refuses;
use crate::client::Client;
use crate::set::{Control, Measured, Set, Shape};

/// By when a node that is gossiped has come to everybody.
const GOSSIPED: Duration = Duration::from_secs(3);

/// Nobody may know the node again, and no key may be lost.
pub(super) fn run(beside: &Set) -> Result<Measured, String> {
    let (back, _) = once(beside, Part::Nobody).map_err(|why| format!("control: {why}"))?;
    if back == 0 {
        return Err("the control has forgotten it too, so the case shows nothing".to_owned());
    }
    let (back_with, measured) = once(beside, Part::Mooring)?;
    if back_with > 0 {
        return Err(format!("{back_with} servers know the forgotten node again"));
    }
    Ok(Measured { control: Some(Control::Returns(back)), ..measured })
}

fn once(beside: &Set, part: Part) -> Result<(usize, Measured), String> {
    let mut set = formed(beside, &format!("forgotten-{part:?}"), Shape::USUAL)?;
    let name = set.fill()?;
    let masters = set.masters()?;
    let replicas: Vec<usize> = (0..set.members.len()).filter(|n| !masters.contains(n)).collect();
    let [gone, down, ..] = replicas[..] else { return Err("there are no two replicas".to_owned()) };
    let id = id_of(&set, gone)?;
    set.kill(|n| n == gone || n == down)?;
    for at in set.addresses() {
        match Client::connect(at, EMPTIED)?.ask(&["CLUSTER", "FORGET", id.as_str()])? {
            Reply::Error(e) if e.contains("Unknown node") => {}
            Reply::Error(e) => return Err(format!("{at} does not forget: {e}")),
            _ => {}
        }
    }
    set.members.get(gone).ok_or("there is no such member")?.wipe()?;
    if part == Part::Mooring {
        set.common.registry.forget(id);
    }
    set.kill(|_| true)?;
    set.swap_addresses();
    let outcomes = set.start_but(&[gone], &[])?;
    nobody_refuses(&outcomes)?;
    let last = outcomes.iter().filter_map(|o| o.started).max().ok_or("nobody was started")?;
    let servers = set.addresses();
    let writable = set.writable_at(&servers, super::ELECTED_AT_LAST)?;
    std::thread::sleep(GOSSIPED);
    let mut back = 0;
    for at in servers {
        let nodes = Client::connect(at, EMPTIED)?.text(&["CLUSTER", "NODES"])?;
        back += usize::from(nodes.contains(id.as_str()));
    }
    let seconds = writable.saturating_duration_since(last).as_secs_f64();
    Ok((back, Measured { seconds, lost: set.lost(&name)?, ..Measured::NOTHING }))
}

fn id_of(set: &Set, n: usize) -> Result<NodeId, String> {
    let at = set.members.get(n).ok_or("there is no such member")?.address();
    let id = Client::connect(at, EMPTIED)?.text(&["CLUSTER", "MYID"])?;
    id.parse().map_err(|e| format!("{at} has no id: {e}"))
}
