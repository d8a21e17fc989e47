//! What a server's configuration comes to: file, includes, then options, as the server reads them.
//!
//! Guarantees: the last value wins, options come after the file, `dir` takes effect at its line
//! (later relative includes and directories count from there) while `cluster-config-file` counts
//! from the final directory; nothing is expanded that the server does not expand. Reading is
//! bounded in files, depth and bytes. Checked against Redis 5.0 to 8.2 and Valkey 9.0
//! (`loadServerConfigFromString`, `config.c`).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use crate::net::Ports;
use words::{Directive, WordsError};

pub mod words;

/// Reads files for [`ServerConfig::read`].
pub trait Files {
    /// The whole file, at most `limit` bytes of it.
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, String>;

    /// The files that match a pattern of `include` (7.0 and later), sorted.
    fn glob(&self, pattern: &Path) -> Vec<PathBuf>;
}

/// What the configuration says, as far as it matters to a cluster member.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerConfig {
    /// `cluster-enabled`.
    pub cluster_enabled: bool,
    /// `port`; `None` where it is 0.
    pub port: Option<u16>,
    /// `tls-port`; `None` where it is 0.
    pub tls_port: Option<u16>,
    /// `cluster-port`, or what it comes to.
    pub bus_port: u16,
    /// `tls-cluster`.
    pub tls_cluster: bool,
    /// Where data files go, in the end.
    pub dir: PathBuf,
    /// Where nodes.conf is.
    pub nodes_conf: PathBuf,
    /// `cluster-announce-ip`, as written.
    pub announce_ip: Option<String>,
    /// `requirepass`.
    pub password: Option<Secret>,
    /// `masterauth` or `primaryauth`.
    pub master_auth: Option<Secret>,
    /// `cluster-node-timeout` in milliseconds.
    pub node_timeout_ms: u64,
    /// `dbfilename`.
    pub rdb_file: String,
    /// `appendfilename`.
    pub aof_file: String,
    /// `appenddirname` (7.0 and later).
    pub aof_dir: String,
}

/// Text that is never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(pub String);

/// Why a configuration can not be read. The text names file and line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigError {
    /// A file is not there or can not be read.
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// A line that the server would refuse as well.
    Line {
        /// File, or `command line`.
        place: String,
        /// From 1.
        line: usize,
        /// The server's complaint in our words.
        why: String,
    },
    /// More files, bytes or nested includes than any real configuration has.
    TooLarge,
    /// The arguments can not be read.
    Arguments(WordsError),
    /// The configuration comes from somewhere that can not be read.
    Elsewhere(&'static str),
}

const MAX_FILE: usize = 1 << 20;
const MAX_FILES: usize = 64;
const MAX_DEPTH: usize = 8;

// === impl ServerConfig ===

impl ServerConfig {
    /// Reads the configuration of a server started with `words` in `workdir`.
    ///
    /// # Errors
    /// Where the server itself would refuse to start, or where it can not be known.
    pub fn read(words: &[String], workdir: &Path, files: &dyn Files) -> Result<Self, ConfigError> {
        let mut reader = Reader { files, raw: Raw::at(workdir), opened: 0 };
        if let Some(first) = words.first() {
            if first == "-" {
                return Err(ConfigError::Elsewhere("standard input"));
            }
            if !first.starts_with('-') {
                reader.file(&workdir.join(first), 0)?;
            }
        }
        for directive in words::options(words).map_err(ConfigError::Arguments)? {
            reader.directive(&directive, "command line", 0, 0)?;
        }
        Ok(reader.raw.finish())
    }

    /// Sets the final directory, as the annotation mooring.dev/dir says it.
    pub fn move_to(&mut self, dir: &Path) {
        if let Ok(below) = self.nodes_conf.strip_prefix(&self.dir) {
            self.nodes_conf = normal(&dir.join(below));
        }
        self.dir = normal(dir);
    }

    /// Sets the port, as the annotation mooring.dev/port says it.
    pub fn set_port(&mut self, port: u16) {
        let by_default = self.port.is_some_and(|p| p.saturating_add(10_000) == self.bus_port);
        if by_default && !self.tls_cluster {
            self.bus_port = port.saturating_add(10_000);
        }
        self.port = Some(port);
    }

    /// The ports that the member announces.
    pub fn ports(&self) -> Ports {
        Ports { tcp: self.port, tls: self.tls_port, bus: self.bus_port }
    }

