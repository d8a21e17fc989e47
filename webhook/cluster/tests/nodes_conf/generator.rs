//! Files as any version may have written them, at random, with what goes wrong in the field.
//!
//! Everything is a plain value until the text is made of it, so that a failure shrinks to the
//! smallest file that shows it.

use std::collections::BTreeSet;
use std::fmt;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::Index;

/// A file.
#[derive(Clone)]
pub(crate) struct File {
    style: Style,
    nodes: Vec<Member>,
    own: Index,
    /// Where one range of slots ends and the next begins.
    cuts: BTreeSet<u16>,
    /// Who owns each range; `None` for nobody.
    owners: Vec<Option<Index>>,
    open_slots: Vec<(u16, bool, Index)>,
    extra: Vec<(Index, Extra)>,
    reversed: bool,
    vars: VarsLine,
}

/// Who writes addresses in this way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Style {
    Redis3,
    Redis5,
    Redis7,
    Redis72,
    Valkey80,
    Valkey90,
    Valkey91,
}

#[derive(Clone, Debug)]
struct Member {
    id: [u8; 20],
    /// Its master is one of those before it, if it has any.
    replica: Option<Index>,
    host: String,
    port: u16,
    tls: u16,
    hostname: String,
    shard: Option<u8>,
    flags: BTreeSet<&'static str>,
    times: (u32, u32),
    config_epoch: u32,
    connected: bool,
}

#[derive(Clone, Debug)]
enum Extra {
    Handshake([u8; 20]),
    Ghost([u8; 20]),
    NoRole([u8; 20]),
    Blank,
}

#[derive(Clone, Copy, Debug)]
enum VarsLine {
    Whole(u32, u32),
    Extended(u32, u32),
    Twice(u32, u32),
    Missing,
}

pub(crate) fn file() -> impl Strategy<Value = File> {
    let style = prop::sample::select(vec![
        Style::Redis3,
        Style::Redis5,
        Style::Redis7,
        Style::Redis72,
        Style::Valkey80,
        Style::Valkey90,
        Style::Valkey91,
    ]);
    let nodes = btree_set(any::<[u8; 20]>(), 1..9)
        .prop_flat_map(|ids| ids.into_iter().map(member).collect::<Vec<_>>());
    let slots = (btree_set(1..16384u16, 0..8), vec(any::<Option<Index>>(), 9));
    let open = vec((0..16384u16, any::<bool>(), any::<Index>()), 0..3);
    let extra = vec((any::<Index>(), extra()), 0..4);
    let rest = (any::<Index>(), any::<bool>(), vars());
    (style, nodes, slots, open, extra, rest).prop_map(
        |(style, nodes, (cuts, owners), open_slots, extra, (own, reversed, vars))| File {
            style,
            nodes,
            own,
            cuts,
            owners,
            open_slots,
            extra,
            reversed,
            vars,
        },
    )
}

fn member(id: [u8; 20]) -> impl Strategy<Value = Member> {
    let host = prop_oneof![
        4 => (1..9u8).prop_map(|n| format!("10.1.0.{n}")),
        1 => (1..9u8).prop_map(|n| format!("fd00::{n:x}")),
        1 => Just(String::new()),
        1 => Just("cache-0.cache".to_owned()),
        1 => Just("${POD_IP}".to_owned()),
    ];
    let hostname = prop_oneof![Just(String::new()), Just("cache-0.example".to_owned())];
    let flags = vec!["fail?", "fail", "noaddr", "nofailover"];
    let flags = prop::sample::subsequence(flags, 0..=2).prop_map(BTreeSet::from_iter);
    let ports = (1..50_000u16, prop_oneof![Just(0), Just(6380u16)]);
    let shard = proptest::option::weighted(0.8, 0..16u8);
    let numbers = (any::<(u32, u32)>(), 0..50u32);
    let replica = any::<Option<Index>>();
    (replica, host, ports, hostname, shard, flags, numbers, any::<bool>()).prop_map(
        move |(replica, host, (port, tls), hostname, shard, flags, numbers, connected)| Member {
            id,
            replica,
            host,
            port,
            tls,
            hostname,
            shard,
            flags,
            times: numbers.0,
            config_epoch: numbers.1,
            connected,
        },
    )
}

fn extra() -> impl Strategy<Value = Extra> {
    prop_oneof![
        Just(Extra::Blank),
        any::<[u8; 20]>().prop_map(Extra::Handshake),
        any::<[u8; 20]>().prop_map(Extra::Ghost),
        any::<[u8; 20]>().prop_map(Extra::NoRole),
    ]
}

fn vars() -> impl Strategy<Value = VarsLine> {
    let numbers = (0..60u32, 0..60u32);
    prop_oneof![
        6 => numbers.clone().prop_map(|(c, v)| VarsLine::Whole(c, v)),
        1 => numbers.clone().prop_map(|(c, v)| VarsLine::Extended(c, v)),
        1 => numbers.prop_map(|(c, v)| VarsLine::Twice(c, v)),
        1 => Just(VarsLine::Missing),
    ]
}

