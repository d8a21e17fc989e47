//! Passwords: who is let in by a server, and what it shows to its master.

use crate::client;

/// Who may talk to a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    /// Whoever knows the set's password, members included.
    Locked,
    /// Everybody: no password is set.
    Open,
    /// Whoever knows this other password, which it shows to its master, too.
    Other(&'static str),
    /// Whoever knows one of two passwords, of which it shows the first one to its master.
    Both {
        /// What it shows.
        shows: &'static str,
        /// The other one.
        other: &'static str,
    },
}

// === impl Door ===

impl Door {
    /// The server's options for it.
    pub(super) fn words(self) -> Vec<String> {
        let one = |password: &str| {
            ["--requirepass", password, "--masterauth", password].map(str::to_owned)
        };
        match self {
            Self::Open => Vec::new(),
            Self::Locked => one(client::PASSWORD).into(),
            Self::Other(password) => one(password).into(),
            Self::Both { shows, other } => {
                let (first, second) = (format!(">{shows}"), format!(">{other}"));
                let user = ["--user", "default", "on", &first, &second, "allkeys", "allcommands"];
                user.into_iter().chain(["--masterauth", shows]).map(str::to_owned).collect()
            }
        }
    }
}
