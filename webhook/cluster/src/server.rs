//! What a server's configuration comes to: file, includes, then options, as the server reads them.
//!
//! Guarantees: the last value wins, options come after the file, `dir` takes effect at its line
//! (later relative includes and directories count from there) while `cluster-config-file` counts
//! from the final directory; nothing is expanded that the server does not expand. Reading is
//! bounded in files, depth and bytes. Checked against Redis 5.0 to 8.2 and Valkey 9.0
//! (`loadServerConfigFromString`, `config.c`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use crate::launch::Engine;
use crate::net::Ports;
use crate::nodes::Target;
use read::Reader;
use words::WordsError;

pub use acl::Credential;
pub use glob::matches;
pub use persist::{Persistence, Save};

mod acl;
mod glob;
mod persist;
mod raw;
mod read;
mod shell;
mod values;
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
    /// The files and rules of TLS.
    pub tls: Tls,
    /// Where data files go, in the end.
    pub dir: PathBuf,
    /// Whether that counts from the directory in which the server is started.
    pub from_workdir: bool,
    /// Where nodes.conf is.
    pub nodes_conf: PathBuf,
    /// `cluster-announce-ip`, as written.
    pub announce_ip: Option<String>,
    /// `cluster-announce-hostname`.
    pub announce_hostname: Option<String>,
    /// The ports that are announced instead of the own ones.
    pub announced: AnnouncedPorts,
    /// What AUTH takes for the user `default`; `None` where that user needs none or is shut.
    pub password: Option<Secret>,
    /// What to log in with, here and at the other members: to be tried in this order until one is
    /// taken. Empty where nobody has to log in, or nothing is known that would help.
    pub credentials: Vec<Credential>,
    /// `masteruser` or `primaryuser`.
    pub master_user: Option<String>,
    /// `masterauth` or `primaryauth`.
    pub master_auth: Option<Secret>,
    /// Commands in capitals by `rename-command`, and what they are called; empty: not at all.
    pub renamed: BTreeMap<String, String>,
    /// `cluster-node-timeout` in milliseconds.
    pub node_timeout_ms: u64,
    /// `appendonly`.
    pub append_only: bool,
    /// `save`.
    pub save: Save,
    /// `dbfilename`.
    pub rdb_file: String,
    /// `appendfilename`.
    pub aof_file: String,
    /// `appenddirname` (7.0 and later).
    pub aof_dir: String,
    /// Patterns that stand in an `include`.
    pub patterns: Vec<String>,
    /// What is read all the same and is hardly meant, one sentence each.
    pub warnings: Vec<String>,
}

/// `cluster-announce-port`, `-tls-port` and `-bus-port`, where they are set.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AnnouncedPorts {
    /// Instead of `port`.
    pub tcp: Option<u16>,
    /// Instead of `tls-port`.
    pub tls: Option<u16>,
    /// Instead of the bus port.
    pub bus: Option<u16>,
}

/// What the configuration says of TLS. Paths count from the final directory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tls {
    /// `tls-replication`.
    pub replication: bool,
    /// `tls-auth-clients`: whether a client without a certificate is refused. Members always have
    /// to show one to each other.
    pub clients_need_a_certificate: bool,
    /// `tls-cert-file`.
    pub certificate: Option<PathBuf>,
    /// `tls-key-file`.
    pub key: Option<PathBuf>,
    /// `tls-key-file-pass`.
    pub key_password: Option<Secret>,
    /// `tls-client-cert-file`: what the server shows as a client, where it is not the same.
    pub client_certificate: Option<PathBuf>,
    /// `tls-client-key-file`.
    pub client_key: Option<PathBuf>,
    /// `tls-ca-cert-file`.
    pub authorities: Option<PathBuf>,
    /// `tls-ca-cert-dir`.
    pub authorities_dir: Option<PathBuf>,
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
    /// Settings that the server refuses together.
    Together(String),
}

const DEFAULT_SAVE: [(u64, u64); 3] = [(3600, 1), (300, 100), (60, 10_000)];

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
        if [words.first(), words.last()].contains(&Some(&"-".to_owned())) {
            return Err(ConfigError::Elsewhere("standard input"));
        }
        // Without any argument every version takes its default snapshots.
        let save = if words.is_empty() { Save::Points(DEFAULT_SAVE.into()) } else { Save::Unsaid };
        let mut reader = Reader::new(files, workdir, save);
        if let Some(file) = words.first().filter(|w| !w.starts_with('-')) {
            reader.files(&workdir.join(file), 0)?;
        }
        for directive in words::options(words).map_err(ConfigError::Arguments)? {
            reader.option(&directive)?;
        }
        reader.finish()
    }

    /// What the arguments alone show that is hardly meant, where the files are not at hand.
    pub fn warnings_of_arguments(words: &[String]) -> Vec<String> {
        read::warnings_of_arguments(words)
    }

    /// What its owner should know, each sentence once, where this engine reads it.
    pub fn warnings_for(&self, target: Target) -> Vec<String> {
        let mut all = Vec::new();
        let patterns = self.patterns.iter().map(|pattern| too_early(pattern, target));
        for warning in self.warnings.iter().cloned().chain(patterns.flatten()) {
            if !all.contains(&warning) {
                all.push(warning);
            }
        }
        all
    }

    /// Sets the final directory, as the annotation mooring.dev/dir says it.
    pub fn move_to(&mut self, dir: &Path) {
        if let Ok(below) = self.nodes_conf.strip_prefix(&self.dir) {
            self.nodes_conf = normal(&dir.join(below));
        }
        self.dir = normal(dir);
        self.from_workdir &= dir.is_relative();
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
        let announced = self.announced;
        let tls = announced.tls.filter(|_| self.tls_cluster);
        Ports {
            tcp: announced.tcp.or(self.port),
            tls: tls.or(self.tls_port),
            bus: announced.bus.unwrap_or(self.bus_port),
        }
    }

    /// What of the data outlives a restart.
    pub fn persistence(&self) -> Persistence {
        self.save.persistence(self.append_only)
    }

    /// Whether the data are known to outlive a restart. `false` where the version decides.
    pub fn persists(&self) -> bool {
        matches!(self.persistence(), Persistence::Log | Persistence::Snapshots)
    }

    /// What this server calls a command; `None` where it was taken away.
    pub fn command<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let renamed = self.renamed.get(&name.to_ascii_uppercase());
        renamed.map_or(Some(name), |to| Some(to.as_str()).filter(|to| !to.is_empty()))
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
                 or 1 MiB in a file: is there a file that includes itself?"
            ),
            Self::Arguments(e) => write!(f, "the server's arguments can not be read: {e}"),
            Self::Together(why) => f.write_str(why),
            Self::Elsewhere(place) => write!(
                f,
                "the configuration comes from {place}: set the annotations mooring.dev/dir and \
                 mooring.dev/port"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

/// What is to be said of an `include` where a version reads it that takes a pattern for a file's
/// name.
pub fn too_early(pattern: &str, target: Target) -> Option<String> {
    let Target::Known { engine: Engine::Redis, major: ..7, .. } = target else { return None };
    if !read::is_pattern(Path::new(pattern)) {
        return None;
    }
    Some(format!(
        "`include {pattern}` is a pattern, and Redis before 7.0 takes it for a file's name and will \
         not start: name the files, or use a newer version"
    ))
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
