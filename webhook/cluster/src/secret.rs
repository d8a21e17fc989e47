//! The cluster's own replication secret: who may copy whom, where the user has not said it.
//!
//! Replication asks nobody who he is: any server at a dead master's address is copied, and an
//! empty one empties the shard. So members get a user for replication only, with a secret that no
//! other cluster has, at run time: `ACL SETUSER` on whoever is copied, `masteruser` and
//! `masterauth` on whoever copies.
//!
//! Guarantees: a user's own `masterauth`, `masteruser`, ACL file or user of that name is never
//! touched, and servers older than 6.0 are left alone; a member copies with the secret only once
//! every living member of its shard, any of which may become its master, accepts it; a secret is
//! taken away only when no member of the shard uses it; the user of a server is set by its own
//! pod's hook only, after [`gate::look`]; the secret is in no text that is printed, and servers are
//! told its hash wherever the hash does.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::resp::{Reply, field};

pub mod gate;
mod shard;

pub use shard::{Action, Party, Presence, plan};

/// The user that members show to each other. It may copy, and nothing else.
pub const USER: &str = "mooring";
/// What it may do.
const RULES: [&str; 3] = ["+psync", "+replconf", "+ping"];

/// A server that answers commands. Whoever implements it bounds the time of each.
pub trait Server {
    /// Sends a command and reads its reply, an error of the server's included.
    ///
    /// # Errors
    /// If there is no reply.
    fn ask(&mut self, words: &[&str]) -> Result<Reply, String>;
}

/// The secret: the same for all members of a cluster, and no other cluster's. Never printed.
#[derive(Clone, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct ReplicationSecret(String);

/// The text can be no secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SecretError;

/// What a server keeps of a secret: its SHA-256, in hexadecimal digits.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Hash(String);

/// Where a hook has the secret from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// What the step left when the pod was made. There may be a newer one since.
    Kept,
    /// From the registry just now: it is the present one.
    Registry,
}

/// What a server says of its part in replication.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stand {
    /// Mooring has no part in it.
    HandsOff(Why),
    /// Nothing of the user's is in the way.
    Ours(Copying),
}

/// Why Mooring leaves a server alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// It has an ACL file.
    AclFile,
    /// `masterauth` or `masteruser` is set, and not by Mooring.
    Configured,
    /// A user of this name is there that is not Mooring's.
    Taken,
    /// It knows no users: it is older than 6.0, or the commands were taken away.
    Unable,
}

/// By what a server is copied, and by what it copies.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Copying {
    /// The secrets that it accepts; none while it has no such user.
    pub accepts: BTreeSet<Hash>,
    /// What it shows to its master; `None` where it shows nothing of Mooring's.
    pub shows: Option<ReplicationSecret>,
}

/// A command for a server. What it holds is not printed.
#[derive(Clone, Eq, PartialEq)]
pub struct Command(Vec<String>);

/// Asks a server how it stands.
///
/// # Errors
/// If it does not answer.
pub fn read(server: &mut impl Server) -> Result<Stand, String> {
    let off = |why| Ok(Stand::HandsOff(why));
    let info = server.ask(&["INFO", "server"])?.text().unwrap_or_default();
    if !knows_users(&info) {
        return off(Why::Unable);
    }
    let mut option = |name: &str| {
        Ok::<_, String>(match server.ask(&["CONFIG", "GET", name])? {
            Reply::Array(Some(pair)) => pair.get(1).and_then(Reply::text),
            _ => None,
        })
    };
    let found = (option("aclfile")?, option("masteruser")?, option("masterauth")?);
    let (Some(file), Some(user), Some(auth)) = found else { return off(Why::Unable) };
    if !file.is_empty() {
        return off(Why::AclFile);
    }
    // The name alone is harmless: it is set before the secret, and unset after it.
    let shows = match (user.as_str(), auth.as_str()) {
        ("" | USER, "") => None,
        (USER, secret) => match secret.parse() {
            Ok(secret) => Some(secret),
            Err(SecretError) => return off(Why::Configured),
        },
        _ => return off(Why::Configured),
    };
    match server.ask(&["ACL", "GETUSER", USER])? {
        Reply::Error(_) => off(Why::Unable),
        Reply::Array(Some(said)) => match accepted(&said) {
            Some(accepts) => Ok(Stand::Ours(Copying { accepts, shows })),
            None => off(Why::Taken),
        },
        _ => Ok(Stand::Ours(Copying { accepts: BTreeSet::new(), shows })),
    }
}

