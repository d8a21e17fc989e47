//! RESP2, the server's protocol, without IO: commands out, replies in.
//!
//! Guarantees: decoding any bytes takes time and memory in proportion to them, never recurses
//! deeper than [`MAX_DEPTH`], and holds no more than the caller's limit.

use std::fmt;
use std::net::SocketAddr;

/// Arrays nested deeper than this are refused; the server's replies that matter here have 4.
pub const MAX_DEPTH: usize = 8;

/// What a client says of a server that takes a command and sends nothing back.
pub const NO_REPLY: &str = "no reply in time";

/// One reply.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// `*`; `None` for the null array.
    Array(Option<Vec<Self>>),
    /// `$`; `None` for the null string.
    Bulk(Option<Vec<u8>>),
    /// `-`: the server's error, as it says it.
    Error(String),
    /// `:`.
    Integer(i64),
    /// `+`.
    Simple(String),
}

/// The bytes are not RESP2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RespError(&'static str);

/// A field of INFO's answer.
pub fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Where a replica dials its master, by INFO replication; `None` for the empty address.
pub fn dialled(replication: &str) -> Option<SocketAddr> {
    let port = field(replication, "master_port")?.parse().ok()?;
    Some(SocketAddr::new(field(replication, "master_host")?.parse().ok()?, port))
}

/// How many seconds ago a replica lost the link to its master, by INFO replication; `None` if it has not
/// had one since it dials this master (-1; on 5.0 and 6.0 the seconds since 1970).
pub fn link_lost(replication: &str) -> Option<u64> {
    let seconds = field(replication, "master_link_down_since_seconds")?.parse().ok()?;
    (seconds < A_DECADE).then_some(seconds)
}

const A_DECADE: u64 = 10 * 365 * 86_400;

/// A server that copies another one, by that one's INFO replication:
/// `slave0:ip=10.0.0.4,port=6379,state=online,offset=42,lag=0`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Copier {
    /// Where it is.
    pub at: SocketAddr,
    /// Whether it has all, and gets each write; else it is still being sent the data.
    pub online: bool,
    /// Its replication offset.
    pub offset: u64,
}

/// Who copies a server, by its INFO replication.
pub fn copiers(replication: &str) -> Vec<Copier> {
    let copier = |line: &str| {
        let (name, fields) = line.trim().split_once(':')?;
        let index = name.strip_prefix("slave").or_else(|| name.strip_prefix("replica"))?;
        index.parse::<u32>().ok()?;
        let get =
            |key: &str| fields.split(',').find_map(|f| f.strip_prefix(key)?.strip_prefix('='));
        Some(Copier {
            at: SocketAddr::new(get("ip")?.parse().ok()?, get("port")?.parse().ok()?),
            online: get("state")? == "online",
            offset: get("offset")?.parse().ok()?,
        })
    };
    replication.lines().filter_map(copier).collect()
}

/// How many keys a server holds, all databases together, by INFO's section `keyspace`:
/// `db0:keys=2,expires=0,avg_ttl=0`. The section is answered also where DBSIZE is not: by a replica
/// without its master that serves no stale data.
pub fn keys(keyspace: &str) -> u64 {
    let of = |line: &str| {
        let (name, fields) = line.trim().split_once(':')?;
        name.strip_prefix("db")?.parse::<u32>().ok()?;
        fields.split(',').find_map(|field| field.strip_prefix("keys="))?.parse::<u64>().ok()
    };
    keyspace.lines().filter_map(of).fold(0, u64::saturating_add)
}

/// Encodes a command as an array of bulk strings.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Decodes one reply at the start of `bytes`: the reply and how many bytes it took, or `None`
/// while more bytes are needed.
pub fn decode(bytes: &[u8]) -> Result<Option<(Reply, usize)>, RespError> {
    let mut input = Input { bytes, at: 0 };
    Ok(input.reply(0)?.map(|reply| (reply, input.at)))
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

// === impl Reply ===

impl Reply {
    /// The text of a simple or bulk string.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Bulk(Some(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Simple(text) => Some(text.clone()),
            _ => None,
        }
    }
}

