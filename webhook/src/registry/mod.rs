//! The registry: members tell their addresses and learn the others'.
//!
//! Guarantees: a registration is one merge patch of the member's own key, and its answer is the
//! read of the others: of any two members the later one knows the earlier one's address. A pod
//! can write its own entry only. The record is a lower bound, not the truth: nothing is decided
//! here that a disk could know better.

mod credential;
mod ended;
mod events;
pub mod http;
mod isolate;
mod look;
mod noted;
mod nudge;
mod observe;
mod person;
mod propose;
pub mod record;
mod register;
mod sets;
mod store;
mod wanted;

use std::sync::Arc;

use kube::Client;

pub use self::credential::HookKey;
use self::credential::Reviewer;
use self::ended::Ended;
pub use self::isolate::run as isolate;
pub use self::nudge::run as nudge;
pub use self::person::{forget, promote};
pub use self::store::Store;
pub use self::wanted::Wanted;

/// What all requests share.
#[derive(Clone)]
pub struct Registry {
    store: Store,
    reviewer: Arc<Reviewer>,
    hooks: tokio::sync::watch::Receiver<HookKey>,
    ended: Ended,
}

/// A request can not be answered as asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The credential shows nobody, or somebody else.
    #[error("{0}")]
    Credential(String),
    /// Only a person's change helps.
    #[error("{0}")]
    Refused(String),
    /// The API server could not answer; asking again may help.
    #[error("the API server could not be asked: {0}")]
    Unavailable(String),
}

// === impl Registry ===

impl Registry {
    /// The registry behind a client; `hooks` is the key of hook tokens, which follows the
    /// authority's.
    pub fn new(client: Client, hooks: tokio::sync::watch::Receiver<HookKey>) -> Self {
        let reviewer = Arc::new(Reviewer::new(client.clone()));
        Self { store: Store::new(client), reviewer, hooks, ended: Ended::default() }
    }

    /// Watches pods end, for ever.
    pub async fn watch(&self) {
        self.ended.run(self.store.client().clone()).await;
    }

    /// The records.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

// === impl Fault ===

impl From<kube::Error> for Fault {
    fn from(error: kube::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}
