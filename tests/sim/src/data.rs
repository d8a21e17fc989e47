//! Data as sets of writes, and the ledger of what clients were told is kept.
//!
//! Guarantees: a write has one number for ever; whoever loses it is found by comparing sets.

use crate::ids::ProcId;
use crate::units::{Unit, UnitSet};

/// A write's number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WriteId(pub u32);

/// A set of writes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Writes(Vec<u64>);

/// A write that a client was told is kept.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// Which slots it belongs to.
    pub unit: Unit,
    /// Whose client.
    pub set: usize,
    /// When.
    pub at: u64,
    /// Who took it.
    pub by: ProcId,
    /// Why it may be lost.
    pub excuse: Option<Excuse>,
    /// Whether whoever took it should not have.
    pub stale: Option<Stale>,
}

/// Why a write may be lost.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Excuse {
    /// It was taken by a master that had been deposed while it ran.
    Deposed,
    /// Only a server had it that was being ended and left no disk, when an empty one took its slots.
    Doomed,
    /// The engine elected a replica that did not have it.
    Election,
    /// Fate destroyed its last copy.
    Fate,
    /// A server that was deleted by force and could not be asked took it, on a disk that another one
    /// had.
    Ghost,
    /// An empty server was started in place, without the step.
    InPlace,
    /// Another member had taken the address of its master, and the last replica that had it copied
    /// that one by itself.
    Swapped,
    /// Its master did not come back, and the record named a replica that did not have it.
    Succession,
    /// A stale master took it, and nobody could know.
    Unknowable,
}

/// A write that a stale master took after it had come back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stale {
    /// Its step could have known, or have held it back.
    Preventable,
    /// It could not.
    Unknowable,
}

/// All acknowledged writes.
#[derive(Debug, Default)]
pub struct Ledger {
    writes: Vec<Acknowledged>,
    by_unit: Vec<Writes>,
    excused: Writes,
}

// === impl Writes ===

impl Writes {
    /// Adds one.
    pub fn insert(&mut self, write: WriteId) {
        let (word, bit) = (write.0 as usize / 64, write.0 % 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|w| *w == 0)
    }

    /// How many.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|w| w.count_ones()).sum()
    }

    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        if self.0.len() < others.0.len() {
            self.0.resize(others.0.len(), 0);
        }
        for (word, other) in self.0.iter_mut().zip(&others.0) {
            *word |= other;
        }
    }

    /// Takes others away.
    pub fn remove(&mut self, others: &Self) {
        for (word, other) in self.0.iter_mut().zip(&others.0) {
            *word &= !other;
        }
    }

    /// Those in both.
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    /// Those that are not in the other.
    pub fn without(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.remove(other);
        out
    }

    /// Whether some are in both.
    pub fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// Whether all are in the other.
    pub fn is_within(&self, other: &Self) -> bool {
        let other = |i: usize| other.0.get(i).copied().unwrap_or(0);
        self.0.iter().enumerate().all(|(i, w)| w & !other(i) == 0)
    }

    /// Each one.
    pub fn each(&self) -> impl Iterator<Item = WriteId> {
        self.0.iter().enumerate().flat_map(|(word, bits)| {
            let has = move |bit: &u32| bits >> bit & 1 == 1;
            (0..64).filter(has).map(move |bit| WriteId(word as u32 * 64 + bit))
        })
    }
}

// === impl Ledger ===

impl Ledger {
    /// One for so many units in each of so many sets.
    pub fn new(units: u8, sets: usize) -> Self {
        let count = usize::from(units) * sets;
        Self { by_unit: vec![Writes::default(); count], ..Self::default() }
    }

    /// Takes one down.
    pub fn note(&mut self, units: u8, write: Acknowledged) -> WriteId {
        let id = WriteId(self.writes.len() as u32);
        self.by_unit[write.set * usize::from(units) + usize::from(write.unit.0)].insert(id);
        if write.excuse.is_some() {
            self.excused.insert(id);
        }
        self.writes.push(write);
        id
    }

    /// One.
    pub fn get(&self, id: WriteId) -> &Acknowledged {
        &self.writes[id.0 as usize]
    }

    /// All.
    pub fn all(&self) -> &[Acknowledged] {
        &self.writes
    }

    /// Of all sets, those of these units.
    pub fn of_units(&self, units: u8, set: UnitSet) -> Writes {
        let mut out = Writes::default();
        for (i, writes) in self.by_unit.iter().enumerate() {
            if set.has(Unit((i % usize::from(units)) as u8)) {
                out.add(writes);
            }
        }
        out
    }

    /// One set's writes to a unit.
    pub fn of(&self, units: u8, set: usize, unit: Unit) -> &Writes {
        &self.by_unit[set * usize::from(units) + usize::from(unit.0)]
    }

    /// All of a set.
    pub fn of_set(&self, units: u8, set: usize) -> Writes {
        let mut out = Writes::default();
        for unit in (0..units).map(Unit) {
            out.add(self.of(units, set, unit));
        }
        out
    }

    /// Those that may be lost.
    pub fn excused(&self) -> &Writes {
        &self.excused
    }

    /// Lets writes be lost.
    pub fn excuse(&mut self, writes: &Writes, excuse: Excuse) {
        for id in writes.each() {
            self.writes[id.0 as usize].excuse.get_or_insert(excuse);
        }
        self.excused.add(writes);
    }
}
