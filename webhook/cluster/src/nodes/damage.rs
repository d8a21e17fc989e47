//! What is wrong with a file, and how much of it is to be believed all the same.
//!
//! Guarantees: a file that was cut off, anywhere, never counts as whole. Every engine writes `vars`
//! last and ends every line, so a cut file lacks the one or the other. (Up to 7.0 files are
//! written in place and padded with line ends, which are no damage.)

use std::fmt;

use super::NodesConf;
use crate::id::NodeId;

/// Damage that engines load without a word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Damage {
    /// Zero bytes, as a power loss leaves them; from this line on (1-based).
    ZeroBytes(usize),
    /// A line without an id, or of blanks only, dropped.
    NoId(usize),
    /// The last line has no end, so it may say half of what it said; dropped.
    CutLine(usize),
    /// The `vars` line has no end, or there are two: the epochs may have been higher.
    Epochs,
    /// No `vars` line, which every engine writes last: the file is cut off.
    NoVars,
    /// A peer's line without a role, a replica's without a master, or replicas of each other.
    NoRole(NodeId),
}

/// How much of a file with damage is to be believed. Whatever it is, the own line is whole: a
/// file without it is no [`NodesConf`] but [`Remains`](super::Remains).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Trust {
    /// All of it: at most addresses are wrong.
    Whole,
    /// Members, roles and slots; but its epochs may have been higher. A repair keeps this member
    /// from voting twice.
    AllButEpochs,
    /// Only what is there. Other members, and owners of slots, may be missing, and its epochs may
    /// have been higher.
    LinesMissing,
}

/// A file that can not be used, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodesError {
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

// === impl NodesConf ===

impl NodesConf {
    /// How much of it is to be believed.
    pub fn trust(&self) -> Trust {
        let trust = |damage: &Damage| match damage {
            Damage::ZeroBytes(_) | Damage::CutLine(_) | Damage::NoVars => Trust::LinesMissing,
            Damage::Epochs => Trust::AllButEpochs,
            // Such lines come from engines themselves, and name nobody.
            Damage::NoId(_) | Damage::NoRole(_) => Trust::Whole,
        };
        self.damage.iter().map(trust).max().unwrap_or(Trust::Whole)
    }
}

// === impl Damage ===

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroBytes(line) => write!(f, "zero bytes from line {line} on"),
            Self::NoId(line) => write!(f, "line {line} has no node id and is dropped"),
            Self::CutLine(line) => write!(f, "line {line} has no end and is dropped"),
            Self::Epochs => f.write_str("the epochs in the line `vars` are not certain"),
            Self::NoVars => f.write_str("the line `vars` is missing, so the file was cut off"),
            Self::NoRole(id) => {
                write!(f, "the line of {id} says neither master nor whose replica it is")
            }
        }
    }
}

// === impl NodesError ===

impl fmt::Display for NodesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.why),
            n => write!(f, "line {n}: {}", self.why),
        }
    }
}

impl std::error::Error for NodesError {}
