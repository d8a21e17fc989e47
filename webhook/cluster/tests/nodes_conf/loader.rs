//! What the engines make of a nodes.conf when they start: a second reader, written by their rules
//! and not by ours, to judge files by.
//!
//! It follows `clusterLoadConfig` of every version line by line. What an engine aborts or crashes
//! on is an error here.

use std::collections::{BTreeMap, BTreeSet};

use cluster::launch::Engine;
use cluster::nodes::Target;

/// A version, and by which rules it reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    engine: Engine,
    number: (u16, u16, u16),
}

const fn redis(major: u16, minor: u16, patch: u16) -> Version {
    Version { engine: Engine::Redis, number: (major, minor, patch) }
}

const fn valkey(major: u16, minor: u16, patch: u16) -> Version {
    Version { engine: Engine::Valkey, number: (major, minor, patch) }
}

/// One of every set of rules, the oldest first.
pub(crate) const VERSIONS: [Version; 13] = [
    redis(5, 0, 6),
    redis(6, 0, 16),
    redis(6, 2, 14),
    redis(7, 0, 15),
    redis(7, 2, 4),
    redis(7, 4, 1),
    redis(8, 0, 2),
    redis(8, 2, 3),
    redis(8, 6, 3),
    valkey(8, 0, 1),
    valkey(8, 1, 1),
    valkey(9, 0, 0),
    valkey(9, 1, 2),
];

/// What an engine knows after it has read a file.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) myself: Option<String>,
    pub(crate) nodes: BTreeMap<String, Row>,
    /// Slots that a second line claims, which engines ignore without a word.
    pub(crate) contested: Option<(u16, u16)>,
    pub(crate) current_epoch: u64,
    pub(crate) last_vote_epoch: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Whether it has a line, or is only named by others.
    pub(crate) listed: bool,
    pub(crate) host: String,
    pub(crate) hostname: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<u16>,
    pub(crate) bus: u16,
    pub(crate) flags: BTreeSet<String>,
    pub(crate) master: Option<String>,
    pub(crate) config_epoch: u64,
    pub(crate) slots: Vec<(u16, u16)>,
    shard: Option<String>,
}

// === impl Version ===

impl Version {
    pub(crate) fn target(self) -> Target {
        let (major, minor, patch) = self.number;
        Target::parse(self.engine, &format!("{major}.{minor}.{patch}"))
    }

    fn since(self, major: u16, minor: u16) -> bool {
        self.number >= (major, minor, 0)
    }

    fn valkey_since(self, major: u16, minor: u16) -> bool {
        self.engine == Engine::Valkey && self.since(major, minor)
    }

    fn reads_aux(self, name: &str) -> bool {
        match name {
            "shard-id" | "nodename" | "tcp-port" | "tls-port" => self.since(7, 2),
            "client-ipv4" | "client-ipv6" => self.valkey_since(8, 0),
            "client-tcp-port" | "client-tls-port" => self.valkey_since(9, 0),
            "availability-zone" => self.valkey_since(9, 1),
            _ => false,
        }
    }

    /// Whether it aborts where a replica's shard id is not its master's.
    fn strict_about_shards(self) -> bool {
        match self.engine {
            Engine::Redis => self.since(7, 2) && !self.since(8, 0),
            Engine::Valkey => !self.since(9, 0),
        }
    }

    /// Reads a file.
    pub(crate) fn load(self, text: &str) -> Result<Table, String> {
        if text.is_empty() {
            return Err("an empty file: starts as a stranger with a random id".to_owned());
        }
        let mut table = Table::default();
        for (n, line) in text.split('\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            self.line(line, &mut table).map_err(|e| format!("line {}: {e}: {line}", n + 1))?;
        }
        let me = table.myself.clone().ok_or("no line is `myself`")?;
        if self.engine == Engine::Redis && self.since(8, 2) {
            let row = &table.nodes[&me];
            let replica = row.flags.contains("slave");
            if !replica && !row.flags.contains("master") || replica && row.master.is_none() {
                return Err("the own line has no role".to_owned());
            }
        }
        let claimed = table.nodes.values().map(|row| row.config_epoch).max();
        table.current_epoch = table.current_epoch.max(claimed.unwrap_or(0));
        Ok(table)
    }

