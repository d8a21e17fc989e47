//! Command lines and configuration files as the field reports them, and what they come to.
//!
//! The expected values were measured on Redis 5.0 to 8.2 and Valkey 8.0 to 9.1 where these start.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};

use cluster::launch::{Container, Launch};
use cluster::net::Ports;
use cluster::server::{Files, Persistence, Secret, ServerConfig, matches};
use rstest::rstest;

#[path = "redis_conf/includes.rs"]
mod includes;
#[path = "redis_conf/login.rs"]
mod login;
#[path = "redis_conf/refused.rs"]
mod refused;

const BASE: &str = "cluster-enabled yes\ncluster-config-file nodes.conf\ndir /data\n";

struct Disk<'a>(&'a [(&'a str, &'a str)]);

impl Files for Disk<'_> {
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, String> {
        let (_, text) = self.0.iter().find(|(p, _)| Path::new(p) == path).ok_or("no such file")?;
        Ok(text.bytes().take(limit).collect())
    }

    fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let found = self.0.iter().map(|(p, _)| PathBuf::from(p));
        let mut found: Vec<_> = found
            .filter(|p| p.parent() == pattern.parent() && matches(&name(pattern), &name(p)))
            .collect();
        found.sort();
        found
    }
}

fn read_in(workdir: &str, argv: &[&str], files: &[(&str, &str)]) -> Result<ServerConfig, String> {
    let command: Vec<_> = argv.iter().map(|w| (*w).to_owned()).collect();
    let container = Container { command: Some(&command), args: None, image: "redis" };
    let env = |name: &str| (name == "MY_IP").then(|| "10.5.0.9".to_owned());
    let Launch::Server(server) = container.launch_with(&env) else {
        return Err("no server".to_owned());
    };
    ServerConfig::read(&server.words, Path::new(workdir), &Disk(files)).map_err(|e| e.to_string())
}

/// With the base file and a few more lines at /etc/own.conf.
fn read(options: &[&str], more: &str) -> Result<ServerConfig, String> {
    let argv = [&["redis-server", "/etc/own.conf"], options].concat();
    read_in("/", &argv, &[("/etc/own.conf", &format!("{BASE}{more}"))])
}

fn nodes_conf(config: &ServerConfig) -> &str {
    config.nodes_conf.to_str().unwrap()
}

#[rstest]
#[case::substitution_that_nobody_makes("$(hostname -i)")]
#[case::name("orders-0.orders-peers.checkout.svc")]
#[case::variable_that_is_not_defined("$(NO_SUCH_VARIABLE)")]
fn what_is_no_address_is_not_announced(#[case] text: &str) {
    let config = read(&["--cluster-announce-ip", text], "").unwrap();
    let problem = config.announce_problem(&["10.5.0.9".parse().unwrap()]).unwrap();
    assert_eq!(
        problem,
        format!(
            "cluster-announce-ip is the text `{text}` and no address, and the server would \
             announce it as it is: remove the line, or start the server with \
             --cluster-announce-ip $(POD_IP)"
        )
    );
}

#[test]
fn the_later_announced_address_counts_and_both_are_mentioned() {
    let options = ["--cluster-announce-ip", "192.0.2.7", "--cluster-announce-ip", "$(MY_IP)"];
    let config = read(&options, "").unwrap();
    assert_eq!(config.announce_ip.as_deref(), Some("10.5.0.9"));
    assert_eq!(config.announce_problem(&["10.5.0.9".parse().unwrap()]), None);
    assert_eq!(
        config.warnings,
        ["cluster-announce-ip is given as `192.0.2.7`, `10.5.0.9`, and the last one counts: \
          `10.5.0.9`"]
    );
}

#[test]
fn a_directory_counts_from_its_line_on() {
    let file = "cluster-enabled yes\ndir /srv/a\ninclude more.conf\ndir /srv/b\n";
    let more = "port 7003\n";
    let files = [("/etc/own.conf", file), ("/srv/a/more.conf", more)];
    let config = read_in("/", &["redis-server", "/etc/own.conf"], &files).unwrap();
    assert_eq!(config.port, Some(7003));
    assert_eq!((config.dir.to_str(), nodes_conf(&config)), (Some("/srv/b"), "/srv/b/nodes.conf"));
}

