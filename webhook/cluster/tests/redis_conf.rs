//! Command lines and configuration files as the field reports them, and what they come to.
//!
//! The expected values were measured on Redis 5.0 to 8.2 and Valkey 8.0 to 9.1 where these start.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};

use cluster::launch::{Container, Engine, Launch};
use cluster::net::Ports;
use cluster::nodes::Target;
use cluster::server::{Credential, Files, Persistence, Secret, ServerConfig, matches};
use rstest::rstest;

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
fn each_warning_is_given_once() {
    let users = "user clerk on >word +@all\n".repeat(3);
    let config = read(&[], &users).unwrap();
    let warnings = config.warnings_for(Target::Unknown);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("`clerk` is defined twice"));
}

#[test]
fn a_pattern_is_mentioned_to_versions_that_do_not_know_any() {
    let main = format!("{BASE}include /etc/parts/*.conf\n");
    let config = read_in("/", &["redis-server", "/etc/own.conf"], &[("/etc/own.conf", &main)]);
    let config = config.unwrap();
    let says = |version: &str| config.warnings_for(Target::parse(Engine::Redis, version));
    assert_eq!(
        says("6.2.14"),
        ["`include /etc/parts/*.conf` is a pattern, and Redis before 7.0 takes it for a file's \
          name and will not start: name the files, or use a newer version"]
    );
    assert!(says("7.0.15").is_empty() && says("latest").is_empty());
    assert!(config.warnings_for(Target::parse(Engine::Valkey, "8.0.1")).is_empty());
}

#[test]
fn a_file_that_is_read_twice_ends_and_its_users_are_mentioned() {
    let twice = ["--include", "/etc/own.conf"];
    let config = read(&twice, "port 7001\n").unwrap();
    assert_eq!((config.port, config.dir.to_str()), (Some(7001), Some("/data")));
    assert!(config.warnings.is_empty());

    let config = read(&twice, "port 7001\nuser clerk on >word ~* +@all\n").unwrap();
    assert_eq!(config.port, Some(7001));
    assert_eq!(
        config.warnings,
        ["the user `clerk` is defined twice: Redis 7.0 and later and Valkey stop at that, so \
          remove one of the two lines"]
    );
}

#[test]
fn a_file_that_includes_itself_ends_too() {
    let why = read(&[], "include /etc/own.conf\n").unwrap_err();
    assert!(why.ends_with("is there a file that includes itself?"), "{why}");
}

#[test]
fn what_a_rewrite_adds_does_not_hide_the_rest() {
    let files = [
        ("/data/own.conf", "include /etc/base.conf\n# by CONFIG REWRITE\nuser clerk on >w ~*\n"),
        ("/etc/base.conf", &format!("{BASE}user clerk on >w ~*\n")),
    ];
    let config = read_in("/", &["redis-server", "/data/own.conf"], &files).unwrap();
    assert!(config.cluster_enabled);
    assert_eq!((config.port, nodes_conf(&config)), (Some(6379), "/data/nodes.conf"));
    assert_eq!(config.warnings.len(), 1);
}

#[test]
fn a_file_behind_options_is_no_configuration_file() {
    let files = [("/etc/own.conf", BASE)];
    for options in [&["--port", "7001"][..], &["--loglevel", "notice"], &["--save", "9", "1"]] {
        let argv = [&["redis-server"], options, &["/etc/own.conf"]].concat();
        let why = read_in("/", &argv, &files).unwrap_err();
        let name = options[0];
        assert_eq!(
            why,
            format!(
                "on the command line: `/etc/own.conf` is taken for a value of `{name}`: the \
                 configuration file has to be the first argument"
            )
        );
    }
}

