//! What is done to a set, and what has to come of it.

use std::time::Duration;

use crate::accidents::Accident;
use crate::accidents::missing::{Disks, Masters};
use crate::accidents::restart::Gone;
use crate::accidents::stale::Others;
use crate::accidents::stranger::Kind;
use crate::member::Outcome;
use crate::registry::Order;
use crate::set::{Measured, Set};
use crate::versions::Version;

mod damaged;
mod start;

/// A case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Case {
    /// Six members begin on empty disks.
    Form,
    /// A set of a hundred members begins on empty disks.
    FormHundred,
    /// All are killed and come back, each with another one's address.
    Outage(Order),
    /// All are killed; somebody else's cluster has two of their addresses when they come back.
    Foreign,
    /// All are killed and come back as the next newer version.
    Newer,
    /// Then as their own version again, which can not read the newer one's data.
    Older,
    /// One member's nodes.conf is damaged, in one way after the other.
    Damaged,
    /// All disks are emptied.
    Empty,
    /// All pods are gone and made again over their old disks, but for a master's, which is empty:
    /// its step is the first to begin.
    RecreatedOneEmpty,
    /// All are killed and come back on another port.
    PortAll,
    /// Each is killed and comes back on another port while the others run.
    PortOneByOne,
    /// All pods are gone and the record with them; the set is made again over its old disks.
    Recreated,
    /// An accident, with its control.
    Accident(Accident),
}

/// All of them. Each begins with the set as the one before has left it; those that are timed come
/// first.
pub(crate) const CASES: [Case; 30] = [
    Case::Form,
    Case::Outage(Order::Parallel),
    Case::Outage(Order::Ordered),
    Case::FormHundred,
    Case::Foreign,
    Case::Newer,
    Case::Older,
    Case::Damaged,
    Case::Empty,
    Case::RecreatedOneEmpty,
    Case::PortAll,
    Case::PortOneByOne,
    Case::Recreated,
    Case::Accident(Accident::Emptied),
    Case::Accident(Accident::Stale(Others::Nobody)),
    Case::Accident(Accident::Stale(Others::One)),
    Case::Accident(Accident::Stale(Others::OutOfReach)),
    Case::Accident(Accident::Missing(Masters::One, Disks::Kept)),
    Case::Accident(Accident::Missing(Masters::One, Disks::Lost)),
    Case::Accident(Accident::Missing(Masters::Two, Disks::Kept)),
    Case::Accident(Accident::Missing(Masters::Two, Disks::Lost)),
    Case::Accident(Accident::Forgotten),
    Case::Accident(Accident::Clone),
    Case::Accident(Accident::Stranger(Kind::Plain)),
    Case::Accident(Accident::Stranger(Kind::Node)),
    Case::Accident(Accident::Restart(Gone::Emptied)),
    Case::Accident(Accident::Restart(Gone::NeverKept)),
    Case::Accident(Accident::Passwords),
    Case::Accident(Accident::Rotation),
    Case::Accident(Accident::Late),
];

/// What may run beside a case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Company {
    /// Nothing: its time is compared with that of a start by hand, or it takes the whole machine.
    Nobody,
    /// One other version: its time has a bound.
    One,
    /// As many versions as there are to be: it waits most of the time.
    Many,
}

/// When a step that has refused is started again; the kubelet's first pauses are longer.
const RETRIES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// How many nodes a run has: six members, three that are free or somebody else's, and two to which the
/// nine members of a larger set can go.
pub(crate) const NODES: u8 = 11;

// === impl Case ===

impl Case {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::FormHundred => "form-100",
            Self::Outage(Order::Parallel) => "outage-parallel",
            Self::Outage(Order::Ordered) => "outage-ordered",
            Self::Foreign => "foreign",
            Self::Newer => "newer",
            Self::Older => "older",
            Self::Damaged => "damaged",
            Self::Empty => "empty",
            Self::RecreatedOneEmpty => "recreated-one-empty",
            Self::PortAll => "port-all",
            Self::PortOneByOne => "port-one-by-one",
            Self::Recreated => "recreated",
            Self::Accident(accident) => accident.name(),
        }
    }

    /// Whether there is such a case for a version.
    pub(crate) fn is_for(self, version: &Version) -> bool {
        !matches!(self, Self::Newer | Self::Older) || version.newer().is_some()
    }

    /// What may run beside it.
    pub(crate) fn company(self) -> Company {
        match self {
            Self::Form | Self::FormHundred | Self::Outage(_) => Company::Nobody,
            Self::Accident(_) => Company::Many,
            _ => Company::One,
        }
    }

    /// Does it to the set.
    pub(crate) fn run(self, set: &mut Set) -> Result<Measured, String> {
        match self {
            Self::Form => start::form(set),
            Self::FormHundred => start::form_hundred(set),
            Self::Outage(order) => start::outage(set, order),
            Self::Foreign => start::foreign(set),
            Self::Newer => start::newer(set),
            Self::Older => start::older(set),
            Self::Damaged => damaged::run(set),
            Self::Empty => start::empty(set),
            Self::RecreatedOneEmpty => start::recreated_one_empty(set),
            Self::PortAll => start::port_all(set),
            Self::PortOneByOne => start::port_one_by_one(set),
            Self::Recreated => start::recreated(set),
            Self::Accident(accident) => accident.run(set),
        }
    }
}

pub(crate) fn nobody_refuses(outcomes: &[Outcome]) -> Result<(), String> {
    match outcomes.iter().find_map(|o| o.refused.as_ref()) {
        Some(why) => Err(format!("a step refuses: {why}")),
        None => Ok(()),
    }
}

fn all_are(outcomes: &[Outcome], reason: &str) -> Result<(), String> {
    nobody_refuses(outcomes)?;
    let other = outcomes.iter().find(|o| !o.reports.iter().any(|(r, _)| r == reason));
    match other {
        Some(other) => Err(format!("a step was not {reason} but says {:?}", other.reports)),
        None => Ok(()),
    }
}
