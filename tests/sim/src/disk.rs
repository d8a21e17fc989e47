//! Disks: what a member leaves behind.
//!
//! Guarantees: a disk holds what was last written to it, by whoever had it: a pod, its successor,
//! or a server whose pod was deleted by force and that still runs.

use cluster::nodes::NodesConf;
use cluster::planner::DiskSeen;
use cluster::protocol::{Mark, Stopped};

use crate::data::Writes;
use crate::engine::{Proc, Role};
use crate::ids::{Names, Nid, ProcId};
use crate::units::{UnitSet, Units};

/// A disk, by the order in which they were made.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct DiskId(pub usize);

/// A disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// nodes.conf.
    pub conf: File,
    /// The writes that are on it.
    pub data: Writes,
    /// Whether there are data files, with keys or without.
    pub files: bool,
    /// When data were written to it last.
    pub written: u64,
    /// What its server left when it was asked to stop.
    pub stopped: Option<Note>,
    /// What it had left before it was started last.
    pub stopped_before: Option<Note>,
    /// The birth mark.
    pub mark: Option<Mark>,
    /// Of which set it is.
    pub set: usize,
    /// Of which ordinal.
    pub ordinal: u32,
    /// Whether it is gone for good.
    pub lost: bool,
}

/// What a server writes down when it is asked to stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Note {
    /// When.
    pub at: u64,
    /// Its offset.
    pub offset: u64,
    /// A replica: when its link was up last, if it was.
    pub linked_at: Option<u64>,
}

/// nodes.conf as it is on a disk.
#[derive(Clone, Debug, Default)]
pub enum File {
    /// There is none.
    #[default]
    None,
    /// The table of this server as it is, or was when it ended: servers write it at each change.
    Of(ProcId),
    /// This text.
    Text(Vec<u8>),
}

/// What a file, or a server, says of its own member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Claimed {
    /// Its id.
    pub id: Nid,
    /// Its epoch.
    pub epoch: u64,
    /// Its slots.
    pub units: UnitSet,
}

// === impl Disk ===

impl Disk {
    /// A new one.
    pub fn new(set: usize, ordinal: u32) -> Self {
        Self { set, ordinal, ..Self::default() }
    }

    /// What a step sees.
    pub fn look(&self, now: u64, procs: &[Proc], names: &Names, units: &Units) -> DiskSeen {
        let data = !self.data.is_empty();
        DiskSeen {
            nodes_conf: self.conf.text(procs, names, units),
            data,
            files: self.files,
            mark: self.mark.clone(),
            written_ago: data.then(|| now.saturating_sub(self.written)),
            stopped: self.stopped.map(|note| Stopped {
                ago: now.saturating_sub(note.at),
                offset: note.offset,
                linked_ago: note.linked_at.map(|at| now.saturating_sub(at)),
            }),
        }
    }
}

// === impl File ===

impl File {
    /// Its text.
    pub fn text(&self, procs: &[Proc], names: &Names, units: &Units) -> Option<Vec<u8>> {
        match self {
            Self::None => None,
            Self::Of(proc) => Some(procs[proc.0 as usize].file(names, units).into_bytes()),
            Self::Text(text) => Some(text.clone()),
        }
    }

    /// What it makes its member the master of, if it does.
    pub fn claimed(&self, procs: &[Proc], names: &mut Names, units: &Units) -> Option<Claimed> {
        match self {
            Self::None => None,
            Self::Of(proc) => procs[proc.0 as usize].claimed(),
            Self::Text(text) => {
                let conf = NodesConf::parse(text).ok()?;
                let me = conf.myself().filter(|me| me.is_master() && !me.slots.is_empty())?;
                Some(Claimed {
                    id: names.number(me.id),
                    epoch: me.config_epoch,
                    units: units.of(&me.slots),
                })
            }
        }
    }
}

// === impl Proc ===

impl Proc {
    /// What it says of itself, if it is a master of slots.
    pub fn claimed(&self) -> Option<Claimed> {
        let me = self.me();
        let owner = me.role == Role::Master && !me.slots.is_empty();
        owner.then_some(Claimed { id: me.id, epoch: me.epoch, units: me.slots })
    }
}
