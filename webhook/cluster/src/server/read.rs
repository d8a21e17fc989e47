//! Reading directives in their order, as `loadServerConfigFromString` (`config.c`) does.
//!
//! Guarantees: a directive that Mooring needs is taken as the server takes it or refused with its
//! place; directives that it does not need are left to the server. Reading ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::words::{self, Directive};
use super::{ConfigError, Files, MAX_DEPTH, MAX_FILE, MAX_FILES, Secret, ServerConfig, normal};

const COMMAND_LINE: &str = "command line";

/// How far the configuration has been read.
pub(super) struct Reader<'a> {
    files: &'a dyn Files,
    raw: Raw,
    opened: usize,
}

struct Raw {
    dir: PathBuf,
    cluster_enabled: bool,
    port: u16,
    tls_port: u16,
    cluster_port: u16,
    tls_cluster: bool,
    nodes_conf: String,
    announce_ip: Vec<String>,
    password: Option<Secret>,
    master_auth: Option<Secret>,
    node_timeout_ms: u64,
    rdb_file: String,
    aof_file: String,
    aof_dir: String,
    replica_of: Option<String>,
    users: BTreeMap<String, usize>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(files: &'a dyn Files, workdir: &Path) -> Self {
        Self { files, raw: Raw::at(workdir), opened: 0 }
    }

    /// Reads a file, or all files that match where it is a pattern; none is none (since 7.0).
    pub(super) fn files(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        if path.to_string_lossy().contains(['*', '?', '[']) {
            return self.files.glob(path).iter().try_for_each(|path| self.file(path, depth));
        }
        self.file(path, depth)
    }

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

    /// Reads an option of the command line.
    pub(super) fn option(&mut self, directive: &Directive) -> Result<(), ConfigError> {
        let Directive { name, values } = directive;
        // Whatever the option is: the server takes no file there, and the file was meant.
        if let [_, .., last] = values.as_slice()
            && last.ends_with(".conf")
            && !name.eq_ignore_ascii_case("loadmodule")
        {
            return Err(ConfigError::Line {
                place: COMMAND_LINE.to_owned(),
                line: 0,
                why: format!(
                    "`{last}` is taken for a value of `--{name}`: the configuration file has to be \
                     the first argument"
                ),
            });
        }
        self.directive(directive, COMMAND_LINE, 0, 0)
    }

    fn directive(
        &mut self,
        directive: &Directive,
        place: &str,
        line: usize,
        depth: usize,
    ) -> Result<(), ConfigError> {
        let name = directive.name.to_ascii_lowercase();
        let failed = |why| ConfigError::Line { place: place.to_owned(), line, why };
        if name == "include" {
            let pattern = one(&name, &directive.values).map_err(failed)?;
            let path = self.raw.dir.join(pattern);
            return self.files(&path, depth + 1);
        }
        self.raw.set(&name, &directive.values).map_err(failed)
    }

