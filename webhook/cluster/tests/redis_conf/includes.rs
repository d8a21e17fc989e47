//! Files that a file includes: by name, by pattern, twice, themselves.

use cluster::launch::Engine;
use cluster::nodes::Target;

use super::*;

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