// === impl Input ===

impl Input<'_> {
    fn reply(&mut self, depth: usize) -> Result<Option<Reply>, RespError> {
        if depth > MAX_DEPTH {
            return Err(RespError("arrays are nested too deeply"));
        }
        let Some(line) = self.line()? else { return Ok(None) };
        let (kind, rest) = line.split_first().ok_or(RespError("an empty line"))?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        Ok(Some(match kind {
            b'+' => Reply::Simple(text()),
            b'-' => Reply::Error(text()),
            b':' => Reply::Integer(number(rest)?),
            b'$' => match number(rest)? {
                -1 => Reply::Bulk(None),
                n => match self
                    .bulk(usize::try_from(n).map_err(|_| RespError("a length below 0"))?)?
                {
                    Some(bytes) => Reply::Bulk(Some(bytes)),
                    None => return Ok(None),
                },
            },
            b'*' => match number(rest)? {
                -1 => Reply::Array(None),
                n => {
                    let n = usize::try_from(n).map_err(|_| RespError("a length below 0"))?;
                    // Every element takes at least 3 bytes: the announced length reserves nothing.
                    let mut items = Vec::new();
                    for _ in 0..n {
                        match self.reply(depth + 1)? {
                            Some(item) => items.push(item),
                            None => return Ok(None),
                        }
                    }
                    Reply::Array(Some(items))
                }
            },
            _ => return Err(RespError("an unknown type of reply")),
        }))
    }

    fn line(&mut self) -> Result<Option<&[u8]>, RespError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.iter().position(|b| *b == b'\n') {
            Some(end) => {
                self.at += end + 1;
                let line = rest.get(..end).unwrap_or_default();
                line.strip_suffix(b"\r").map(Some).ok_or(RespError("a line without CR"))
            }
            None => Ok(None),
        }
    }

    fn bulk(&mut self, length: usize) -> Result<Option<Vec<u8>>, RespError> {
        if length > 512 << 20 {
            return Err(RespError("a string of more than 512 MiB"));
        }
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(body) = rest.get(..length + 2) else { return Ok(None) };
        self.at += length + 2;
        let text = body.strip_suffix(b"\r\n").ok_or(RespError("a string without its end"))?;
        Ok(Some(text.to_vec()))
    }
}

// === impl RespError ===

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is no RESP: {}", self.0)
    }
}

impl std::error::Error for RespError {}

fn number(digits: &[u8]) -> Result<i64, RespError> {
    let text = std::str::from_utf8(digits).map_err(|_| RespError("a number that is none"))?;
    text.parse().map_err(|_| RespError("a number that is none"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_of_all_databases_count() {
        let info = "# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=0\r\ndb3:keys=40,expires=0\r\n";
        assert_eq!(keys(info), 42);
        for none in ["", "# Keyspace\r\n", "db0:expires=1\r\n", "dbx:keys=1\r\n", "db0:keys=-1"] {
            assert_eq!(keys(none), 0, "{none}");
        }
    }

    #[test]
    fn replies() {
        let ok = |bytes: &[u8]| decode(bytes).unwrap();
        assert_eq!(ok(b"+OK\r\n+"), Some((Reply::Simple("OK".into()), 5)));
        assert_eq!(ok(b"$3\r\nabc\r\n"), Some((Reply::Bulk(Some(b"abc".to_vec())), 9)));
        assert_eq!(ok(b"$-1\r\n"), Some((Reply::Bulk(None), 5)));
        assert_eq!(
            ok(b"*2\r\n:1\r\n-ERR x\r\n"),
            Some((Reply::Array(Some(vec![Reply::Integer(1), Reply::Error("ERR x".into())])), 16))
        );
        for partial in ["", "+OK", "$3\r\nab", "*2\r\n:1\r\n"] {
            assert_eq!(ok(partial.as_bytes()), None, "{partial}");
        }
        for bad in ["x\r\n", ":a\r\n", "$-2\r\n", "$1\r\nabc\r\n", "\r\n", "+OK\n"] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(decode("*1\r\n".repeat(20).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_end_well(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some((_, used))) = decode(&bytes) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
