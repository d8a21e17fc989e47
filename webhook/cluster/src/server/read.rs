//! Reading directives in their order, as `loadServerConfigFromString` (`config.c`) does.
//!
//! Guarantees: a directive that Mooring needs is taken as the server takes it or refused with its
//! place; directives that it does not need are left to the server. Reading ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::acl::{Passwords, Users};
use super::persist::Save;
use super::values::{base_name, filled, flag, hostname, number, on, one, port, secret, text};
use super::words::{self, Directive};
use super::{
    AnnouncedPorts, ConfigError, Files, MAX_DEPTH, MAX_FILE, MAX_FILES, Secret, ServerConfig, Tls,
    normal,
};

const COMMAND_LINE: &str = "command line";

/// How many bytes the server reads of a line at once (`CONFIG_READ_LEN`).
const READ_AT_ONCE: usize = 1024;

/// How far the configuration has been read.
pub(super) struct Reader<'a> {
    files: &'a dyn Files,
    raw: Raw,
    opened: usize,
}

struct Raw {
    dir: PathBuf,
    from_workdir: bool,
    patterns: Vec<String>,
    cluster_enabled: bool,
    port: u16,
    tls_port: u16,
    cluster_port: u16,
    tls_cluster: bool,
    tls: TlsNames,
    nodes_conf: String,
    announce_ip: Vec<String>,
    announce_hostname: Option<String>,
    announced: AnnouncedPorts,
    passwords: Passwords,
    users: Users,
    acl_file: String,
    renamed: BTreeMap<String, String>,
    node_timeout_ms: u64,
    append_only: bool,
    save: Save,
    /// Whether an `include` stands above in the same text.
    after_include: bool,
    /// Whether a `save` without one was there: the first of those replaces all others.
    save_begun: bool,
    rdb_file: String,
    aof_file: String,
    aof_dir: String,
    replica_of: Option<String>,
}

/// Files of TLS as they are written; they are opened when everything has been read.
#[derive(Default)]
struct TlsNames {
    replication: bool,
    clients: Option<String>,
    files: BTreeMap<String, String>,
    key_password: Option<Secret>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(files: &'a dyn Files, workdir: &Path, save: Save) -> Self {
        Self { files, raw: Raw::at(workdir, save), opened: 0 }
    }

    /// Reads a file, or all files that match where it is a pattern; none is none (since 7.0).
    pub(super) fn files(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        if depth > MAX_DEPTH {
            return Err(ConfigError::TooLarge);
        }
        // The server joins all that match into one text: a last line without its end goes on in
        // the next file.
        let mut text = String::new();
        let mut begins: Vec<(usize, PathBuf)> = Vec::new();
        let paths = if is_pattern(path) {
            self.raw.patterns.push(path.display().to_string());
            self.files.glob(path)
        } else {
            vec![path.to_owned()]
        };
        for path in paths {
            begins.push((text.matches('\n').count() + 1, path.clone()));
            text.push_str(&self.text(&path)?);
        }
        for (number, directive) in words::lines(&text) {
            let begin = begins.iter().rev().find(|(first, _)| *first <= number);
            let (first, path) = begin.map_or((1, path), |(first, path)| (*first, path.as_path()));
            let (place, line) = (path.display().to_string(), number - first + 1);
            let failed = |why: String| ConfigError::Line { place: place.clone(), line, why };
            let directive = directive.map_err(|e| failed(e.to_string()))?;
            self.directive(&directive, &place, line, depth)?;
        }
        Ok(())
    }

    fn text(&mut self, path: &Path) -> Result<String, ConfigError> {
        self.opened += 1;
        if self.opened > MAX_FILES {
            return Err(ConfigError::TooLarge);
        }
        let bytes = self
            .files
            .read(path, MAX_FILE + 1)
            .map_err(|why| ConfigError::File { path: path.to_owned(), why })?;
        if bytes.len() > MAX_FILE {
            return Err(ConfigError::TooLarge);
        }
        Ok(String::from_utf8_lossy(&as_read_by_the_server(&bytes)).into_owned())
    }

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
            self.raw.after_include = false;
            self.files(&path, depth + 1)?;
            self.raw.after_include = true;
            return Ok(());
        }
        self.raw.set(&name, &directive.values).map_err(failed)
    }

    pub(super) fn finish(mut self) -> Result<ServerConfig, ConfigError> {
        let mut warnings = Vec::new();
        if !self.raw.acl_file.is_empty() {
            self.read_users(&mut warnings);
        }
        self.raw.finish(warnings)
    }

    /// Takes users from the ACL file. Whatever is wrong with it concerns the log-in only, and
    /// nodes.conf needs none: hence warnings.
    fn read_users(&mut self, warnings: &mut Vec<String>) {
        let path = self.raw.dir.join(&self.raw.acl_file);
        if !self.raw.users.is_empty() {
            warnings.push(format!(
                "users are defined by `user` and by `aclfile` ({}), at which the server stops: move \
                 all of them into that file",
                path.display()
            ));
        }
        match self.files.read(&path, MAX_FILE) {
            Ok(bytes) => {
                let users = Users::of_file(&String::from_utf8_lossy(&bytes));
                if self.raw.passwords.required.is_some() && users.is_open(&self.raw.passwords) {
                    warnings.push(format!(
                        "requirepass has no effect, and the server is open to anybody: the ACL file \
                         {} replaces it, and gives the user `default` no password",
                        path.display()
                    ));
                }
                self.raw.users = users;
            }
            Err(why) => warnings.push(format!(
                "the ACL file {} can not be read ({why}), at which the server stops, so how to log \
                 in is taken from the rest of the configuration",
                path.display()
            )),
        }
    }
}

