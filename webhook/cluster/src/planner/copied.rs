//! Disks that are copies of another set's: what of them can be used here, and under which ids.
//!
//! Guarantees: no id of another set is started in this one.

use super::{DiskState, Planner};
use crate::id::{NodeId, Ordinal};
use crate::nodes::{NodesConf, Remains};
use crate::protocol::Mark;
use crate::record::{self, Place};

// === impl Planner ===

impl Planner {
    /// The disk's file with the ids of this set: those of a copy of another set's disk are mapped
    /// to new ones, the same on every member's copy.
    ///
    /// # Errors
    /// If it is a copy, and it can not be known that this set has no ids of its own.
    pub(super) fn as_this_sets(&self, mut conf: NodesConf) -> Result<NodesConf, String> {
        let Some(mark) = self.foreign_mark() else { return Ok(conf) };
        let whose = format!("{}/{}", mark.namespace, mark.name);
        let Some(view) = self.view() else {
            return Err(format!(
                "this disk is a copy of one of {whose} and can not be given ids of its own without \
                 the registry; trying again"
            ));
        };
        let id = conf.myself().map(|me| me.id);
        if id.is_some_and(|id| record::is_renamed(mark, id, &view.plan)) {
            return Ok(conf);
        }
        let mut others =
            view.members.iter().chain(&view.earlier).filter(|(name, _)| **name != view.pod);
        let native = others.find(|(name, member)| match &member.disk.mark {
            Some(mark) => !record::is_copy(mark, self.place_of(name)),
            None => record::has_begun(&view.plan, member),
        });
        if let Some((native, _)) = native {
            return Err(format!(
                "this disk belongs to {whose}, and {native} of this set has a disk of its own: \
                 give this pod its own disk back, or an empty one"
            ));
        }
        conf.rename(&view.plan.salt);
        Ok(conf)
    }

    /// What is left of a damaged file, if it is this set's own.
    pub(super) fn remains(&self) -> Option<&Remains> {
        let DiskState::Read(disk) = &self.disk else { return None };
        disk.remains.as_ref().filter(|_| self.foreign_mark().is_none())
    }

    /// The id under which the disk was used, by its mark, if it is this set's own.
    pub(super) fn marked(&self) -> Option<NodeId> {
        let DiskState::Read(disk) = &self.disk else { return None };
        disk.mark.as_ref().filter(|mark| !record::is_copy(mark, self.place())).map(|m| m.node_id)
    }

    /// The disk's mark, if it is another set's: the disk is a copy.
    pub(super) fn foreign_mark(&self) -> Option<&Mark> {
        let DiskState::Read(disk) = &self.disk else { return None };
        disk.mark.as_ref().filter(|mark| record::is_copy(mark, self.place()))
    }

    fn place_of<'a>(&'a self, pod: &'a str) -> Place<'a> {
        Place { set: Ordinal::set_of(pod), ..self.place() }
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place { namespace: &self.setup.namespace, set: &self.setup.set }
    }
}