#[test]
fn without_a_directory_it_is_the_working_directory() {
    let files = [("/etc/own.conf", "cluster-enabled yes\n")];
    let config = read_in("/work", &["redis-server", "/etc/own.conf"], &files).unwrap();
    assert_eq!(nodes_conf(&config), "/work/nodes.conf");
}

#[test]
fn what_the_working_directory_decides_is_said_to_be_its() {
    let of = |argv: &[&str], text: &str| {
        let argv = [&["redis-server", "/etc/own.conf"], argv].concat();
        let files = [("/etc/own.conf", text)];
        read_in("/work", &argv, &files).unwrap().from_workdir
    };
    assert!(of(&[], "port 7001\n"));
    assert!(of(&[], "dir ./more\n"));
    assert!(of(&[], "cluster-config-file /data/nodes.conf\n"), "data are still anywhere");
    assert!(!of(&[], "dir /data\n"));
    assert!(!of(&["--dir", "/data"], "dir ./more\n"));
    let mut config = read_in("/work", &["redis-server"], &[]).unwrap();
    config.move_to(Path::new("/said"));
    assert!(!config.from_workdir);
}

#[test]
fn a_line_with_a_zero_byte_goes_on_in_the_next() {
    assert_eq!(read(&[], "port 70\0gone\n01\nmasterauth a\n").unwrap().port, Some(7001));
}

#[rstest]
#[case::empty_value(&["--save", "", "--port", "7001"])]
#[case::no_value(&["--save", "--port", "7001", "--loglevel", "notice"])]
#[case::no_value_at_the_end(&["--port", "7001", "--save"])]
#[case::in_one_element(&["--save \"\"", "--port 7001"])]
fn an_option_behind_save_is_an_option(#[case] options: &[&str]) {
    let config = read(options, "save 900 1\n").unwrap();
    assert_eq!((config.port, config.save.points()), (Some(7001), &[][..]));
}

#[test]
fn an_inline_shell_is_read_with_its_defaults() {
    let script = "exec redis-server /etc/own.conf --cluster-announce-ip ${MY_IP} --port ${P:-6380}";
    let config = read_in("/", &["sh", "-c", script], &[("/etc/own.conf", BASE)]).unwrap();
    assert_eq!((config.port, config.bus_port), (Some(6380), 16380));
    assert_eq!(config.announce_ip.as_deref(), Some("10.5.0.9"));
}

#[test]
fn behind_a_wrapper_the_arguments_are_the_servers() {
    let argv = ["/etc/before.sh", "redis-server", "/etc/own.conf"];
    let config = read_in("/", &argv, &[("/etc/own.conf", BASE)]).unwrap();
    assert_eq!((config.port, nodes_conf(&config)), (Some(6379), "/data/nodes.conf"));
}

#[test]
fn over_tls_alone_the_bus_follows_the_port_for_tls() {
    let tls = "port 0\ntls-port 6379\ntls-cluster yes\ntls-auth-clients no\n";
    let config = read(&[], tls).unwrap();
    assert_eq!((config.port, config.tls_port, config.bus_port), (None, Some(6379), 16379));
    assert!(config.tls_cluster);
    assert_eq!(config.ports().client(), Some(6379));
    assert_eq!(read(&[], "port 0\n").unwrap().bus_port, 10_000);
    assert_eq!(read(&[], "port 0\ntls-port 1\ncluster-port 7\n").unwrap().bus_port, 7);
}

#[test]
fn values_are_read_as_the_server_reads_them() {
    let config = read(&[], "RequirePass \"a\\x62 \\\"c\"\n\tmasterauth 'it\\'s'\r\n").unwrap();
    assert_eq!(config.password, Some(Secret("ab \"c".to_owned())));
    assert_eq!(config.master_auth, Some(Secret("it's".to_owned())));
    assert_eq!(read(&["--requirepass", ""], "requirepass x\n").unwrap().password, None);
    let placeholder = read(&[], "requirepass ${PASSWORD}\n").unwrap().password;
    assert_eq!(placeholder, Some(Secret("${PASSWORD}".to_owned())));
}

