//! One key in every slot: written before a case, looked for after it.
//!
//! Guarantees: every slot has its key, and what is counted as there was read with its own value.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cluster::resp::{self, Reply};

use crate::client::Client;

/// How many slots a cluster has.
pub(crate) const SLOTS: usize = 16_384;
/// Every which slot is tried first.
const STEP: usize = 256;
const PATIENCE: Duration = Duration::from_secs(5);

/// A tag for every slot.
pub(crate) struct Keys {
    tags: Vec<String>,
}

/// Who serves which slot, by the servers' own answers.
pub(crate) type Owners = BTreeMap<SocketAddr, Vec<usize>>;

// === impl Keys ===

impl Keys {
    /// Finds the shortest tags.
    pub(crate) fn find() -> Self {
        let mut tags = vec![String::new(); SLOTS];
        let (mut missing, mut n) = (SLOTS, 0u32);
        while missing > 0 {
            let tag = n.to_string();
            n += 1;
            if let Some(place) = tags.get_mut(slot_of(tag.as_bytes()))
                && place.is_empty()
            {
                *place = tag;
                missing -= 1;
            }
        }
        Self { tags }
    }

    fn key(&self, slot: usize, name: &str) -> String {
        format!("{{{}}}{name}", self.tags.get(slot).map_or("", String::as_str))
    }

    /// Writes the key `name` of every slot: who took it, or why not. Once every 256th slot has its
    /// owner the others are first tried there.
    pub(crate) fn write(
        &self,
        nodes: &[SocketAddr],
        name: &str,
        value: &str,
    ) -> Result<Owners, String> {
        let sample: Vec<usize> = (0..SLOTS).step_by(STEP).collect();
        let sampled = self.offer(nodes, &sample, name, value)?;
        let by_sample: BTreeMap<usize, SocketAddr> = sampled
            .iter()
            .flat_map(|(node, slots)| slots.iter().map(|slot| (*slot, *node)))
            .collect();
        let mut owners = Owners::new();
        let mut left = Vec::new();
        let mut likely = Owners::new();
        for slot in 0..SLOTS {
            if let Some((_, node)) = by_sample.range(..=slot).next_back() {
                likely.entry(*node).or_default().push(slot);
            }
        }
        for (node, slots) in likely {
            let taken = self.offer_to(node, &slots, name, value)?;
            left.extend(slots.iter().copied().filter(|slot| taken.binary_search(slot).is_err()));
            owners.insert(node, taken);
        }
        for (node, slots) in self.offer(nodes, &left, name, value)? {
            owners.entry(node).or_default().extend(slots);
        }
        Ok(owners)
    }

    /// Writes these slots' keys wherever they are taken.
    fn offer(
        &self,
        nodes: &[SocketAddr],
        slots: &[usize],
        name: &str,
        value: &str,
    ) -> Result<Owners, String> {
        let mut left = slots.to_vec();
        let mut owners = Owners::new();
        for node in nodes {
            if left.is_empty() {
                break;
            }
            let taken = self.offer_to(*node, &left, name, value)?;
            left.retain(|slot| taken.binary_search(slot).is_err());
            owners.insert(*node, taken);
        }
        match left.first() {
            None => Ok(owners),
            Some(first) => Err(format!("nobody takes {} slots, {first} first", left.len())),
        }
    }

    /// Writes these slots' keys at one node: those that it took. That somebody else has a slot is
    /// no error, anything else is.
    fn offer_to(
        &self,
        node: SocketAddr,
        slots: &[usize],
        name: &str,
        value: &str,
    ) -> Result<Vec<usize>, String> {
        let set = |slot| {
            let value = format!("{value}-{slot}");
            resp::command(&[b"SET", self.key(slot, name).as_bytes(), value.as_bytes()])
        };
        let mut client = Client::connect(node, PATIENCE)?;
        let answers = client.exchange(&all(slots, set), slots.len())?;
        let mut taken = Vec::new();
        for (slot, answer) in slots.iter().zip(answers) {
            match answer {
                Reply::Error(e) if e.starts_with("MOVED") => {}
                Reply::Error(e) => return Err(format!("{node} says {e}")),
                _ => taken.push(*slot),
            }
        }
        Ok(taken)
    }

    /// Waits until the key `name` of every slot has been written; since when, as measured at the
    /// end of the round that wrote them all.
    pub(crate) fn write_all(
        &self,
        nodes: &[SocketAddr],
        name: &str,
        value: &str,
        patience: Duration,
    ) -> Result<(Owners, Instant), String> {
        let began = Instant::now();
        loop {
            match self.write(nodes, name, value) {
                Ok(owners) => return Ok((owners, Instant::now())),
                Err(why) if began.elapsed() > patience => {
                    return Err(format!("not all slots are writable after {patience:?}: {why}"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// How many of the keys `name` are not there with their value, and the first such.
    pub(crate) fn missing(
        &self,
        owners: &Owners,
        name: &str,
        value: &str,
    ) -> Result<(usize, Option<String>), String> {
        let get = |slot| resp::command(&[b"GET", self.key(slot, name).as_bytes()]);
        let (mut lost, mut first) = (SLOTS, None);
        for (node, slots) in owners {
            let mut client = Client::connect(*node, PATIENCE)?;
            let answers = client.exchange(&all(slots, get), slots.len())?;
            for (slot, answer) in slots.iter().zip(answers) {
                if answer.text() == Some(format!("{value}-{slot}")) {
                    lost -= 1;
                } else if first.is_none() {
                    first = Some(format!("slot {slot} at {node}: {answer:?}"));
                }
            }
        }
        Ok((lost, first))
    }
}

fn all(slots: &[usize], command: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    slots.iter().flat_map(|slot| command(*slot)).collect()
}

/// CRC16 (XMODEM) of the key, or of its tag.
fn slot_of(tag: &[u8]) -> usize {
    let crc = tag.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    usize::from(crc) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_the_engines() {
        assert_eq!(slot_of(b"123456789"), 0x31c3 % SLOTS);
        assert_eq!(slot_of(b"foo"), 12_182);
    }

    #[test]
    fn every_slot_has_a_tag_of_its_own() {
        let keys = Keys::find();
        for (slot, tag) in keys.tags.iter().enumerate() {
            assert_eq!(slot_of(tag.as_bytes()), slot, "{tag}");
        }
    }
}
