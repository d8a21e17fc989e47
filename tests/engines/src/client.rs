//! A client for one server, blocking, with a deadline for every answer.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use cluster::id::NodeId;
use cluster::planner::{Answer, How, Inspected, Inspection, Millis};
use cluster::promote;
use cluster::resp::{self, NO_REPLY, Reply};
use cluster::secret::Server;
use cluster::upkeep::Standing;

/// The set's own password: a stranger's server has another one.
pub(crate) const PASSWORD: &str = "own";

/// A connection to a server.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    timeout: Duration,
}

// === impl Client ===

impl Client {
    /// Connects to a server of the set; this and every answer later may take `timeout`.
    pub(crate) fn connect(at: SocketAddr, timeout: Duration) -> Result<Self, String> {
        Self::connect_by(at, PASSWORD, timeout)
    }

    /// The same with another password.
    pub(crate) fn connect_by(
        at: SocketAddr,
        password: &str,
        timeout: Duration,
    ) -> Result<Self, String> {
        let mut client = Self::open(at, timeout)?;
        match client.log_in(password) {
            // An open set's server asks for none.
            Err(why) if why.contains("no password") || why.contains("without any password") => {}
            other => other?,
        }
        Ok(client)
    }

    /// Says the password.
    pub(crate) fn log_in(&mut self, password: &str) -> Result<(), String> {
        self.text(&["AUTH", password]).map(|_| ())
    }

    /// Connects to whoever is there.
    pub(crate) fn open(at: SocketAddr, timeout: Duration) -> Result<Self, String> {
        let stream = TcpStream::connect_timeout(&at, timeout).map_err(|e| format!("{at}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        stream.set_write_timeout(Some(timeout)).map_err(|e| e.to_string())?;
        Ok(Self { stream, received: Vec::new(), timeout })
    }

    /// Sends a command and reads its reply.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<Reply, String> {
        let words: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
        self.exchange(&resp::command(&words), 1)?.pop().ok_or_else(|| "no reply".to_owned())
    }

    /// Sends a command whose reply is text.
    pub(crate) fn text(&mut self, words: &[&str]) -> Result<String, String> {
        match self.ask(words)? {
            Reply::Error(e) => Err(e),
            reply => reply.text().ok_or_else(|| "the reply is no text".to_owned()),
        }
    }

    /// Sends many commands at once, encoded already, and reads as many replies.
    pub(crate) fn exchange(&mut self, commands: &[u8], count: usize) -> Result<Vec<Reply>, String> {
        let deadline = Instant::now() + self.timeout;
        self.stream.write_all(commands).map_err(|e| e.to_string())?;
        let mut replies = Vec::with_capacity(count);
        let mut used = 0;
        loop {
            while replies.len() < count {
                let rest = self.received.get(used..).unwrap_or_default();
                let Some((reply, n)) = resp::decode(rest).map_err(|e| e.to_string())? else {
                    break;
                };
                replies.push(reply);
                used += n;
            }
            if replies.len() == count {
                self.received.drain(..used);
                return Ok(replies);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NO_REPLY.to_owned());
            }
            self.stream.set_read_timeout(Some(left)).map_err(|e| e.to_string())?;
            let mut chunk = [0; 64 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("the connection was closed".to_owned()),
                Ok(n) => self.received.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(NO_REPLY.to_owned());
                }
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    /// What the server says of itself and its cluster.
    pub(crate) fn inspection(&mut self) -> Result<Inspection, String> {
        let nodes = self.text(&["CLUSTER", "NODES"])?;
        let replication = self.text(&["INFO", "replication"])?;
        let keys = resp::keys(&self.text(&["INFO", "keyspace"])?);
        Inspection::read(&nodes, &replication, &Reply::Integer(keys.try_into().unwrap_or(i64::MAX)))
    }

    /// A section of INFO.
    pub(crate) fn info(&mut self, section: &str) -> Result<BTreeMap<String, String>, String> {
        let text = self.text(&["INFO", section])?;
        let pairs = text.lines().filter_map(|line| line.trim().split_once(':'));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl Server for Client {
    fn ask(&mut self, words: &[&str]) -> Result<Reply, String> {
        Self::ask(self, words)
    }
}

/// Asks whoever is at an address for its node id.
pub(crate) fn probe(at: SocketAddr, timeout: Duration) -> Answer {
    if Client::open(at, timeout).is_err() {
        return Answer::Nobody;
    }
    Answer::read(Client::connect(at, timeout).and_then(|mut c| c.text(&["CLUSTER", "MYID"])))
}

/// Asks whoever is at an address what it knows.
pub(crate) fn inspect(at: SocketAddr, timeout: Duration) -> Inspected {
    inspect_by(at, PASSWORD, timeout)
}

/// The same with another password.
pub(crate) fn inspect_by(at: SocketAddr, password: &str, timeout: Duration) -> Inspected {
    if Client::open(at, timeout).is_err() {
        return Inspected::Nobody;
    }
    match Client::connect_by(at, password, timeout).and_then(|mut client| client.inspection()) {
        Ok(inspection) => Inspected::Node(Box::new(inspection)),
        Err(_) => Inspected::Unclear,
    }
}

/// Makes the replica at an address a master, if it is who it has to be.
pub(crate) fn force(at: SocketAddr, id: NodeId, how: How) -> Result<(), String> {
    let mut server = Client::connect(at, Duration::from_secs(1))?;
    promote::whoever_is(&mut server, id, how, pause).map_err(|why| format!("{at}: {why}"))
}

/// Makes a replica a master, as the step does.
pub(crate) fn promote(server: &mut Client, how: How) -> Result<(), String> {
    promote::promote(server, how, pause)
}

fn pause(time: Millis) {
    std::thread::sleep(Duration::from_millis(time.0));
}

/// How a server stands in its cluster.
pub(crate) fn standing(server: &mut Client) -> Result<Standing, String> {
    let nodes = server.text(&["CLUSTER", "NODES"])?;
    let cluster = server.text(&["CLUSTER", "INFO"])?;
    Standing::read(&nodes, &cluster, &server.text(&["INFO", "replication"])?)
}

/// What hooks do for a replica that dials where its master was. Whether that was needed.
pub(crate) fn follow_master(at: SocketAddr) -> Result<bool, String> {
    let mut server = Client::connect(at, Duration::from_secs(1))?;
    let Some(master) = standing(&mut server)?.redials() else { return Ok(false) };
    server.text(&["CLUSTER", "REPLICATE", master.as_str()])?;
    Ok(true)
}