#[test]
fn a_pattern_is_read_in_order_and_may_match_nothing() {
    let main = format!("{BASE}port 7000\ninclude /etc/parts/*.conf\n");
    let argv = ["redis-server", "/etc/own.conf"];
    let files = [
        ("/etc/parts/2.conf", "port 7002"),
        ("/etc/own.conf", &main),
        ("/etc/parts/1.conf", "port 7001\n"),
        ("/etc/parts/3.conf.off", "port 7003"),
    ];
    assert_eq!(read_in("/", &argv, &files).unwrap().port, Some(7002));
    assert_eq!(read_in("/", &argv, &files[1..2]).unwrap().port, Some(7000));
    assert!(read(&["--include", "/etc/none.conf"], "").unwrap_err().contains("/etc/none.conf"));
    let two = read(&[], "include /etc/own.conf /etc/own.conf\n").unwrap_err();
    assert_eq!(two, "/etc/own.conf, line 4: `include` takes one value and has 2");
}

#[test]
fn a_pattern_joins_its_files_as_the_server_does() {
    let files = [
        ("/etc/own.conf", "port 1\ninclude /etc/parts/*\n"),
        ("/etc/parts/1", "# one\nport 700"),
        ("/etc/parts/2", "000\nport 2 3\n"),
    ];
    let argv = ["redis-server", "/etc/own.conf"];
    let why = read_in("/", &argv, &files).unwrap_err();
    assert_eq!(why, "/etc/parts/2, line 1: `port` must be a number from 0 to 65535");
    let files = [files[0], files[1], ("/etc/parts/2", "1\nport 2 3\n")];
    let why = read_in("/", &argv, &files).unwrap_err();
    assert_eq!(why, "/etc/parts/2, line 2: `port` takes one value and has 2");
}

#[test]
fn a_line_with_a_zero_byte_goes_on_in_the_next() {
    assert_eq!(read(&[], "port 70\0gone\n01\nmasterauth a\n").unwrap().port, Some(7001));
}

