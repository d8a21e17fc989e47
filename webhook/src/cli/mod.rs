//! The command line's twins of what the webhook does: the same functions on manifests.

mod explain;
mod inject;
mod isolation;
mod manifest;
mod person;

pub use self::explain::{Options as ExplainOptions, run as explain};
pub use self::inject::{Options as InjectOptions, run as inject};
pub use self::isolation::{Options as IsolationOptions, run as isolation};
pub use self::person::{Forget, Promote, forget, promote};
