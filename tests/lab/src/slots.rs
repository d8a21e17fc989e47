//! Hash tags for chosen slots.
//!
//! Guarantees: [`Tags::of`] of a slot is a tag that hashes to that slot, the same in every run; probe
//! slots are spread evenly, so that every shard of up to as many equal shards holds at least one.
//! Written apart from the project's own code on purpose: this crate judges it.

use std::collections::BTreeMap;

/// How many hash slots a cluster has.
pub const SLOTS: u16 = 16384;

/// A tag for every slot.
#[derive(Debug)]
pub struct Tags(BTreeMap<u16, String>);

impl Tags {
    /// Searches the tags: about 170,000 hashes.
    pub fn new() -> Self {
        let mut tags = BTreeMap::new();
        for i in 0u32.. {
            let tag = format!("t{i}");
            tags.entry(slot_of(tag.as_bytes())).or_insert(tag);
            if tags.len() == usize::from(SLOTS) {
                break;
            }
        }
        Self(tags)
    }

    /// The tag of a slot; empty for a number that is none.
    pub fn of(&self, slot: u16) -> &str {
        self.0.get(&slot).map_or("", String::as_str)
    }

    /// All slots and their tags.
    pub fn all(&self) -> impl Iterator<Item = (u16, &str)> {
        self.0.iter().map(|(slot, tag)| (*slot, tag.as_str()))
    }
}

impl Default for Tags {
    fn default() -> Self {
        Self::new()
    }
}

/// `count` slots, each in the middle of an equal part of all slots.
pub fn probe_slots(count: u16) -> Vec<u16> {
    let (all, count) = (u32::from(SLOTS), u32::from(count.max(1)));
    (0..count).filter_map(|i| u16::try_from((2 * i + 1) * all / (2 * count)).ok()).collect()
}

/// The slot of a tag: CRC-16/XMODEM modulo the number of slots.
pub fn slot_of(tag: &[u8]) -> u16 {
    let crc = tag.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_servers() {
        // CRC-16/XMODEM of "123456789" is 0x31c3; "foo" is at 12182 by CLUSTER KEYSLOT.
        assert_eq!(slot_of(b"123456789"), 0x31c3 % SLOTS);
        assert_eq!(slot_of(b"foo"), 12182);
    }

    #[test]
    fn every_slot_has_its_tag() {
        let tags = Tags::new();
        assert_eq!(tags.all().count(), usize::from(SLOTS));
        assert!(tags.all().all(|(slot, tag)| slot_of(tag.as_bytes()) == slot));
    }

    #[test]
    fn probes_reach_every_equal_shard() {
        for shards in 1..=16u32 {
            let per_shard = u32::from(SLOTS).div_ceil(shards);
            let mut hit: Vec<u32> =
                probe_slots(16).iter().map(|s| u32::from(*s) / per_shard).collect();
            hit.dedup();
            assert_eq!(hit.len(), shards as usize, "{shards} shards");
        }
    }
}