/// What makes a server accept these secrets, beside those that it accepts already. `None` where
/// it does.
pub fn accept<'a>(
    present: &Copying,
    wanted: impl IntoIterator<Item = &'a Hash>,
) -> Option<Command> {
    let new = wanted.into_iter().filter(|hash| !present.accepts.contains(hash));
    let new: BTreeSet<_> = new.collect();
    if new.is_empty() {
        return None;
    }
    let hashes = new.into_iter().map(|hash| format!("#{}", hash.0));
    let words = ["ACL", "SETUSER", USER, "on"].into_iter().map(str::to_owned);
    Some(Command(words.chain(hashes).chain(RULES.map(str::to_owned)).collect()))
}

/// Carries commands out; the first that the server refuses ends it.
///
/// # Errors
/// In the server's words, or if there is no answer.
pub fn tell(server: &mut impl Server, commands: &[Command]) -> Result<(), String> {
    for command in commands {
        let words: Vec<&str> = command.0.iter().map(String::as_str).collect();
        if let Reply::Error(why) = server.ask(&words)? {
            return Err(format!("{command:?}: {why}"));
        }
    }
    Ok(())
}

// === impl ReplicationSecret ===

impl ReplicationSecret {
    /// What a server keeps of it.
    pub fn hash(&self) -> Hash {
        let digest = Sha256::digest(self.0.as_bytes());
        Hash(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The text itself, for a server.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReplicationSecret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let valid = (32..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if valid { Ok(Self(text.to_owned())) } else { Err(SecretError) }
    }
}

impl TryFrom<String> for ReplicationSecret {
    type Error = SecretError;

    fn try_from(text: String) -> Result<Self, SecretError> {
        text.parse()
    }
}

impl From<ReplicationSecret> for String {
    fn from(secret: ReplicationSecret) -> Self {
        secret.0
    }
}

impl fmt::Debug for ReplicationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplicationSecret")
    }
}

// === impl SecretError ===

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a replication secret is 32 to 128 characters of a-z and 0-9")
    }
}

impl std::error::Error for SecretError {}

// === impl Command ===

impl Command {
    /// What makes a server copy with a secret, or without one. The name comes first and goes
    /// last: without a secret a server does not use it, and a secret without it is another user's.
    pub(crate) fn show(secret: Option<&ReplicationSecret>) -> Vec<Self> {
        let set = |name: &str, value: &str| {
            Self(["CONFIG", "SET", name, value].map(str::to_owned).into())
        };
        match secret {
            Some(secret) => vec![set("masteruser", USER), set("masterauth", secret.expose())],
            None => vec![set("masterauth", ""), set("masteruser", "")],
        }
    }

    /// What makes a server accept this secret only.
    pub(crate) fn accept_only(hash: &Hash) -> Self {
        let rule = format!("#{}", hash.0);
        let words = ["ACL", "SETUSER", USER, "resetpass", &rule];
        Self(words.map(str::to_owned).into())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(" "))
    }
}

/// Whether users were known by then: Valkey, and Redis from 6.0 on.
fn knows_users(info: &str) -> bool {
    let redis = field(info, "redis_version").and_then(|v| v.split('.').next()?.parse::<u32>().ok());
    field(info, "valkey_version").is_some() || redis.is_some_and(|major| major >= 6)
}

/// The passwords of ACL GETUSER's answer; `None` where the user may do anything else.
fn accepted(said: &[Reply]) -> Option<BTreeSet<Hash>> {
    let get = |name: &str| {
        let at = said.iter().step_by(2).position(|key| key.text().as_deref() == Some(name))?;
        said.get(at * 2 + 1)
    };
    let list = |reply: &Reply| match reply {
        Reply::Array(Some(items)) => Some(items.iter().filter_map(Reply::text).collect::<Vec<_>>()),
        _ => None,
    };
    let commands = get("commands")?.text()?;
    let known = |word: &str| word == "-@all" || RULES.contains(&word);
    let flags = list(get("flags")?)?;
    let open = |flag: &String| ["nopass", "allkeys", "off"].contains(&flag.as_str());
    if !commands.split_whitespace().all(known) || flags.iter().any(open) {
        return None;
    }
    Some(list(get("passwords")?)?.into_iter().map(Hash).collect())
}

#[cfg(test)]
mod tests;
