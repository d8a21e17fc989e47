//! What a file still proves that can not be used as it is.
//!
//! Guarantees: only whole lines are believed, and of lines that contradict each other none.

use std::collections::BTreeMap;

use super::parse::{Piece, line, pieces};
use super::{AssembleError, Flag, Line, NodesConf, Sketch, Target, agree};
use crate::id::NodeId;
use crate::slot::SlotRange;

/// What is left of a damaged file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Remains {
    /// The node whose file it is, where exactly one line says so.
    pub me: Option<NodeId>,
    /// All nodes of which something certain is said; the own one is not always among them.
    pub sketches: Vec<Sketch>,
    /// The cluster has been at least in this epoch.
    pub epoch: u64,
}

// === impl Remains ===

impl Remains {
    /// Reads what can be read.
    pub fn of(bytes: &[u8]) -> Self {
        let whole = pieces(bytes).filter_map(|(n, piece)| match piece {
            Piece::Whole(text) => line(text, n).ok().flatten(),
            Piece::Zero | Piece::Cut(_) | Piece::NoText => None,
        });
        let conf = NodesConf { lines: whole.collect(), damage: Vec::new() };
        let mine = conf.nodes().filter(|n| n.flags.contains(&Flag::Myself)).map(|n| n.id);
        let me = match mine.collect::<Vec<_>>().as_slice() {
            [me] => Some(*me),
            [] => cut_own_line(bytes),
            _ => None,
        };
        let claimed = conf.nodes().map(|n| n.config_epoch).max().unwrap_or(0);
        let vars = conf.vars();
        Self {
            me,
            sketches: conf.sketches_of_consistent_lines(),
            epoch: claimed.max(vars.current_epoch).max(vars.last_vote_epoch),
        }
    }
}

impl Remains {
    /// The file for `me` from what is left of it and what others say: the record, or living
    /// servers. A slot is its owner's at the highest epoch; where both say equally much, what is
    /// left of the file counts. `epoch` is the highest one that the others know of.
    ///
    /// # Errors
    /// If nobody knows what `me` was, or slots are claimed twice at one epoch: then nothing is
    /// guessed.
    pub fn complete(
        self,
        me: NodeId,
        others: impl IntoIterator<Item = Sketch>,
        epoch: u64,
        target: Target,
    ) -> Result<NodesConf, AssembleError> {
        let sketches = agree(self.sketches.into_iter().chain(others));
        NodesConf::assemble(me, sketches, self.epoch.max(epoch), target)
    }
}

/// The id of a last line that was cut off somewhere behind its flags.
fn cut_own_line(bytes: &[u8]) -> Option<NodeId> {
    let (_, Piece::Cut(text)) = pieces(bytes).last()? else { return None };
    let mut words = text.split_ascii_whitespace();
    let (id, _, flags) = (words.next()?, words.next()?, words.next()?);
    words.next()?;
    let mine = flags.split(',').any(|flag| flag.eq_ignore_ascii_case(Flag::Myself.name()));
    mine.then(|| id.parse().ok())?
}

// === impl NodesConf ===

impl NodesConf {
    fn sketches_of_consistent_lines(mut self) -> Vec<Sketch> {
        let mut lines: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut ranges = Vec::new();
        for node in self.nodes() {
            *lines.entry(node.id).or_default() += 1;
            ranges.extend(node.slots.iter().map(|range| (*range, node.id)));
        }
        ranges.sort_unstable();
        let mut furthest: Option<(SlotRange, NodeId)> = None;
        for (range, id) in ranges {
            if let Some((before, other)) = furthest
                && before.overlaps(range)
            {
                lines.insert(id, 2);
                lines.insert(other, 2);
            }
            if furthest.is_none_or(|(before, _)| before.end() < range.end()) {
                furthest = Some((range, id));
            }
        }
        self.lines.retain(|line| match line {
            Line::Node { now, .. } => lines.get(&now.id) == Some(&1),
            _ => false,
        });
        self.sketches()
    }
}
