//! A client for one server, blocking, with a deadline for everything.

use std::io::ErrorKind::{TimedOut, WouldBlock};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use cluster::planner::Answer;
pub(crate) use cluster::resp::field;
use cluster::resp::{self, NO_REPLY, Reply};
use cluster::server::{Credential, Secret};

/// An answer larger than this is not read: CLUSTER NODES of 1,000 nodes takes 200 KB.
const MAX_REPLY: usize = 8 << 20;

/// A connection to a server.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    timeout: Duration,
}

// === impl Client ===

impl Client {
    /// Connects and logs in with the first of the credentials that is taken. Each of the steps, and
    /// every command later, may take `timeout`.
    pub(crate) fn connect(
        at: SocketAddr,
        credentials: &[Credential],
        timeout: Duration,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect_timeout(&at, timeout).map_err(|e| format!("{at}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        stream.set_write_timeout(Some(timeout)).map_err(|e| e.to_string())?;
        let mut client = Self { stream, received: Vec::new(), timeout };
        let mut refused = None;
        for Credential { user, password: Secret(password) } in credentials {
            let answer = match user {
                Some(user) => client.ask(&["AUTH", user, password])?,
                None => client.ask(&["AUTH", password])?,
            };
            match answer {
                // Its own password was taken away, or it never had one: then none is asked for.
                Reply::Error(e)
                    if e.contains("no password") || e.contains("without any password") =>
                {
                    return Ok(client);
                }
                Reply::Error(e) => refused = Some(format!("{at}: {e}")),
                _ => return Ok(client),
            }
        }
        refused.map_or(Ok(client), Err)
    }

    /// Sends a command and reads its reply.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<Reply, String> {
        let deadline = Instant::now() + self.timeout;
        let words: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
        self.stream.write_all(&resp::command(&words)).map_err(|e| e.to_string())?;
        loop {
            if let Some((reply, used)) = resp::decode(&self.received).map_err(|e| e.to_string())? {
                self.received.drain(..used);
                return Ok(reply);
            }
            if self.received.len() > MAX_REPLY {
                return Err("the reply is larger than 8 MiB".to_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NO_REPLY.to_owned());
            }
            self.stream.set_read_timeout(Some(left)).map_err(|e| e.to_string())?;
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("the connection was closed".to_owned()),
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), WouldBlock | TimedOut) => {
                    return Err(NO_REPLY.to_owned());
                }
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    /// Sends a command whose reply is text.
    pub(crate) fn text(&mut self, words: &[&str]) -> Result<String, String> {
        match self.ask(words)? {
            Reply::Error(e) => Err(e),
            reply => reply.text().ok_or_else(|| "the reply is no text".to_owned()),
        }
    }
}

/// Asks whoever is at an address for its node id.
pub(crate) fn probe(at: SocketAddr, credentials: &[Credential], timeout: Duration) -> Answer {
    let Ok(stream) = TcpStream::connect_timeout(&at, timeout) else { return Answer::Nobody };
    drop(stream);
    let id = Client::connect(at, credentials, timeout)
        .and_then(|mut client| client.text(&["CLUSTER", "MYID"]));
    Answer::read(id)
}
