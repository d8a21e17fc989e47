//! A master is killed, and a stranger's empty server gets its address: a plain one, or a node of no
//! cluster. The master's pod comes back elsewhere.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use cluster::secret::Source;

use super::{
    ELECTED, EMPTIED, FREE_NODE, Part, emptied_of, formed_open, hooks, keys, replica_of, secret,
    with_the_secret,
};
use crate::client::Client;
use crate::ground;
use crate::set::{Control, Measured, Set};

const PORT: u16 = 6379;

/// What the stranger is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A server without a cluster.
    Plain,
    /// A cluster node that knows nobody.
    Node,
}

/// The control, then the same with Mooring's part.
pub(super) fn run(beside: &Set, kind: Kind) -> Result<Measured, String> {
    let lost = once(beside, kind, Part::Nobody).map_err(|why| format!("control: {why}"))?.lost;
    // Valkey 9 elects before anything is copied; on 8.1 it is a race between the two.
    let elects = ["valkey-8.1", "valkey-9"].iter().any(|v| beside.version.name.starts_with(v));
    let control = match kind {
        Kind::Node if elects => Control::MayLose(lost),
        _ => Control::Loses(lost),
    };
    Ok(Measured { control: Some(control), ..once(beside, kind, Part::Mooring)? })
}

fn once(beside: &Set, kind: Kind, part: Part) -> Result<Measured, String> {
    let mut set = formed_open(beside, &format!("stranger-{kind:?}-{part:?}"), |_| {})?;
    let name = set.fill()?;
    if part == Part::Mooring {
        with_the_secret(&set, ['a', 'b'])?;
    }
    let victim = set.a_master()?;
    let heir = replica_of(&set, victim)?;
    let before = keys(heir)?;
    let member = set.members.get(victim).ok_or("there is no such member")?;
    let (node, dir) = (member.at, member.dir.with_file_name("stranger"));
    set.kill(|n| n == victim)?;
    let began = Instant::now();
    let _stranger = Stranger::start(&set, node, kind, &dir)?;
    if part == Part::Nobody {
        return emptied_of(before, heir, began);
    }
    let elected = set.writable_at(&set.addresses(), ELECTED);
    let left = keys(heir)?;
    if left < before {
        return Err(format!("{heir} had {before} keys and has {left}: it has copied the stranger"));
    }
    // The pod comes back, and its address is taken.
    set.members.get_mut(victim).ok_or("there is no such member")?.at = FREE_NODE;
    let outcomes = [set.start_one(victim)?];
    let member = set.members.get_mut(victim).ok_or("there is no such member")?;
    member.wait_for_answer(EMPTIED)?;
    let at = member.address();
    hooks::look(at)?;
    hooks::settle(at, &secret('b')?, Source::Kept)?;
    let measured = set.measure(&outcomes, Some(&name))?;
    let seconds = match elected {
        Ok(at) => at.saturating_duration_since(began).as_secs_f64(),
        Err(_) => began.elapsed().as_secs_f64(),
    };
    set.wait_until_whole()?;
    Ok(Measured { seconds, lost: measured.lost.max(set.lost(&name)?), ..measured })
}

/// Somebody else's empty server at an address that the set had. Ends with the value.
struct Stranger(Child);

// === impl Stranger ===

impl Stranger {
    fn start(set: &Set, node: u8, kind: Kind, dir: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let port = PORT.to_string();
        let mut words = vec!["--port", port.as_str(), "--save", "", "--protected-mode", "no"];
        words.extend(["--repl-diskless-sync-delay", "0"]);
        if kind == Kind::Node {
            words.extend(["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"]);
        }
        let stranger = Self(set.stranger(node, &words, dir)?);
        let at = SocketAddr::new(ground::address(node), PORT);
        let began = Instant::now();
        while let Err(why) = Client::open(at, EMPTIED).and_then(|mut c| c.text(&["PING"])) {
            if began.elapsed() > EMPTIED {
                return Err(format!("the stranger does not answer: {why}"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(stranger)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