// === impl Raw ===

impl Raw {
    /// The engines' defaults.
    fn at(workdir: &Path, save: Save) -> Self {
        Self {
            dir: workdir.to_owned(),
            from_workdir: true,
            patterns: Vec::new(),
            cluster_enabled: false,
            port: 6379,
            tls_port: 0,
            cluster_port: 0,
            tls_cluster: false,
            tls: TlsNames::default(),
            nodes_conf: "nodes.conf".to_owned(),
            announce_ip: Vec::new(),
            announce_hostname: None,
            announced: AnnouncedPorts::default(),
            passwords: Passwords::default(),
            users: Users::default(),
            acl_file: String::new(),
            renamed: BTreeMap::new(),
            node_timeout_ms: 15_000,
            append_only: false,
            save,
            after_include: false,
            save_begun: false,
            rdb_file: "dump.rdb".to_owned(),
            aof_file: "appendonly.aof".to_owned(),
            aof_dir: "appendonlydir".to_owned(),
            replica_of: None,
        }
    }

    fn finish(self, mut warnings: Vec<String>) -> Result<ServerConfig, ConfigError> {
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
        if self.cluster_enabled && self.nodes_conf.is_empty() {
            return Err(ConfigError::Together(
                "`cluster-config-file` is empty, at which a cluster's server stops: give it a name, \
                 or remove the line"
                    .to_owned(),
            ));
        }
        self.warn(&mut warnings);
        let credentials = self.users.credentials(&self.passwords);
        let password = credentials.iter().find(|c| c.user.is_none()).map(|c| c.password.clone());
        Ok(ServerConfig {
            warnings,
            cluster_enabled: self.cluster_enabled,
            port: on(self.port),
            tls_port: on(self.tls_port),
            bus_port,
            tls_cluster: self.tls_cluster,
            tls: self.tls.resolve(&self.dir),
            nodes_conf: normal(&self.dir.join(&self.nodes_conf)),
            dir: self.dir,
            from_workdir: self.from_workdir,
            patterns: self.patterns,
            announce_ip: self.announce_ip.into_iter().next_back().filter(|ip| !ip.is_empty()),
            announce_hostname: self.announce_hostname,
            announced: self.announced,
            password: password.filter(|_| !self.users.is_open(&self.passwords)),
            credentials,
            master_user: self.passwords.master_user,
            master_auth: self.passwords.master_auth,
            renamed: self.renamed,
            node_timeout_ms: self.node_timeout_ms,
            append_only: self.append_only,
            save: self.save,
            rdb_file: self.rdb_file,
            aof_file: self.aof_file,
            aof_dir: self.aof_dir,
        })
    }

    fn warn(&self, warnings: &mut Vec<String>) {
        self.warn_of_doubles(warnings);
        if !self.users.let_in(&self.passwords) {
            warnings.push(
                "no password is written out that this server would take from Mooring: set \
                 masterauth (and masteruser), or give the user `default` a password in clear text"
                    .to_owned(),
            );
        }
    }

    fn warn_of_doubles(&self, warnings: &mut Vec<String>) {
        let different: BTreeSet<_> = self.announce_ip.iter().collect();
        if let Some(last) = self.announce_ip.last().filter(|_| different.len() > 1) {
            let all = self.announce_ip.join("`, `");
            warnings.push(format!(
                "cluster-announce-ip is given as `{all}`, and the last one counts: `{last}`"
            ));
        }
        warnings.extend(self.users.repeated().map(|name| {
            format!(
                "the user `{name}` is defined twice: Redis 7.0 and later and Valkey stop at that, \
                 so remove one of the two lines"
            )
        }));
    }

