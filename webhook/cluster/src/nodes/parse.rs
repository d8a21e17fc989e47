//! Reading nodes.conf: strict where an engine would abort or crash, lenient nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::End;
use super::{Damage, Endpoint, Flag, Line, Node, NodesConf, NodesError, Trust, Vars};
use crate::id::NodeId;
use crate::slot::SlotRange;

/// A file larger than this is refused: 1,000 nodes with every slot range of its own take 2 MB.
pub const MAX_BYTES: usize = 16 << 20;

/// Whose words are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    /// A file that a server is to start with.
    File,
    /// A server.
    Server,
}

impl NodesConf {
    /// Reads a file.
    ///
    /// # Errors
    /// Where an engine would abort or crash, where two lines claim one slot or one id (engines
    /// keep the first without a word), where the own line lacks its role or master, where it is a
    /// replica of its own replica, and where it is cut off. [`super::Remains`] has what is left.
    pub fn parse(bytes: &[u8]) -> Result<Self, NodesError> {
        Self::read(bytes, Source::File)
    }

    /// Reads what a server that runs answers to CLUSTER NODES.
    ///
    /// # Errors
    /// As with a file, but for a circle: two that run may follow each other, for a moment or for good.
    pub fn of_server(text: &str) -> Result<Self, NodesError> {
        Self::read(text.as_bytes(), Source::Server)
    }

    fn read(bytes: &[u8], source: Source) -> Result<Self, NodesError> {
        if bytes.len() > MAX_BYTES {
            return Err(error(0, "the file is larger than 16 MiB"));
        }
        if bytes.is_empty() {
            return Err(error(0, "the file is empty"));
        }
        let mut damage = Vec::new();
        let mut lines = Vec::new();
        for (n, piece) in pieces(bytes) {
            match piece {
                Piece::Whole(text) => match line(text, n)? {
                    Some(line) => lines.push(line),
                    None => damage.push(Damage::NoId(n)),
                },
                Piece::Zero if damage.iter().any(|d| matches!(d, Damage::ZeroBytes(_))) => {}
                Piece::Zero => damage.push(Damage::ZeroBytes(n)),
                Piece::NoText => return Err(error(n, "the line is not text")),
                // Its last number may be half a number, slots and epochs among them.
                Piece::Cut(text) => match text.strip_prefix("vars ") {
                    Some(_) => {
                        damage.push(Damage::Epochs);
                        lines.extend(line(&format!("{text}\n"), n).unwrap_or_default());
                    }
                    None => damage.push(Damage::CutLine(n)),
                },
            }
        }
        match lines.iter().filter(|l| matches!(l, Line::Vars { .. })).count() {
            0 if damage.contains(&Damage::Epochs) => {}
            0 => damage.push(Damage::NoVars),
            1 => {}
            _ => damage.push(Damage::Epochs),
        }
        if lines.is_empty() {
            let why = match damage.as_slice() {
                [Damage::ZeroBytes(_), ..] if bytes.iter().all(|b| *b == 0) => {
                    "the file holds nothing but zero bytes"
                }
                _ => "not one line is whole",
            };
            return Err(error(0, why));
        }
        let mut conf = Self { lines, damage };
        conf.check(source)?;
        let doubtful = conf.doubtful_peers();
        conf.damage.extend(doubtful);
        Ok(conf)
    }

    fn check(&self, source: Source) -> Result<(), NodesError> {
        let mine: Vec<_> = self.nodes().filter(|n| n.flags.contains(&Flag::Myself)).collect();
        let [me] = mine.as_slice() else {
            let n = mine.len();
            if n == 0 && self.trust() == Trust::LinesMissing {
                return Err(error(0, "the own line is not among the lines that are whole"));
            }
            return Err(error(0, &format!("{n} lines are flagged `myself`, and one has to be")));
        };
        self.check_role(me, source)?;
        let mut ids = BTreeSet::new();
        if let Some(twice) = self.nodes().find(|n| !ids.insert(n.id)) {
            return Err(error(0, &format!("the id {} stands on two lines", twice.id)));
        }
        let mut ranges: Vec<SlotRange> = self.nodes().flat_map(|n| n.slots.clone()).collect();
        ranges.sort_unstable();
        if let Some(pair) = ranges.windows(2).find(|pair| pair[0].overlaps(pair[1])) {
            let why = format!("the slots {} and {} overlap", pair[0], pair[1]);
            return Err(error(0, &why));
        }
        Ok(())
    }

