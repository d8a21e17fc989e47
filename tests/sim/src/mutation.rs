//! Rules that are broken on purpose, to see that the invariants notice.

use cluster::nodes::{Flag, Node, NodesConf};
use cluster::planner::Fact;
use cluster::protocol::View;

/// One broken rule.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mutation {
    /// Two masters' addresses are written the wrong way round.
    AddressesSwapped,
    /// An empty master counts as one with data.
    EmptyStartsAtOnce,
    /// An entry is missing in every view.
    EntryHidden,
    /// A command to take over is not sent.
    ForceDoesNothing,
    /// No id is forgotten on purpose.
    ForgottenHidden,
    /// The flags that hold a lone starter back are taken away.
    HoldBackUndone,
    /// Every proposal is made.
    JudgeSaysYes,
    /// The registry's answers to registrations never come.
    LoseFacts,
    /// Disks have no birth mark.
    NoMark,
    /// No set has a past.
    NoPast,
    /// Whoever owns slots at a higher epoch is not seen, and nobody is held back: either alone keeps
    /// a stale master from taking writes.
    NoStepDown,
    /// Every file says one and the same epoch of its own member.
    SameEpoch,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::AddressesSwapped,
        Self::EmptyStartsAtOnce,
        Self::EntryHidden,
        Self::ForceDoesNothing,
        Self::ForgottenHidden,
        Self::HoldBackUndone,
        Self::JudgeSaysYes,
        Self::LoseFacts,
        Self::NoMark,
        Self::NoPast,
        Self::NoStepDown,
        Self::SameEpoch,
    ];

    /// Changes what a step learns.
    pub fn bend_fact(self, fact: &mut Fact) {
        match (self, fact) {
            (Self::EmptyStartsAtOnce, Fact::Disk(disk)) => disk.data |= disk.nodes_conf.is_some(),
            (Self::NoMark, Fact::Disk(disk)) => disk.mark = None,
            (_, Fact::Registered(view) | Fact::Proposed(Ok(view))) => self.bend_view(view),
            _ => {}
        }
    }

    fn bend_view(self, view: &mut View) {
        match self {
            Self::EntryHidden => {
                let other = view.members.keys().find(|name| **name != view.pod).cloned();
                if let Some(other) = other {
                    view.members.remove(&other);
                    view.pods.remove(&other);
                }
            }
            Self::ForgottenHidden => view.forgotten.clear(),
            Self::NoPast => {
                view.past.clear();
                view.before = None;
                if let Some(member) = view.members.get_mut(&view.pod) {
                    member.was = None;
                    member.bootstrapped = false;
                }
            }
            Self::NoStepDown => {
                let own = view.members.get(&view.pod).and_then(|m| m.disk.identity.clone());
                let all = view.members.values_mut().chain(view.earlier.values_mut());
                all.filter_map(|m| m.disk.identity.as_mut()).for_each(|i| i.config_epoch = 0);
                if let Some(own) = own {
                    view.successions.remove(&own.node_id);
                }
            }
            _ => {}
        }
    }

    /// Changes what a step writes.
    pub fn bend_file(self, text: &mut String) {
        let Ok(conf) = NodesConf::parse(text.as_bytes()) else { return };
        match self {
            Self::HoldBackUndone | Self::NoStepDown => {
                *text = text.replace(",fail?", "").replace("fail?,", "")
            }
            Self::SameEpoch => {
                let Some(me) = conf.myself().filter(|me| me.is_master()) else { return };
                let own = me.id;
                let lines = text.lines().map(|line| {
                    let mut words: Vec<_> = line.split(' ').collect();
                    if line.starts_with(own.as_str()) && words.len() > 6 {
                        words[6] = "1";
                    }
                    words.join(" ") + "\n"
                });
                *text = lines.collect();
            }
            Self::AddressesSwapped => {
                let place = |n: &Node| {
                    let known = n.endpoint.address().is_some();
                    (known && !n.flags.contains(&Flag::Myself)).then(|| n.endpoint.to_string())
                };
                let mut known = conf.nodes().filter(|n| n.is_master()).filter_map(place);
                if let (Some(a), Some(b)) = (known.next(), known.next()) {
                    let (a, b) = (format!(" {a} "), format!(" {b} "));
                    *text = text.replace(&a, " X ").replace(&b, &a).replace(" X ", &b);
                }
            }
            _ => {}
        }
    }
}