fn hex(id: &[u8; 20]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

// === impl File ===

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{}", self.text())
    }
}

impl File {
    /// The text.
    pub(crate) fn text(&self) -> String {
        let own = self.own.index(self.nodes.len());
        let mut lines: Vec<String> = (0..self.nodes.len()).map(|n| self.line(n, own)).collect();
        for (place, extra) in &self.extra {
            lines.insert(place.index(lines.len() + 1), extra.line());
        }
        if self.reversed {
            lines.reverse();
        }
        lines.concat() + &self.vars.text()
    }

    /// The number of a member's master; the first one has none.
    fn master(&self, n: usize) -> Option<usize> {
        self.nodes[n].replica.filter(|_| n > 0).map(|of| of.index(n))
    }

    fn line(&self, n: usize, own: usize) -> String {
        let node = &self.nodes[n];
        let master = self.master(n);
        let mut flags = vec![if master.is_some() { "slave" } else { "master" }];
        if n == own {
            flags.insert(0, "myself");
        }
        flags.extend(&node.flags);
        let of = master.map_or("-".to_owned(), |of| hex(&self.nodes[of].id));
        let link = if node.connected { "connected" } else { "disconnected" };
        let mut line = format!(
            "{} {} {} {of} {} {} {} {link}",
            hex(&node.id),
            self.address(node),
            flags.join(","),
            node.times.0,
            node.times.1,
            node.config_epoch
        );
        for range in self.slots(n) {
            line += &format!(" {range}");
        }
        if n == own {
            for (slot, out, partner) in &self.open_slots {
                let direction = if *out { "->-" } else { "-<-" };
                let partner = hex(&self.nodes[partner.index(self.nodes.len())].id);
                line += &format!(" [{slot}{direction}{partner}]");
            }
        }
        line + "\n"
    }

    fn address(&self, node: &Member) -> String {
        let Member { host, port, tls, hostname, shard, .. } = node;
        let shard = match shard {
            Some(shard) => format!(",shard-id={}", format!("{shard:x}").repeat(40)),
            None => String::new(),
        };
        let bus = port + 10_000;
        let front = format!("{host}:{port}@{bus}");
        match self.style {
            Style::Redis3 => format!("{host}:{port}"),
            Style::Redis5 => front,
            Style::Redis7 if hostname.is_empty() => front,
            Style::Redis7 => format!("{front},{hostname}"),
            Style::Redis72 => format!("{front},{hostname},tls-port={tls}{shard}"),
            Style::Valkey80 => {
                format!("{front},{hostname},client-ipv6=fd00::7,tls-port={tls}{shard}")
            }
            Style::Valkey90 => {
                format!("{front},{hostname},client-tcp-port={port},tls-port={tls}{shard}")
            }
            Style::Valkey91 => {
                format!("{front},{hostname},availability-zone=a-1,tls-port={tls}{shard}")
            }
        }
    }

    /// The ranges of a master. Those of a replica are nobody's.
    fn slots(&self, n: usize) -> Vec<String> {
        let bounds: Vec<u16> = [0].into_iter().chain(self.cuts.iter().copied()).collect();
        let ends = bounds.iter().skip(1).map(|next| next - 1).chain([16383]);
        let owner = |i: usize| self.owners[i].map(|owner| owner.index(self.nodes.len()));
        let ranges = bounds.iter().zip(ends).enumerate();
        ranges
            .filter(|(i, _)| owner(*i) == Some(n))
            .filter(|_| self.master(n).is_none())
            .map(
                |(_, (start, end))| {
                    if *start == end { start.to_string() } else { format!("{start}-{end}") }
                },
            )
            .collect()
    }
}

// === impl Extra ===

impl Extra {
    fn line(&self) -> String {
        match self {
            Self::Handshake(id) => {
                format!("{} 10.9.9.9:1@10001 handshake - 1 0 0 disconnected\n", hex(id))
            }
            Self::Ghost(id) => format!("{} :0@0 master,noaddr - 1 1 4 disconnected\n", hex(id)),
            Self::NoRole(id) => format!("{} 10.9.9.8:1@10001 noflags - 1 1 0 connected\n", hex(id)),
            Self::Blank => "\n".to_owned(),
        }
    }
}

// === impl VarsLine ===

impl VarsLine {
    fn text(self) -> String {
        match self {
            Self::Whole(c, v) => format!("vars currentEpoch {c} lastVoteEpoch {v}\n"),
            Self::Extended(c, v) => {
                format!("vars currentEpoch {c} lastVoteEpoch {v} newThing 7\n\n\n")
            }
            Self::Twice(c, v) => {
                format!("vars currentEpoch {v} lastVoteEpoch {c}\n{}", Self::Whole(c, v).text())
            }
            Self::Missing => String::new(),
        }
    }
}
