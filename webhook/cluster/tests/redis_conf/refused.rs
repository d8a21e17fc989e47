//! What a server refuses, refused at the same place.

use super::*;

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
fn a_line_that_merged_with_the_next_is_not_guessed_at() {
    let files = [("/etc/own.conf", "cluster-enabled yes\ndir /dataport 7001\n")];
    let why = read_in("/", &["redis-server", "/etc/own.conf"], &files).unwrap_err();
    assert_eq!(why, "/etc/own.conf, line 2: `dir` takes one value and has 2");
}

#[test]
fn another_option_without_a_value_is_refused() {
    let why = read(&["--cluster-enabled", "--port", "7001"], "").unwrap_err();
    assert_eq!(why, "the server's arguments can not be read: `--cluster-enabled` has no value");
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
