//! Accidents that lose data on every engine, each with its control: the same without Mooring's part.
//!
//! Guarantees: a control that loses nothing fails its case, since then the case shows nothing.

use std::time::Duration;

pub(crate) mod emptied;
pub(crate) mod stale;

/// After this the engine itself has replaced a master that is gone.
const ELECTED: Duration = Duration::from_secs(15);

/// A control that has to lose something.
fn must_lose(lost: usize, what: &str) -> Result<usize, String> {
    match lost {
        0 => Err(format!("the control ({what}) loses nothing, so the case shows nothing")),
        lost => Ok(lost),
    }
}