    /// Redis 8.2 stops at an own line without role or master, earlier ones crash later on.
    fn check_role(&self, me: &Node, source: Source) -> Result<(), NodesError> {
        let refused = |why: &str| Err(error(0, why));
        match (me.flags.contains(&Flag::Master), me.flags.contains(&Flag::Replica), me.master) {
            (true, false, None) => Ok(()),
            (false, true, Some(of)) if self.node(of).is_none() => {
                refused("the own line names a master that has no line")
            }
            (false, true, Some(of))
                if source == Source::File && Self::goes_round(me, &self.ends()) =>
            {
                refused(&format!(
                    "the own line says replica of {of}, whose masters go round in a circle, so \
                     nobody is known to own their slots"
                ))
            }
            (false, true, Some(_)) if !me.slots.is_empty() => {
                refused("the own line says replica and owns slots")
            }
            (false, true, Some(_)) => Ok(()),
            (false, true, None) => refused("the own line says replica and names no master"),
            (true, false, Some(_)) => refused("the own line says master and names a master"),
            (true, true, _) => refused("the own line says both master and replica"),
            (false, false, _) => refused("the own line says neither master nor replica"),
        }
    }

    fn goes_round(node: &Node, ends: &BTreeMap<NodeId, End>) -> bool {
        matches!(ends.get(&node.id), Some(End::Circle(_)))
    }

    /// Peers whose line does not say what they are. They say it themselves once they are met.
    fn doubtful_peers(&self) -> Vec<Damage> {
        let ends = self.ends();
        let settled = |n: &Node| match (n.role(), n.master) {
            (Some(Flag::Master), None) => true,
            (Some(Flag::Replica), Some(_)) => n.slots.is_empty() && !Self::goes_round(n, &ends),
            _ => false,
        };
        let doubtful = |n: &&Node| !n.flags.contains(&Flag::Handshake) && !settled(n);
        self.nodes().filter(doubtful).map(|n| Damage::NoRole(n.id)).collect()
    }
}