    fn line(self, line: &str, table: &mut Table) -> Result<(), String> {
        if line.contains(['"', '\'', '\0']) {
            return Err("quotes or zero bytes".to_owned());
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [id, address, flags, master, _, _, epoch, _, slots @ ..] = words.as_slice() else {
            return match words.as_slice() {
                [] => Err("crash: nothing but blanks".to_owned()),
                ["vars", pairs @ ..] => vars(pairs, table),
                _ => Err("too few words".to_owned()),
            };
        };
        self.node_id(id)?;
        let mut row = table.nodes.remove(*id).unwrap_or_default();
        row.listed = true;
        let shard = self.address(address, &mut row)?;
        if let Some(shard) = shard {
            self.set_shard(id, shard, &mut row, table)?;
        }
        for flag in flags.split(',').map(str::to_ascii_lowercase) {
            match flag.as_str() {
                "myself" if table.myself.is_some() => return Err("crash: two own lines".to_owned()),
                "myself" => table.myself = Some((*id).to_owned()),
                "master" | "slave" | "fail?" | "fail" | "handshake" | "noaddr" | "nofailover" => {
                    row.flags.insert(flag);
                }
                "noflags" => {}
                _ => return Err(format!("panic: flag `{flag}`")),
            }
        }
        if *master != "-" {
            self.node_id(master)?;
            self.set_master(master, &mut row, table)?;
        }
        row.config_epoch = epoch.parse().map_err(|_| "epoch")?;
        if self.since(7, 0) && row.flags.contains("slave") && row.master.is_some() {
            row.config_epoch = 0;
        }
        for slot in slots {
            self.slot(slot, &mut row, table)?;
        }
        table.nodes.insert((*id).to_owned(), row);
        Ok(())
    }

    fn node_id(self, id: &str) -> Result<(), String> {
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fine = id.len() == 40 && (!self.since(7, 0) || id.bytes().all(valid));
        if fine { Ok(()) } else { Err(format!("id `{id}`")) }
    }

    /// Gives the shard id, if there is one.
    fn address(self, text: &str, row: &mut Row) -> Result<Option<String>, String> {
        let (address, mut rest) = match text.split_once(',') {
            Some((address, rest)) if self.since(7, 0) => (address, Some(rest)),
            // They do not know the comma: `atoi` ends there.
            _ => (text, None),
        };
        let (host, ports) = address.rsplit_once(':').ok_or("no port")?;
        if host.len() > 45 {
            return Err("writes beyond the address".to_owned());
        }
        let mut shard = None;
        let (mut tcp, mut tls): (Option<u16>, Option<u16>) = (None, None);
        if self.since(7, 2)
            && let Some((hostname, fields)) = rest.and_then(|rest| rest.split_once(','))
        {
            rest = Some(hostname);
            for field in fields.split(',') {
                let (name, value) = field.split_once('=').ok_or("a field without a value")?;
                if !self.reads_aux(name) {
                    return Err(format!("the field {name} is not known"));
                }
                aux_value(name, value)?;
                match name {
                    "shard-id" => shard = Some(value.to_owned()),
                    "tcp-port" => tcp = Some(value.parse().map_err(|_| "tcp-port")?),
                    "tls-port" => tls = Some(value.parse().map_err(|_| "tls-port")?),
                    _ => {}
                }
            }
        }
        rest.unwrap_or_default().clone_into(&mut row.hostname);
        let (port, bus) = ports.split_once('@').map_or((ports, None), |(p, b)| (p, Some(b)));
        let front = atoi(port);
        // Without either field it is the port that the cluster uses.
        (row.port, row.tls) = match (tcp, tls) {
            (Some(tcp), Some(tls)) => (tcp, Some(tls)),
            (Some(tcp), None) => (tcp, Some(front)),
            (None, tls) => (front, tls),
        };
        host.clone_into(&mut row.host);
        row.bus = bus.map_or(front.wrapping_add(10_000), atoi);
        Ok(shard)
    }

    fn set_shard(
        self,
        id: &str,
        shard: String,
        row: &mut Row,
        table: &Table,
    ) -> Result<(), String> {
        let mut replicas = table.nodes.values().filter(|n| n.master.as_deref() == Some(id));
        // Without a shard id in the file a node has a random one.
        if self.strict_about_shards() && replicas.any(|r| r.shard.as_ref() != Some(&shard)) {
            return Err("its replicas are of another shard".to_owned());
        }
        row.shard = Some(shard);
        Ok(())
    }

    fn set_master(self, master: &str, row: &mut Row, table: &mut Table) -> Result<(), String> {
        let of = table.nodes.entry(master.to_owned()).or_default();
        if self.strict_about_shards() && of.shard.is_some() && of.shard != row.shard {
            return Err("its master is of another shard".to_owned());
        }
        row.master = Some(master.to_owned());
        Ok(())
    }

    fn slot(self, text: &str, row: &mut Row, table: &mut Table) -> Result<(), String> {
        if let Some(open) = text.strip_prefix('[') {
            let (slot, rest) = open.split_once('-').ok_or("crash: no direction")?;
            let partner = rest.get(2..42).ok_or("no partner")?;
            self.node_id(partner)?;
            table.nodes.entry(partner.to_owned()).or_default();
            return in_range(slot).map(drop);
        }
        let (start, end) = text.split_once('-').unwrap_or((text, text));
        let (start, end) = (in_range(start)?, in_range(end)?);
        let taken = |other: &&(u16, u16)| other.0 <= end && start <= other.1;
        let others = table.nodes.values().flat_map(|other| &other.slots);
        if others.chain(&row.slots).any(|other| taken(&other)) {
            table.contested = Some((start, end));
        }
        row.slots.push((start, end));
        Ok(())
    }
}

fn vars(pairs: &[&str], table: &mut Table) -> Result<(), String> {
    for pair in pairs.chunks(2) {
        let [name, value] = pair else { return Err("vars: a name without a value".to_owned()) };
        match *name {
            "currentEpoch" => table.current_epoch = value.parse().map_err(|_| "currentEpoch")?,
            "lastVoteEpoch" => {
                table.last_vote_epoch = value.parse().map_err(|_| "lastVoteEpoch")?
            }
            _ => {}
        }
    }
    Ok(())
}

fn aux_value(name: &str, value: &str) -> Result<(), String> {
    let fine = match name {
        "shard-id" => value.len() == 40 && value.bytes().all(|b| b.is_ascii_alphanumeric()),
        "client-ipv6" => value.is_empty() || value.parse::<std::net::Ipv6Addr>().is_ok(),
        name if name.ends_with("-port") => (1..=5).contains(&value.len()),
        _ => !value.contains(|c: char| "!#$%&()*+:;<>?@[]^{|}~=".contains(c)),
    };
    if fine { Ok(()) } else { Err(format!("the field {name} can not be `{value}`")) }
}

fn in_range(text: &str) -> Result<u16, String> {
    let slot = atoi(text);
    if slot < 16384 { Ok(slot) } else { Err(format!("slot `{text}`")) }
}

/// As in C: the digits in front.
fn atoi(text: &str) -> u16 {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..end].parse().unwrap_or(0)
}
