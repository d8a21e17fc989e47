//! One line of the table: what a node is to whoever lists it, and its text.

use std::fmt;

use super::{Flag, Node};

// === impl Node ===

impl Node {
    /// [`Flag::Master`] or [`Flag::Replica`], if it is one of the two.
    pub fn role(&self) -> Option<Flag> {
        match (self.flags.contains(&Flag::Master), self.flags.contains(&Flag::Replica)) {
            (true, false) => Some(Flag::Master),
            (false, true) => Some(Flag::Replica),
            _ => None,
        }
    }

    /// Whether it is a master (with slots or without).
    pub fn is_master(&self) -> bool {
        self.flags.contains(&Flag::Master)
    }

    /// Whether it answers the server whose table this is.
    pub fn answers(&self) -> bool {
        let out = [Flag::Failing, Flag::PossiblyFailing, Flag::NoAddress, Flag::Handshake];
        self.link == "connected" && !out.iter().any(|flag| self.flags.contains(flag))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.id, self.endpoint)?;
        if self.flags.is_empty() {
            f.write_str("noflags")?;
        }
        for (i, flag) in self.flags.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { "," }, flag.name())?;
        }
        match self.master {
            Some(master) => write!(f, " {master}")?,
            None => f.write_str(" -")?,
        }
        let Self { ping_sent, pong_received, config_epoch, link, .. } = self;
        write!(f, " {ping_sent} {pong_received} {config_epoch} {link}")?;
        self.slots.iter().try_for_each(|range| write!(f, " {range}"))?;
        self.open_slots.iter().try_for_each(|open| write!(f, " {open}"))
    }
}