    fn set(&mut self, name: &str, values: &[String]) -> Result<(), String> {
        let one = || one(name, values);
        match name {
            "cluster-enabled" => self.cluster_enabled = flag(name, one()?)?,
            "port" => self.port = port(name, one()?)?,
            "tls-port" => self.tls_port = port(name, one()?)?,
            "cluster-port" => self.cluster_port = port(name, one()?)?,
            "tls-cluster" => self.tls_cluster = flag(name, one()?)?,
            "tls-replication" => self.tls.replication = flag(name, one()?)?,
            "tls-auth-clients" => self.tls.clients = Some(one()?.to_ascii_lowercase()),
            "tls-key-file-pass" => self.tls.key_password = secret(one()?),
            "tls-cert-file"
            | "tls-key-file"
            | "tls-client-cert-file"
            | "tls-client-key-file"
            | "tls-ca-cert-file"
            | "tls-ca-cert-dir" => {
                self.tls.files.insert(name.to_owned(), one()?.to_owned());
            }
            "cluster-config-file" => one()?.clone_into(&mut self.nodes_conf),
            "cluster-announce-ip" => self.announce_ip.push(one()?.to_owned()),
            "cluster-announce-hostname" => self.announce_hostname = hostname(name, one()?)?,
            "cluster-announce-port" => self.announced.tcp = on(port(name, one()?)?),
            "cluster-announce-tls-port" => self.announced.tls = on(port(name, one()?)?),
            "cluster-announce-bus-port" => self.announced.bus = on(port(name, one()?)?),
            "requirepass" => self.passwords.required = secret(one()?),
            "masterauth" | "primaryauth" => self.passwords.master_auth = secret(one()?),
            "masteruser" | "primaryuser" => self.passwords.master_user = text(one()?),
            "aclfile" => one()?.clone_into(&mut self.acl_file),
            "cluster-node-timeout" => {
                self.node_timeout_ms =
                    number(one()?).ok_or_else(|| format!("`{name}` is not a number"))?;
            }
            "appendonly" => self.append_only = flag(name, one()?)?,
            "save" => {
                let replaces = self.after_include || !self.save_begun;
                self.save_begun |= !self.after_include;
                self.save.add(values, replaces)?;
            }
            "dbfilename" => base_name(name, one()?)?.clone_into(&mut self.rdb_file),
            "appendfilename" => {
                filled(name, base_name(name, one()?)?)?.clone_into(&mut self.aof_file);
            }
            "appenddirname" => {
                filled(name, base_name(name, one()?)?)?.clone_into(&mut self.aof_dir);
            }
            "dir" => {
                let dir = Path::new(filled(name, one()?)?);
                self.from_workdir &= dir.is_relative();
                self.dir = normal(&self.dir.join(dir));
            }
            "replicaof" | "slaveof" => {
                let none = values.iter().map(|v| v.to_ascii_lowercase()).eq(["no", "one"]);
                self.replica_of = (!none).then(|| name.to_owned());
            }
            "user" => {
                if let Some((user, rules)) = values.split_first() {
                    self.users.define(user, rules);
                }
            }
            "rename-command" => {
                if let [from, to] = values {
                    self.renamed.insert(from.to_ascii_uppercase(), to.clone());
                }
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

// === impl TlsNames ===

impl TlsNames {
    fn resolve(self, dir: &Path) -> Tls {
        let file = |name: &str| {
            let written = self.files.get(name).filter(|f| !f.is_empty())?;
            Some(normal(&dir.join(written)))
        };
        Tls {
            replication: self.replication,
            // `yes` is the default; `optional` asks, and takes clients without one too.
            clients_need_a_certificate: self.clients.as_deref().is_none_or(|c| c == "yes"),
            certificate: file("tls-cert-file"),
            key: file("tls-key-file"),
            key_password: self.key_password.clone(),
            client_certificate: file("tls-client-cert-file"),
            client_key: file("tls-client-key-file"),
            authorities: file("tls-ca-cert-file"),
            authorities_dir: file("tls-ca-cert-dir"),
        }
    }
}

/// Options that contradict each other, and a file that is read twice, as far as the arguments show
/// it. What can not be read is said when all is read.
pub(super) fn warnings_of_arguments(words: &[String]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut raw = Raw::at(Path::new("/"), Save::Unsaid);
    let file = words.first().filter(|w| !w.starts_with('-'));
    for Directive { name, values } in words::options(words).unwrap_or_default() {
        let name = name.to_ascii_lowercase();
        if name == "include" && file.is_some() && values.first() == file {
            warnings.push(format!(
                "{} is read twice, as the first argument and by --include: if it defines users, \
                 Redis 7.0 and later and Valkey stop at the second time",
                values.concat()
            ));
        }
        let _ = raw.set(&name, &values);
    }
    raw.warn_of_doubles(&mut warnings);
    warnings
}

pub(super) fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// Of each piece that the server reads at once it takes what is before a zero byte, so that such a
/// line goes on in the next.
fn as_read_by_the_server(bytes: &[u8]) -> Vec<u8> {
    let pieces = bytes.split_inclusive(|b| *b == b'\n').flat_map(|line| line.chunks(READ_AT_ONCE));
    pieces.flat_map(|piece| piece.split(|b| *b == 0).next().unwrap_or_default()).copied().collect()
}
