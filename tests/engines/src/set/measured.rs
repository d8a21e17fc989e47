//! What was measured of a case, and what its control came to.

/// What was measured after a start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// From the last server's start until all slots had been written.
    pub(crate) seconds: f64,
    /// Keys that were written before and are not there.
    pub(crate) lost: usize,
    /// From the last server's start until everybody saw a whole cluster and all replicas had
    /// their masters.
    pub(crate) whole: f64,
    /// Addresses of peers that the files did not say at the start, of all members together.
    pub(crate) unknown: usize,
    /// Replicas that had to be told to look for their master.
    pub(crate) told: usize,
    /// The same as `seconds`, of files that know every address, started without Mooring.
    pub(crate) hand: Option<f64>,
    /// Of an accident: what it costs without Mooring.
    pub(crate) control: Option<Control>,
}

/// What the same accident costs without Mooring's part.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Control {
    /// So many of the shard's keys; it has to be some, or the case shows nothing.
    Loses(usize),
    /// So many; this version is known to save itself.
    MayLose(usize),
    /// Nothing, but slots stay without an owner for as long as it is looked at.
    Hangs,
    /// Nothing, but so many servers have a forgotten node again.
    Returns(usize),
    /// Nothing, but a replica has no link to its master for as long as it is looked at.
    Unlinked,
    /// Nothing was done: Mooring has no answer on this version, and that is why.
    Open(&'static str),
}

// === impl Measured ===

impl Measured {
    /// Before the first of several starts.
    pub(crate) const NOTHING: Self =
        Self { seconds: 0.0, lost: 0, whole: 0.0, unknown: 0, told: 0, hand: None, control: None };

    /// One start more: the slowest counts, and all that was lost.
    pub(crate) fn add(&mut self, once: Self) {
        self.seconds = self.seconds.max(once.seconds);
        self.whole = self.whole.max(once.whole);
        self.lost += once.lost;
        self.unknown += once.unknown;
        self.told += once.told;
    }
}
