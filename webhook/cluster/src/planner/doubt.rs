//! What can not be relied on of a disk: a birth mark that can not be read, a lock that somebody
//! holds.
//!
//! Guarantees: ids are never taken from a disk whose mark can not be read, unless a step of this
//! set has registered the same id under a mark of this set before; a file that is locked is
//! written only once the registry has seen the end of the pod that had it before.

use super::{DiskState, Doubt, Millis, Planner, Poll, Registry, TWIN_PATIENCE};
use crate::id::NodeId;
use crate::protocol::View;
use crate::record;

/// How long until a locked file is looked at again.
const PAUSE: Millis = Millis(1_000);

/// What has been found doubtful.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Of the disk as it was read last.
    now: Vec<Doubt>,
    /// Whether the file was locked when it was read before.
    was_locked: bool,
    /// Whether the registry has seen the end of the pod before this one.
    pub(super) predecessor_ended: bool,
    /// Whether the registry has known no pod before this one.
    pub(super) no_predecessor: bool,
    /// Whether it has said so.
    learned: bool,
    /// The id that the record has proven to be this set's. Registering again hides the proof.
    proven: Option<NodeId>,
    /// When the disk is read again.
    next: Option<Millis>,
}

// === impl Doubts ===

impl Doubts {
    pub(super) fn add(&mut self, doubt: Doubt) {
        self.now.push(doubt);
    }

    /// The disk is read anew.
    pub(super) fn forget(&mut self) {
        self.was_locked = self.is_locked();
        self.now.clear();
    }

    /// What the registry says of the pod before. Once this pod's own entry is the one before,
    /// it says nothing of an older pod any more.
    pub(super) fn learn(&mut self, view: &View) {
        self.no_predecessor |= !self.learned && view.before.is_none();
        self.learned = true;
        let own = view.members.get(&view.pod).map(|m| &m.pod_uid);
        let before = view.before.as_ref().map(|m| &m.pod_uid);
        self.predecessor_ended |= view.predecessor_ended && before.is_some() && before != own;
    }

    pub(super) fn waits_for(&self) -> Option<&'static str> {
        self.next.map(|_| "the lock on nodes.conf: the pod before this one may still run")
    }

    fn is_locked(&self) -> bool {
        self.now.contains(&Doubt::Locked)
    }

    fn of_mark(&self) -> Option<&str> {
        self.now.iter().find_map(|doubt| match doubt {
            Doubt::Mark(why) => Some(why.as_str()),
            Doubt::Locked => None,
        })
    }
}

// === impl Planner ===

impl Planner {
    /// The disk was read. A lock that is gone was a server's, which may have written its file, and
    /// others may have registered, until now.
    pub(super) fn disk_seen(&mut self, now: Millis) {
        if self.doubts.was_locked && !self.doubts.is_locked() {
            self.registry = Registry::Idle { next: now, attempts: 0 };
        }
    }

    /// Whether what is in doubt needs no answer any more.
    pub(super) fn settle_doubts(&mut self, now: Millis, poll: &mut Poll) -> bool {
        if let Some(why) = self.doubtful_mark() {
            self.refuse(why);
            return false;
        }
        if !self.doubts.is_locked() || self.doubts.predecessor_ended {
            self.doubts.next = None;
            return true;
        }
        if now >= TWIN_PATIENCE {
            self.refuse(
                "another process holds the lock on nodes.conf, and nobody has seen the pod before \
                 this one end: it may still run on a machine that is out of reach; make sure that \
                 it does not, then delete this pod, and the lock counts as one that was left behind"
                    .to_owned(),
            );
            return false;
        }
        match self.doubts.next {
            Some(next) if now >= next => {
                self.doubts.next = Some(Millis(now.0 + PAUSE.0));
                self.disk = DiskState::Unread;
                poll.wake_at(now);
            }
            Some(next) => poll.wake_at(next),
            None => {
                let next = Millis(now.0 + PAUSE.0);
                self.doubts.next = Some(next);
                poll.wake_at(next);
            }
        }
        false
    }

    /// Why this disk's ids can not be used; `None` where its mark was read, there is none, or it
    /// does not matter whose disk it is.
    fn doubtful_mark(&mut self) -> Option<String> {
        let why = self.doubts.of_mark()?.to_owned();
        let DiskState::Read(disk) = &self.disk else { return None };
        let id = match &disk.conf {
            Ok(Some(conf)) => conf.myself().map(|me| me.id),
            Ok(None) if !disk.data => return None,
            Ok(None) => None,
            Err(_) => disk.remains.as_ref().and_then(|r| r.me),
        };
        if id.is_some() && (id == self.doubts.proven || self.is_known_as_own(id)) {
            self.doubts.proven = id;
            return None;
        }
        let again = match self.view() {
            Some(_) => "",
            None => ", or wait until the registry is back, which may know the disk",
        };
        Some(format!(
            "the mark beside nodes.conf that says which set this disk belongs to can not be read \
             ({why}), and a copy of another set's disk must not start under that set's ids: if the \
             disk is this set's own, delete .mooring.json beside nodes.conf; if it is a copy, start \
             from a copy whose mark is whole, or from an empty disk{again}"
        ))
    }

    /// Whether this pod's entry, from before this start, has this id with a mark of this set. An
    /// entry without a mark proves nothing: records are copied and restored like disks.
    fn is_known_as_own(&self, id: Option<NodeId>) -> bool {
        let Some(before) = self.view().and_then(|view| view.before.as_ref()) else { return false };
        let marked = before.disk.mark.as_ref();
        marked.is_some_and(|mark| !record::is_copy(mark, self.place()))
            && before.disk.identity.as_ref().map(|i| i.node_id) == id
    }
}
