//! The directives that Mooring needs: their defaults, their values, and what they come to together.
//!
//! Guarantees: a value is taken as the server takes it or refused; directives that are not needed
//! are left to the server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::acl::{Passwords, Users};
use super::persist::Save;
use super::values::{base_name, filled, flag, hostname, number, on, one, port, secret, text};
use super::{AnnouncedPorts, ConfigError, Secret, ServerConfig, Tls, normal};

/// What has been set so far.
pub(super) struct Raw {
    pub(super) dir: PathBuf,
    from_workdir: bool,
    pub(super) patterns: Vec<String>,
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
    pub(super) passwords: Passwords,
    pub(super) users: Users,
    pub(super) acl_file: String,
    renamed: BTreeMap<String, String>,
    node_timeout_ms: u64,
    append_only: bool,
    save: Save,
    /// Whether an `include` stands above in the same text.
    pub(super) after_include: bool,
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

// === impl Raw ===

impl Raw {
    /// The engines' defaults.
    pub(super) fn at(workdir: &Path, save: Save) -> Self {
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

    /// What it all comes to.
    pub(super) fn finish(self, mut warnings: Vec<String>) -> Result<ServerConfig, ConfigError> {
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

    /// Of what is said twice, and what counts of it.
    pub(super) fn warn_of_doubles(&self, warnings: &mut Vec<String>) {
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

    /// Takes a directive, or says why the server would not.
    pub(super) fn set(&mut self, name: &str, values: &[String]) -> Result<(), String> {
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