    pub(super) fn finish(self) -> Result<ServerConfig, ConfigError> {
        self.raw.finish()
    }
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
            announce_ip: Vec::new(),
            password: None,
            master_auth: None,
            node_timeout_ms: 15_000,
            rdb_file: "dump.rdb".to_owned(),
            aof_file: "appendonly.aof".to_owned(),
            aof_dir: "appendonlydir".to_owned(),
            replica_of: None,
            users: BTreeMap::new(),
        }
    }

    fn finish(self) -> Result<ServerConfig, ConfigError> {
        let on = |port: u16| (port != 0).then_some(port);
        let base = if self.tls_cluster { self.tls_port } else { self.port };
        let bus_port = match on(self.cluster_port) {
            Some(port) => port,
            None => match base.checked_add(10_000) {
                Some(port) => port,
                None if !self.cluster_enabled => u16::MAX,
                None => {
                    return Err(ConfigError::Together(format!(
                        "port {base} is too high for a cluster, whose bus is at 10000 above it: use \
                         a port up to 55535, or set cluster-port (7.0 and later)"
                    )));
                }
            },
        };
        if let Some(name) = self.replica_of.as_ref().filter(|_| self.cluster_enabled) {
            return Err(ConfigError::Together(format!(
                "`{name}` and `cluster-enabled yes` exclude each other: remove `{name}`, since the \
                 cluster decides who is whose replica"
            )));
        }
        Ok(ServerConfig {
            warnings: self.warnings(),
            cluster_enabled: self.cluster_enabled,
            port: on(self.port),
            tls_port: on(self.tls_port),
            bus_port,
            tls_cluster: self.tls_cluster,
            nodes_conf: normal(&self.dir.join(&self.nodes_conf)),
            dir: self.dir,
            announce_ip: self.announce_ip.into_iter().next_back(),
            password: self.password,
            master_auth: self.master_auth,
            node_timeout_ms: self.node_timeout_ms,
            rdb_file: self.rdb_file,
            aof_file: self.aof_file,
            aof_dir: self.aof_dir,
        })
    }

    fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        let different: BTreeSet<_> = self.announce_ip.iter().collect();
        if let Some(last) = self.announce_ip.last().filter(|_| different.len() > 1) {
            let all = self.announce_ip.join("`, `");
            out.push(format!(
                "cluster-announce-ip is given as `{all}`, and the last one counts: `{last}`"
            ));
        }
        let twice = self.users.iter().filter(|(_, times)| **times > 1);
        out.extend(twice.map(|(name, _)| {
            format!(
                "the user `{name}` is defined twice: Redis 7.0 and later and Valkey stop at that, \
                 so remove one of the two lines"
            )
        }));
        out
    }

    fn set(&mut self, name: &str, values: &[String]) -> Result<(), String> {
        let one = || one(name, values);
        match name {
            "cluster-enabled" => self.cluster_enabled = flag(name, one()?)?,
            "port" => self.port = port(name, one()?)?,
            "tls-port" => self.tls_port = port(name, one()?)?,
            "cluster-port" => self.cluster_port = port(name, one()?)?,
            "tls-cluster" => self.tls_cluster = flag(name, one()?)?,
            "cluster-config-file" => filled(name, one()?)?.clone_into(&mut self.nodes_conf),
            "cluster-announce-ip" => self.announce_ip.push(one()?.to_owned()),
            "requirepass" => self.password = secret(one()?),
            "masterauth" | "primaryauth" => self.master_auth = secret(one()?),
            "cluster-node-timeout" => {
                self.node_timeout_ms =
                    one()?.parse().map_err(|_| format!("`{name}` is not a number"))?;
            }
            "dbfilename" => one()?.clone_into(&mut self.rdb_file),
            "appendfilename" => one()?.clone_into(&mut self.aof_file),
            "appenddirname" => one()?.clone_into(&mut self.aof_dir),
            "dir" => self.dir = normal(&self.dir.join(filled(name, one()?)?)),
            "replicaof" | "slaveof" => {
                let none = values.iter().map(|v| v.to_ascii_lowercase()).eq(["no", "one"]);
                self.replica_of = (!none).then(|| name.to_owned());
            }
            "user" => {
                let user = values.first().cloned().unwrap_or_default();
                *self.users.entry(user).or_insert(0) += 1;
            }
            _ => {
                // Not the value, which may be a password.
                if let Some((name, _)) = name.split_once('=') {
                    return Err(format!("`{name}=`: a blank, not =, goes between name and value"));
                }
            }
        }
        Ok(())
    }
}

fn one<'a>(name: &str, values: &'a [String]) -> Result<&'a str, String> {
    match values {
        // What bytes they were can not be told any more, and a password is bytes.
        [value] if value.contains('\u{fffd}') => {
            Err(format!("`{name}` holds bytes that are no UTF-8 text, which Mooring can not use"))
        }
        [value] => Ok(value),
        _ => {
            let comment = values.iter().any(|v| v.starts_with('#'));
            let hint = if comment { ": a comment needs a line of its own" } else { "" };
            Err(format!("`{name}` takes one value and has {}{hint}", values.len()))
        }
    }
}

fn filled<'a>(name: &str, value: &'a str) -> Result<&'a str, String> {
    if value.is_empty() { Err(format!("`{name}` is empty")) } else { Ok(value) }
}

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
