//! One picture from several: what a damaged file still says, the record, living servers' views.
//!
//! Guarantees: a slot is its owner's at the highest epoch, as the engines have it; where two
//! claim it at the same epoch both claims stay, so that [`NodesConf::assemble`] refuses them.
//! The order of pictures matters only where they are equally good: then the earlier one counts.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::{End, ends};
use super::{Duty, Sketch};
use crate::id::NodeId;
use crate::slot::{SLOTS, SlotRange};

#[cfg(doc)]
use super::NodesConf;

/// Everything that is said of one node.
struct Said {
    first: Sketch,
    /// The newest claim to slots.
    owns: Option<(u64, Vec<SlotRange>)>,
    follows: Option<NodeId>,
}

/// Merges sketches, several of one node among them, into one of each.
///
/// A master whose slots all went to one other node follows that one. A replica whose master can
/// not be told is left out.
pub fn agree(sketches: impl IntoIterator<Item = Sketch>) -> Vec<Sketch> {
    let mut said: BTreeMap<NodeId, Said> = BTreeMap::new();
    for sketch in sketches {
        let node = said.entry(sketch.id).or_insert_with(|| Said {
            first: sketch.clone(),
            owns: None,
            follows: None,
        });
        node.first.address = node.first.address.or(sketch.address);
        node.first.shard_id = node.first.shard_id.or(sketch.shard_id);
        match sketch.duty {
            Duty::Replica { of } => {
                node.follows.get_or_insert(of);
            }
            Duty::Master { slots, config_epoch } => {
                if node.owns.as_ref().is_none_or(|(epoch, _)| *epoch < config_epoch) {
                    node.owns = Some((config_epoch, slots));
                }
            }
        }
    }
    let newest = newest_claims(said.values());
    let duties: BTreeMap<NodeId, Duty> =
        said.iter().filter_map(|(id, node)| Some((*id, node.duty(&newest, &said)?))).collect();
    let master = |duty: &Duty| match duty {
        Duty::Replica { of } => Some(*of),
        Duty::Master { .. } => None,
    };
    let ends = ends(&duties.iter().map(|(id, duty)| (*id, master(duty))).collect());
    let settled = |id: &NodeId| match (duties.get(id)?, ends.get(id)?) {
        (Duty::Replica { .. }, End::At(of)) => Some(Duty::Replica { of: *of }),
        (Duty::Replica { .. }, End::Lost(_) | End::Circle(_)) => None,
        (master, _) => Some(master.clone()),
    };
    said.into_values()
        .filter_map(|node| Some(Sketch { duty: settled(&node.first.id)?, ..node.first }))
        .collect()
}

/// The highest epoch at which each slot is claimed.
fn newest_claims<'a>(said: impl Iterator<Item = &'a Said>) -> Vec<Option<u64>> {
    let mut newest = vec![None; usize::from(SLOTS)];
    for (epoch, slots) in said.filter_map(|node| node.owns.as_ref()) {
        for range in slots {
            for claim in &mut newest[bounds(*range)] {
                *claim = (*claim).max(Some(*epoch));
            }
        }
    }
    newest
}

fn bounds(range: SlotRange) -> std::ops::RangeInclusive<usize> {
    usize::from(range.start().number())..=usize::from(range.end().number())
}

/// The parts of a range that nobody claims at a higher epoch.
fn held(range: SlotRange, epoch: u64, newest: &[Option<u64>]) -> Vec<SlotRange> {
    let (start, end) = (range.start().number(), range.end().number());
    let mine = |slot: u16| newest.get(usize::from(slot)) == Some(&Some(epoch));
    let mut held = Vec::new();
    let mut from = None;
    for slot in start..=end {
        match (mine(slot), from) {
            (true, None) => from = Some(slot),
            (false, Some(first)) => {
                held.extend(SlotRange::new(first, slot - 1));
                from = None;
            }
            _ => {}
        }
    }
    held.extend(from.and_then(|first| SlotRange::new(first, end).ok()));
    held
}

// === impl Said ===

impl Said {
    fn duty(&self, newest: &[Option<u64>], said: &BTreeMap<NodeId, Self>) -> Option<Duty> {
        let (epoch, claimed) = match &self.owns {
            Some((epoch, claimed)) => (*epoch, claimed.as_slice()),
            None => (0, [].as_slice()),
        };
        let slots: Vec<_> = claimed.iter().flat_map(|range| held(*range, epoch, newest)).collect();
        if !slots.is_empty() {
            return Some(Duty::Master { slots, config_epoch: epoch });
        }
        if let Some(of) = self.follows {
            return Some(Duty::Replica { of });
        }
        self.owns.as_ref()?;
        let heirs: BTreeSet<NodeId> = claimed
            .iter()
            .flat_map(|range| said.values().filter(|node| node.took(*range, newest)))
            .map(|node| node.first.id)
            .collect();
        Some(match (heirs.first(), heirs.len()) {
            (Some(of), 1) => Duty::Replica { of: *of },
            _ => Duty::Master { slots: Vec::new(), config_epoch: epoch },
        })
    }

    /// Whether it holds part of a range.
    fn took(&self, range: SlotRange, newest: &[Option<u64>]) -> bool {
        let Some((epoch, slots)) = &self.owns else { return false };
        let mut shared = slots.iter().filter(|own| own.overlaps(range));
        shared.any(|own| {
            let (start, end) = (own.start().max(range.start()), own.end().min(range.end()));
            SlotRange::new(start.number(), end.number())
                .is_ok_and(|both| !held(both, *epoch, newest).is_empty())
        })
    }
}