/// A line as it stands in the file.
pub(super) enum Piece<'a> {
    /// With its end.
    Whole(&'a str),
    /// Without.
    Cut(&'a str),
    /// With zero bytes in it.
    Zero,
    /// Something else.
    NoText,
}

/// The lines, numbered from 1.
pub(super) fn pieces(bytes: &[u8]) -> impl Iterator<Item = (usize, Piece<'_>)> {
    bytes.split_inclusive(|b| *b == b'\n').zip(1..).map(|(raw, n)| {
        let piece = match std::str::from_utf8(raw) {
            _ if raw.contains(&0) => Piece::Zero,
            Ok(text) if text.ends_with('\n') => Piece::Whole(text),
            Ok(text) => Piece::Cut(text),
            Err(_) => Piece::NoText,
        };
        (n, piece)
    })
}

/// `None` for a line without an id, which is dropped.
pub(super) fn line(raw: &str, n: usize) -> Result<Option<Line>, NodesError> {
    let raw = raw.to_owned();
    let body = raw.strip_suffix('\n').unwrap_or(&raw);
    if body.is_empty() {
        return Ok(Some(Line::Blank(raw)));
    }
    let words: Vec<&str> = body.split_ascii_whitespace().collect();
    match words.first() {
        // Engines crash on it.
        None => Ok(None),
        Some(&"vars") => {
            let vars = vars(&words[1..], n)?;
            Ok(Some(Line::Vars { raw, was: vars, now: vars }))
        }
        Some(_) if body.starts_with(' ') && words.len() < 8 => Ok(None),
        Some(_) => {
            let node = Box::new(node(&words, n)?);
            Ok(Some(Line::Node { raw, was: node.clone(), now: node }))
        }
    }
}

fn vars(words: &[&str], n: usize) -> Result<Vars, NodesError> {
    let mut vars = Vars { current_epoch: 0, last_vote_epoch: 0 };
    for pair in words.chunks(2) {
        let [name, value] = pair else { return Err(error(n, "a name without a value")) };
        match *name {
            "currentEpoch" => vars.current_epoch = number(value, n)?,
            "lastVoteEpoch" => vars.last_vote_epoch = number(value, n)?,
            _ => {}
        }
    }
    Ok(vars)
}

fn node(words: &[&str], n: usize) -> Result<Node, NodesError> {
    let [id, address, flags, master, ping, pong, epoch, link, slots @ ..] = words else {
        return Err(error(n, &format!("{} fields instead of 8 or more", words.len())));
    };
    let id = id.parse().map_err(|e| error(n, &format!("{e}")))?;
    let mut node = Node {
        id,
        endpoint: endpoint(address, n)?,
        flags: Default::default(),
        master: None,
        ping_sent: number(ping, n)?,
        pong_received: number(pong, n)?,
        config_epoch: number(epoch, n)?,
        link: link_state(link, n)?,
        slots: Vec::new(),
        open_slots: Vec::new(),
    };
    for flag in flags.split(',').filter(|f| !f.eq_ignore_ascii_case("noflags")) {
        let known = Flag::parse(flag);
        node.flags.insert(known.ok_or_else(|| error(n, &format!("unknown flag `{flag}`")))?);
    }
    if *master != "-" {
        node.master = Some(master.parse().map_err(|e| error(n, &format!("master: {e}")))?);
    }
    for slot in slots {
        if slot.starts_with('[') {
            open_slot(slot).ok_or_else(|| error(n, &format!("`{slot}` is no open slot")))?;
            node.open_slots.push((*slot).to_owned());
        } else {
            let range = SlotRange::parse(slot).map_err(|e| error(n, &format!("`{slot}`: {e}")))?;
            node.slots.push(range);
        }
    }
    Ok(node)
}

/// One word, but quotes in it would be the reader's own.
fn link_state(text: &str, n: usize) -> Result<String, NodesError> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\'');
    let text = plain.then(|| text.to_owned());
    text.ok_or_else(|| error(n, "the link state is not one that engines write"))
}

/// `host:port[@bus][,hostname[,name=value]*]`, the host up to the last colon.
fn endpoint(text: &str, n: usize) -> Result<Endpoint, NodesError> {
    let mut parts = text.split(',');
    let address = parts.next().unwrap_or_default();
    let (host, ports) =
        address.rsplit_once(':').ok_or_else(|| error(n, "the address has no port"))?;
    if host.len() > 45 {
        return Err(error(n, "the address is longer than the 45 characters that engines hold"));
    }
    let (port, bus) = match ports.split_once('@') {
        Some((port, bus)) => (port, Some(bus)),
        None => (ports, None),
    };
    let port_number = |p: &str| p.parse().map_err(|_| error(n, &format!("`{p}` is no port")));
    let mut endpoint = Endpoint {
        host: host.to_owned(),
        port: port_number(port)?,
        bus: bus.map(port_number).transpose()?,
        hostname: parts.next().map(str::to_owned),
        aux: Vec::new(),
    };
    for part in parts {
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| error(n, &format!("`{part}` is no auxiliary field")))?;
        endpoint.aux.push((name.to_owned(), value.to_owned()));
    }
    Ok(endpoint)
}

/// `[slot->-id]` or `[slot-<-id]`.
fn open_slot(text: &str) -> Option<()> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let (slot, id) = inner.split_once("->-").or_else(|| inner.split_once("-<-"))?;
    let slot = SlotRange::parse(slot).ok()?;
    id.parse::<NodeId>().ok()?;
    (slot.count() == 1).then_some(())
}

fn number(text: &str, n: usize) -> Result<u64, NodesError> {
    text.parse().map_err(|_| error(n, &format!("`{text}` is no number")))
}

fn error(line: usize, why: &str) -> NodesError {
    // Text from a file may be of any length and goes to a log.
    NodesError { line, why: why.chars().take(200).collect() }
}
