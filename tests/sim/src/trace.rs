//! What a run tells.

use crate::world::World;

/// Where the lines go.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Trace {
    /// To standard output.
    Shown,
    /// Nowhere.
    #[default]
    Silent,
}

impl World {
    /// Tells a line, if anybody listens.
    pub fn tell(&self, line: impl FnOnce() -> String) {
        if self.trace == Trace::Shown {
            println!("{:>8} {}", self.now(), line());
        }
    }
}