    /// What is wrong with the announced address, as one sentence.
    ///
    /// The option beats whatever nodes.conf says, at every start (measured on all versions), so
    /// a placeholder or a name makes every repair useless.
    pub fn announce_problem(&self, own: &[IpAddr]) -> Option<String> {
        let text = self.announce_ip.as_deref().filter(|t| !t.is_empty())?;
        match text.parse::<IpAddr>() {
            Ok(ip) if own.contains(&ip) => None,
            Ok(ip) => Some(format!(
                "cluster-announce-ip is {ip}, which is not this pod's address: remove the line, or \
                 start the server with --cluster-announce-ip $(POD_IP)"
            )),
            Err(_) => Some(format!(
                "cluster-announce-ip is the text `{}` and no address, and the server would announce \
                 it as it is: remove the line, or start the server with --cluster-announce-ip \
                 $(POD_IP)",
                text.chars().take(80).collect::<String>()
            )),
        }
    }
}

/// Whether a file name matches a pattern of `include`: `*`, `?`, and `[...]` as in `glob(3)`.
pub fn matches(pattern: &str, name: &str) -> bool {
    // A leading dot is matched by a dot only.
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let mut states = BTreeSet::from([0]);
    let close = |states: &mut BTreeSet<usize>| {
        let stars: Vec<_> = states.iter().copied().collect();
        for mut at in stars {
            while pattern.get(at) == Some(&'*') {
                at += 1;
                states.insert(at);
            }
        }
    };
    close(&mut states);
    for c in name.chars() {
        let mut next = BTreeSet::new();
        for at in states {
            match pattern.get(at) {
                Some('*') => {
                    next.insert(at);
                }
                Some('?') => {
                    next.insert(at + 1);
                }
                Some('[') => {
                    if let Some(end) = class(&pattern[at..], c) {
                        next.insert(at + end);
                    }
                }
                Some(p) if *p == c => {
                    next.insert(at + 1);
                }
                _ => {}
            }
        }
        close(&mut next);
        states = next;
    }
    states.contains(&pattern.len())
}

/// Matches one character against `[...]` and returns the length of the class.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let end = pattern.iter().skip(2).position(|p| *p == ']')? + 2;
    let inner = pattern.get(1..end)?;
    let (negated, inner) = match inner.split_first() {
        Some(('!' | '^', rest)) => (true, rest),
        _ => (false, inner),
    };
    let mut found = false;
    let mut i = 0;
    while let Some(&low) = inner.get(i) {
        match (inner.get(i + 1), inner.get(i + 2)) {
            (Some('-'), Some(&high)) => {
                found |= (low..=high).contains(&c);
                i += 3;
            }
            _ => {
                found |= low == c;
                i += 1;
            }
        }
    }
    (found != negated).then_some(end + 1)
}

struct Raw {
    dir: PathBuf,
    cluster_enabled: bool,
    port: u16,
    tls_port: u16,
    cluster_port: u16,
    tls_cluster: bool,
    nodes_conf: String,
    announce_ip: Option<String>,
    password: Option<Secret>,
    master_auth: Option<Secret>,
    node_timeout_ms: u64,
    rdb_file: String,
    aof_file: String,
    aof_dir: String,
}

struct Reader<'a> {
    files: &'a dyn Files,
    raw: Raw,
    opened: usize,
}

// === impl Raw ===

impl Raw {
    /// The engines' defaults.
    fn at(workdir: &Path) -> Self {
        Self {
            dir: workdir.to_owned(),
            cluster_enabled: false,
            port: 6379,
            tls_port: 0,
            cluster_port: 0,
            tls_cluster: false,
            nodes_conf: "nodes.conf".to_owned(),
            announce_ip: None,
            password: None,
            master_auth: None,
            node_timeout_ms: 15_000,
            rdb_file: "dump.rdb".to_owned(),
            aof_file: "appendonly.aof".to_owned(),
            aof_dir: "appendonlydir".to_owned(),
        }
    }

    fn finish(self) -> ServerConfig {
        let on = |port: u16| (port != 0).then_some(port);
        let base = if self.tls_cluster { self.tls_port } else { self.port };
        let bus_port = on(self.cluster_port).unwrap_or_else(|| base.saturating_add(10_000));
        ServerConfig {
            cluster_enabled: self.cluster_enabled,
            port: on(self.port),
            tls_port: on(self.tls_port),
            bus_port,
            tls_cluster: self.tls_cluster,
            nodes_conf: normal(&self.dir.join(&self.nodes_conf)),
            dir: self.dir,
            announce_ip: self.announce_ip,
            password: self.password,
            master_auth: self.master_auth,
            node_timeout_ms: self.node_timeout_ms,
            rdb_file: self.rdb_file,
            aof_file: self.aof_file,
            aof_dir: self.aof_dir,
        }
    }