#[test]
fn a_line_that_merged_with_the_next_is_not_guessed_at() {
    let files = [("/etc/own.conf", "cluster-enabled yes\ndir /dataport 7001\n")];
    let why = read_in("/", &["redis-server", "/etc/own.conf"], &files).unwrap_err();
    assert_eq!(why, "/etc/own.conf, line 2: `dir` takes one value and has 2");
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
fn another_option_without_a_value_is_refused() {
    let why = read(&["--cluster-enabled", "--port", "7001"], "").unwrap_err();
    assert_eq!(why, "the server's arguments can not be read: `--cluster-enabled` has no value");
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

fn logins(config: &ServerConfig) -> String {
    let one =
        |c: &Credential| format!("{}:{}", c.user.as_deref().unwrap_or_default(), c.password.0);
    config.credentials.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[rstest]
#[case::nobody_needs_one("", "", None)]
#[case::required("requirepass a", ":a", Some("a"))]
#[case::of_replication_only("masterauth a", ":a", None)]
#[case::a_user_line_beats_it("user default on >b +@all\nrequirepass a", ":b", Some("b"))]
#[case::rotation("user default on >old >new +@all\nmasterauth new", ":new :old", Some("new"))]
#[case::opened("requirepass a\nuser default on nopass ~* +@all", "", None)]
#[case::shut(
    "user default off\nuser copy on >c +psync\nmasteruser copy\nmasterauth c",
    "copy:c",
    None
)]
#[case::by_valkeys_names("primaryuser copy\nprimaryauth c\nrequirepass a", ":a copy:c", Some("a"))]
fn the_way_in_is_the_servers(
    #[case] lines: &str,
    #[case] expected: &str,
    #[case] password: Option<&str>,
) {
    let config = read(&[], lines).unwrap();
    assert_eq!(logins(&config), expected);
    assert_eq!(config.password, password.map(|p| Secret(p.to_owned())));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn without_a_password_in_clear_text_there_is_a_warning() {
    let hash = "0".repeat(64);
    let config = read(&[], &format!("user default on #{hash} +@all\n")).unwrap();
    assert!(config.credentials.is_empty());
    assert!(config.warnings[0].starts_with("no password is written out"), "{:?}", config.warnings);
}

#[test]
fn a_file_of_users_counts_from_the_final_directory_and_beats_the_password() {
    let main = "aclfile users.acl\nrequirepass a\ndir /data\n";
    let of = |users: &'static str, more: &str| {
        let main = format!("{main}{more}");
        let files = [("/etc/own.conf", main.as_str()), ("/data/users.acl", users)];
        read_in("/", &["redis-server", "/etc/own.conf"], &files).unwrap()
    };
    let config = of("user default on >b ~* +@all\n", "");
    assert_eq!((logins(&config).as_str(), config.warnings.len()), (":b", 0));

    let open = of("", "");
    assert_eq!((open.password, open.credentials.len()), (None, 0));
    assert_eq!(
        open.warnings,
        ["requirepass has no effect, and the server is open to anybody: the ACL file \
          /data/users.acl replaces it, and gives the user `default` no password"]
    );

    let both = of("", "user default on >c +@all\n").warnings;
    assert!(both[0].contains("at which the server stops"), "{both:?}");

    let files = [("/etc/own.conf", main)];
    let missing = read_in("/", &["redis-server", "/etc/own.conf"], &files).unwrap();
    assert_eq!(logins(&missing), ":a");
    assert!(missing.warnings[0].contains("/data/users.acl can not be read"));
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
fn behind_an_include_a_snapshot_replaces_those_above() {
    let files = [
        ("/etc/own.conf", "save 1 1\nsave 2 2\ninclude /etc/more.conf\nsave 5 5\n"),
        ("/etc/more.conf", "save 3 3\nsave 4 4\n"),
    ];
    let save = |argv: &[&str]| read_in("/", argv, &files).unwrap().save;
    let inside = ["redis-server", "--save", "1 1", "--include", "/etc/more.conf"];
    assert_eq!(save(&inside).points(), [(1, 1), (3, 3), (4, 4)]);
    assert_eq!(save(&["redis-server", "/etc/own.conf"]).points(), [(5, 5)]);
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

#[rstest]
#[case("port 7000 # plain", "`port` takes one value and has 3: a comment needs a line of its own")]
#[case("port=7000", "`port=`: a blank, not =, goes between name and value")]
#[case("cluster-enabled", "`cluster-enabled` takes one value and has 0")]
#[case("cluster-enabled true", "`cluster-enabled` must be yes or no")]
#[case("dir \"\"", "`dir` is empty")]
#[case("requirepass \"a", "quotes are not balanced")]
#[case("port +7000", "`port` must be a number from 0 to 65535")]
#[case("port 07000", "`port` must be a number from 0 to 65535")]
#[case("save 900", "`save` takes pairs of seconds and changes")]
#[case("dbfilename a/b", "`dbfilename` is a file's name without a folder: `dir` says where it is")]
#[case(
    "cluster-announce-hostname $(HOSTNAME).peers",
    "`cluster-announce-hostname` may hold letters, digits, dots and hyphens only, and nobody \
     expands variables in a configuration file"
)]
#[case(
    "requirepass \"\\xff\"",
    "`requirepass` holds bytes that are no UTF-8 text, which Mooring can not use"
)]
fn what_the_server_refuses_is_refused_at_its_line(#[case] line: &str, #[case] why: &str) {
    assert_eq!(read(&[], line).unwrap_err(), format!("/etc/own.conf, line 4: {why}"));
}

#[rstest]
#[case(
    "port 60000",
    "port 60000 is too high for a cluster, whose bus is at 10000 above it: use a \
                      port up to 55535, or set cluster-port (7.0 and later)"
)]
#[case(
    "replicaof 192.0.2.1 6379",
    "`replicaof` and `cluster-enabled yes` exclude each other: \
                                    remove `replicaof`, since the cluster decides who is whose \
                                    replica"
)]
#[case(
    "cluster-config-file \"\"",
    "`cluster-config-file` is empty, at which a cluster's server stops: give it a name, or remove \
     the line"
)]
fn what_the_server_refuses_together_is_refused(#[case] line: &str, #[case] why: &str) {
    assert_eq!(read(&[], line).unwrap_err(), why);
    assert!(read(&["--cluster-enabled", "no"], line).is_ok());
}
