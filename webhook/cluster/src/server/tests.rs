use std::collections::BTreeMap;

use super::*;

struct Disk(BTreeMap<PathBuf, Vec<u8>>);

impl Files for Disk {
    fn read(&self, path: &Path, _limit: usize) -> Result<Vec<u8>, String> {
        self.0.get(path).cloned().ok_or_else(|| "no such file".to_owned())
    }

    fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        let folder = pattern.parent().unwrap();
        self.0.keys().filter(|p| p.parent() == Some(folder)).cloned().collect()
    }
}

fn read(words: &[&str], files: &[(&str, &str)]) -> Result<ServerConfig, ConfigError> {
    let disk = files.iter().map(|(p, t)| (PathBuf::from(p), t.as_bytes().to_vec())).collect();
    let words: Vec<_> = words.iter().map(|w| (*w).to_owned()).collect();
    ServerConfig::read(&words, Path::new("/data"), &Disk(disk))
}

#[test]
fn options_beat_the_file_and_the_last_value_wins() {
    let config = read(
        &["/c/r.conf", "--port", "7001", "--dir", "b"],
        &[(
            "/c/r.conf",
            "port 1\nPORT 2\n  cluster-enabled YES\r\ndir a\n# x\nrequirepass \"p\\x41\"\n",
        )],
    )
    .unwrap();
    assert_eq!((config.port, config.bus_port), (Some(7001), 17001));
    assert!(config.cluster_enabled);
    assert_eq!(config.dir, Path::new("/data/a/b"));
    assert_eq!(config.nodes_conf, Path::new("/data/a/b/nodes.conf"));
    assert_eq!(config.password, Some(Secret("pA".to_owned())));
}

#[test]
fn includes_count_from_the_directory_of_that_line() {
    let config = read(
        &["/c/r.conf"],
        &[
            ("/c/r.conf", "dir /x\ninclude more.conf\ninclude /s/*.conf"),
            ("/x/more.conf", "masterauth m"),
            ("/s/a.conf", "port 1\n"),
            ("/s/b.conf", "port 2"),
        ],
    )
    .unwrap();
    assert_eq!(config.port, Some(2));
    assert_eq!(config.master_auth, Some(Secret("m".to_owned())));
}

#[test]
fn the_bus_follows_the_port_that_the_cluster_uses() {
    let bus = |words: &[&str]| read(words, &[]).unwrap().bus_port;
    assert_eq!(bus(&[]), 16379);
    assert_eq!(bus(&["--port", "0", "--tls-port", "7000", "--tls-cluster", "yes"]), 17000);
    assert_eq!(bus(&["--port", "0", "--tls-port", "7000"]), 10000);
    assert_eq!(bus(&["--cluster-port", "9"]), 9);
}

#[test]
fn what_the_server_refuses_is_refused_with_its_place() {
    let line = |text: &str| read(&["/c"], &[("/c", text)]).unwrap_err().to_string();
    assert_eq!(
        line("\nport 1 # comment"),
        "/c, line 2: `port` takes one value and has 3: a comment needs a line of its own"
    );
    assert_eq!(line("cluster-enabled true"), "/c, line 1: `cluster-enabled` must be yes or no");
    assert_eq!(line("requirepass \"x"), "/c, line 1: quotes are not balanced");
    assert_eq!(line("include /c"), ConfigError::TooLarge.to_string());
    assert!(read(&["/none"], &[]).unwrap_err().to_string().contains("no such file"));
    assert!(matches!(read(&["-"], &[]), Err(ConfigError::Elsewhere(_))));
}

#[test]
fn a_placeholder_is_no_address() {
    let own = ["10.0.0.1".parse().unwrap()];
    let problem =
        |text: &str| read(&["--cluster-announce-ip", text], &[]).unwrap().announce_problem(&own);
    assert_eq!(problem("10.0.0.1"), None);
    assert!(problem("10.0.0.2").unwrap().contains("not this pod's address"));
    assert!(problem("${POD_IP}").unwrap().contains("no address"));
    assert_eq!(read(&[], &[]).unwrap().announce_problem(&own), None);
}

#[test]
fn a_secret_is_not_printed() {
    let config = read(&["--requirepass", "hunter2"], &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn patterns_of_include() {
    for (pattern, name, expected) in [
        ("*.conf", "a.conf", true),
        ("*.conf", ".a.conf", false),
        ("*.conf", "a.conf.bak", false),
        ("a?c", "abc", true),
        ("[a-c]*", "b1", true),
        ("[!a-c]*", "b1", false),
        ("[", "[", false),
        ("**a**", "xxay", true),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn annotations_beat_what_was_read() {
    let mut config = read(&["--dir", "/a"], &[]).unwrap();
    config.move_to(Path::new("/b"));
    config.set_port(7000);
    assert_eq!(config.nodes_conf, Path::new("/b/nodes.conf"));
    assert_eq!((config.port, config.bus_port), (Some(7000), 17000));
}