    fn set(&mut self, name: &str, values: &[String]) -> Result<(), String> {
        let one = || match values {
            [value] => Ok(value.as_str()),
            _ => Err(format!("`{name}` takes one value and has {}", values.len())),
        };
        match name {
            "cluster-enabled" => self.cluster_enabled = flag(name, one()?)?,
            "port" => self.port = port(name, one()?)?,
            "tls-port" => self.tls_port = port(name, one()?)?,
            "cluster-port" => self.cluster_port = port(name, one()?)?,
            "tls-cluster" => self.tls_cluster = flag(name, one()?)?,
            "cluster-config-file" => one()?.clone_into(&mut self.nodes_conf),
            "cluster-announce-ip" => self.announce_ip = Some(one()?.to_owned()),
            "requirepass" => self.password = secret(one()?),
            "masterauth" | "primaryauth" => self.master_auth = secret(one()?),
            "cluster-node-timeout" => {
                self.node_timeout_ms =
                    one()?.parse().map_err(|_| format!("`{name}` is not a number"))?;
            }
            "dbfilename" => one()?.clone_into(&mut self.rdb_file),
            "appendfilename" => one()?.clone_into(&mut self.aof_file),
            "appenddirname" => one()?.clone_into(&mut self.aof_dir),
            "dir" => self.dir = normal(&self.dir.join(one()?)),
            _ => {}
        }
        Ok(())
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        self.opened += 1;
        if depth > MAX_DEPTH || self.opened > MAX_FILES {
            return Err(ConfigError::TooLarge);
        }
        let bytes = self
            .files
            .read(path, MAX_FILE + 1)
            .map_err(|why| ConfigError::File { path: path.to_owned(), why })?;
        if bytes.len() > MAX_FILE {
            return Err(ConfigError::TooLarge);
        }
        let text = String::from_utf8_lossy(&bytes);
        let place = path.display().to_string();
        for (i, line) in text.split('\n').enumerate() {
            let line = line.trim_matches([' ', '\t', '\r', '\n']);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let failed = |why: String| ConfigError::Line { place: place.clone(), line: i + 1, why };
            let mut split = words::split(line).map_err(|e| failed(e.to_string()))?.into_iter();
            let Some(name) = split.next() else { continue };
            let directive = Directive { name, values: split.collect() };
            self.directive(&directive, &place, i + 1, depth)?;
        }
        Ok(())
    }

    fn directive(
        &mut self,
        directive: &Directive,
        place: &str,
        line: usize,
        depth: usize,
    ) -> Result<(), ConfigError> {
        let name = directive.name.to_ascii_lowercase();
        if name == "include" {
            for pattern in &directive.values {
                let path = self.raw.dir.join(pattern);
                if pattern.contains(['*', '?', '[']) {
                    for path in self.files.glob(&path) {
                        self.file(&path, depth + 1)?;
                    }
                } else {
                    self.file(&path, depth + 1)?;
                }
            }
            return Ok(());
        }
        self.raw.set(&name, &directive.values).map_err(|why| ConfigError::Line {
            place: place.to_owned(),
            line,
            why,
        })
    }
}

// === impl Secret ===

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

// === impl ConfigError ===

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, why } => {
                write!(f, "the configuration file {} can not be read: {why}", path.display())
            }
            Self::Line { place, line: 0, why } => write!(f, "on the {place}: {why}"),
            Self::Line { place, line, why } => write!(f, "{place}, line {line}: {why}"),
            Self::TooLarge => write!(
                f,
                "the configuration has more than {MAX_FILES} files, {MAX_DEPTH} nested includes \
                 or 1 MiB in a file"
            ),
            Self::Arguments(e) => write!(f, "the server's arguments can not be read: {e}"),
            Self::Elsewhere(place) => write!(
                f,
                "the configuration comes from {place}: set the annotations mooring.dev/dir and \
                 mooring.dev/port"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

fn flag(name: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("`{name}` must be yes or no")),
    }
}

fn port(name: &str, value: &str) -> Result<u16, String> {
    value.parse().map_err(|_| format!("`{name}` must be a number from 0 to 65535"))
}

fn secret(value: &str) -> Option<Secret> {
    (!value.is_empty()).then(|| Secret(value.to_owned()))
}

/// Resolves `.` and `..` by their text, as far as no link is in the way.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
