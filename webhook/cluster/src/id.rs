//! Names of things: node ids, shard ids, ordinals. A value of these types is always valid.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a node on the cluster bus: 40 characters of `a-z0-9`.
///
/// Redis 7.0 and later refuse any other character (`verifyClusterNodeId`, `cluster.c`); earlier
/// versions take anything, but always write 40 lower-case hex digits themselves.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct NodeId([u8; 40]);

/// The name of a shard (7.2 and later): the same form as a [`NodeId`], the same on every member
/// of a shard.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct ShardId([u8; 40]);

/// The text is not 40 characters of `a-z0-9`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IdError;

/// The number at the end of a StatefulSet pod's name; in a plan, that of a seat.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Ordinal(pub u32);

// === impl NodeId ===

impl NodeId {
    /// The id made of the first 20 bytes of a digest, as 40 hex digits.
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        Self(hex(digest))
    }

    /// The 40 characters.
    pub fn as_str(&self) -> &str {
        text(&self.0)
    }
}

impl FromStr for NodeId {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        parse(s).map(Self)
    }
}

// === impl ShardId ===

impl ShardId {
    /// The id made of the first 20 bytes of a digest, as 40 hex digits.
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        Self(hex(digest))
    }

    /// The 40 characters.
    pub fn as_str(&self) -> &str {
        text(&self.0)
    }
}

impl FromStr for ShardId {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        parse(s).map(Self)
    }
}

macro_rules! id_traits {
    ($t:ty) => {
        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl From<$t> for String {
            fn from(id: $t) -> Self {
                id.as_str().to_owned()
            }
        }

        impl TryFrom<String> for $t {
            type Error = IdError;

            fn try_from(s: String) -> Result<Self, IdError> {
                s.parse()
            }
        }
    };
}

id_traits!(NodeId);
id_traits!(ShardId);

// === impl IdError ===

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id is 40 characters of a-z and 0-9")
    }
}

impl std::error::Error for IdError {}

// === impl Ordinal ===

impl Ordinal {
    /// The ordinal of a pod by its name and its StatefulSet's: `cache-3` of `cache` is 3.
    pub fn of_pod(pod: &str, set: &str) -> Option<Self> {
        let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
        let plain = digits == "0" || !digits.starts_with('0');
        let numeric = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        (plain && numeric).then(|| digits.parse().ok().map(Self))?
    }

    /// The StatefulSet of a pod, by the pod's name.
    pub fn set_of(pod: &str) -> &str {
        pod.rsplit_once('-').map_or(pod, |(set, _)| set)
    }

    /// The pod of this ordinal of a StatefulSet.
    pub fn pod_of(self, set: &str) -> String {
        format!("{set}-{self}")
    }

    /// Of a pod that no plan seats.
    pub const BEYOND: Self = Self(u32::MAX);
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn parse(s: &str) -> Result<[u8; 40], IdError> {
    let bytes: [u8; 40] = s.as_bytes().try_into().map_err(|_| IdError)?;
    let valid = bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
    if valid { Ok(bytes) } else { Err(IdError) }
}

fn hex(digest: &[u8; 32]) -> [u8; 40] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 40];
    for (pair, byte) in out.chunks_exact_mut(2).zip(digest) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out
}

/// The bytes are ASCII by construction; the empty text can not occur.
fn text(bytes: &[u8; 40]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forty_lower_case_characters_are_an_id() {
        assert!("0123456789abcdefghijklmnopqrstuvwxyz0123".parse::<NodeId>().is_ok());
        for bad in ["", "0123", &"A".repeat(40), &"a".repeat(41), &"-".repeat(40)] {
            assert_eq!(bad.parse::<NodeId>(), Err(IdError), "{bad}");
        }
    }

    #[test]
    fn an_ordinal_is_read_as_the_controller_writes_it() {
        assert_eq!(Ordinal::of_pod("cache-0", "cache"), Some(Ordinal(0)));
        assert_eq!(Ordinal::of_pod("cache-12", "cache"), Some(Ordinal(12)));
        for bad in ["cache", "cache-", "cache-01", "cache-x", "cache-1-2", "other-1"] {
            assert_eq!(Ordinal::of_pod(bad, "cache"), None, "{bad}");
        }
    }
}