#[rstest]
#[case("", Persistence::VersionDecides)]
#[case("appendonly yes\nsave \"\"", Persistence::Log)]
#[case("save \"\"", Persistence::Nothing)]
#[case("appendonly yes\nsave \"\"\nappendonly no", Persistence::Nothing)]
#[case("save 900 1\nsave 60 100", Persistence::Snapshots)]
#[case("save 900 1\nsave \"\"", Persistence::Nothing)]
#[case("save 900 1 60 100", Persistence::Snapshots)]
fn what_outlives_a_restart(#[case] lines: &str, #[case] expected: Persistence) {
    let config = read(&[], lines).unwrap();
    assert_eq!(config.persistence(), expected);
    let known = matches!(expected, Persistence::Log | Persistence::Snapshots);
    assert_eq!(config.persists(), known);
}

#[test]
fn without_any_argument_every_version_takes_snapshots() {
    assert_eq!(read_in("/", &["redis-server"], &[]).unwrap().persistence(), Persistence::Snapshots);
}

#[test]
fn renamed_commands_add_up() {
    let lines = "rename-command CONFIG \"\"\nrename-command cluster hidden\n";
    let config = read(&[], lines).unwrap();
    let called = ["config", "CLUSTER", "INFO"].map(|name| config.command(name));
    assert_eq!(called, [None, Some("hidden"), Some("INFO")]);
}

#[test]
fn announced_ports_are_those_that_peers_see() {
    let lines = "cluster-announce-port 7\ncluster-announce-bus-port 8\ncluster-announce-tls-port 9\n\
                 cluster-announce-hostname a.b\n";
    let config = read(&[], lines).unwrap();
    assert_eq!((config.port, config.bus_port), (Some(6379), 16379));
    assert_eq!(config.ports(), Ports { tcp: Some(7), tls: None, bus: 8 });
    assert_eq!(config.announce_hostname.as_deref(), Some("a.b"));
    assert_eq!(read(&["--cluster-announce-port", "0"], lines).unwrap().ports().tcp, Some(6379));
}

#[test]
fn files_of_tls_count_from_the_final_directory() {
    let lines = "tls-cert-file tls.crt\ntls-key-file /k/tls.key\ntls-ca-cert-file ca.crt\n\
                 tls-auth-clients optional\ntls-replication yes\ndir /data/more\n";
    let tls = read(&[], lines).unwrap().tls;
    assert_eq!(tls.certificate.as_deref(), Some(Path::new("/data/more/tls.crt")));
    assert_eq!(tls.key.as_deref(), Some(Path::new("/k/tls.key")));
    assert_eq!(tls.authorities.as_deref(), Some(Path::new("/data/more/ca.crt")));
    assert_eq!((tls.replication, tls.clients_need_a_certificate), (true, false));
    assert!(read(&[], "").unwrap().tls.clients_need_a_certificate);
}

#[test]
fn directories_add_up() {
    let config = read(&["--dir", "more", "--dir", "../other"], "dir one\n").unwrap();
    assert_eq!(config.dir.to_str(), Some("/data/one/other"));
    assert_eq!(nodes_conf(&config), "/data/one/other/nodes.conf");
}

#[test]
fn a_pod_says_what_is_empty_in_a_shell() {
    let script = "exec redis-server /etc/own.conf $MORE --port ${P:=6380} ${TLS:+--tls-port 6379}";
    let command = ["sh", "-c", script].map(str::to_owned);
    let container = Container { command: Some(&command), args: None, image: "redis:7" };
    let Launch::Server(server) = container.launch_in(&|_| None, &Disk(&[])) else { panic!() };
    assert_eq!(server.words, ["/etc/own.conf", "--port", "6380"]);
}
