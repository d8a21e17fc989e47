use std::path::{Path, PathBuf};

use rstest::rstest;

use super::*;

fn launch(command: &[&str], args: &[&str], image: &str) -> Launch {
    let own = |w: &[&str]| w.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let (command, args) = (own(command), own(args));
    Container {
        command: (!command.is_empty()).then_some(&command[..]),
        args: (!args.is_empty()).then_some(&args[..]),
        image,
    }
    .launch_with(&|name| match name {
        "PASS" => Some("p w".to_owned()),
        "VALKEY_EXTRA_FLAGS" => Some("--port 7000".to_owned()),
        _ => None,
    })
}

#[rstest]
#[case(&["redis-server", "/c/r.conf"], &[], "x", "/c/r.conf", None)]
#[case(&["redis-server"], &["/c/r.conf", "--port", "7000"], "x", "/c/r.conf --port 7000", None)]
#[case(&["/c/fix.sh", "redis-server", "/c/r.conf"], &[], "x", "/c/r.conf", Some("/c/fix.sh"))]
#[case(&["sh", "/c/fix.sh"], &["redis-server", "/c/r.conf"], "x", "/c/r.conf", Some("/c/fix.sh"))]
#[case(&[], &["--port", "1"], "redis:7", "--port 1", None)]
#[case(&[], &["/c/r.conf"], "reg.example/library/redis@sha256:0", "/c/r.conf", None)]
#[case(&[], &["redis-server", "/c/r.conf"], "own/image", "/c/r.conf", None)]
#[case(&[], &["valkey-server", "/c/r.conf"], "valkey/valkey:8", "/c/r.conf --port 7000", None)]
#[case(&["sh", "-c", "exec redis-server /c/r.conf --requirepass \"$PASS\""], &[], "x",
       "/c/r.conf --requirepass p w", None)]
#[case(&["sh", "-c"], &["mkdir -p /b && redis-server /b/c"], "x", "/b/c", None)]
#[case(&["sh", "-c", "PORT=7000; exec redis-server /c --port $PORT >/log 2>&1"], &[], "x",
       "/c --port 7000", None)]
#[case(&["sh", "-c", "if [ -f /d/n ]; then sed -i s/a/b/ /d/n; fi\nexec /w.sh redis-server /c"], &[],
       "x", "/c", Some("/w.sh"))]
#[case(&["sh", "-c", "exec \"$@\"", "--", "redis-server", "/c"], &["--port", "1"], "x",
       "/c --port 1", None)]
#[case(&["sh", "-c", "exec redis-server \"$@\"", "--"], &["/c"], "x", "/c", None)]
// The first word behind a script is its name, not its argument.
#[case(&["sh", "-c", "exec redis-server \"$@\""], &["/c"], "x", "", None)]
#[case(&["docker-entrypoint.sh", "/c.conf"], &[], "valkey/valkey:8", "/c.conf --port 7000", None)]
#[case(&["tini", "-g", "--", "redis-server", "/c"], &[], "x", "/c", None)]
#[case(&["env", "-i", "redis-server", "/c"], &[], "x", "/c", None)]
#[case(&[], &["redis-server", "/c"], "bitnami/redis-cluster:7", "/c", None)]
#[case(&["redis-server"], &["--requirepass", "$(PASS)", "$(NONE)", "$$(PASS)"], "x",
       "--requirepass p w $(NONE) $(PASS)", None)]
fn servers(
    #[case] command: &[&str],
    #[case] args: &[&str],
    #[case] image: &str,
    #[case] words: &str,
    #[case] wrapper: Option<&str>,
) {
    let Launch::Server(server) = launch(command, args, image) else {
        panic!("{:?}", launch(command, args, image));
    };
    assert_eq!(server.words.join(" "), words);
    assert_eq!(server.wrapper.as_deref(), wrapper);
}

#[rstest]
#[case(&["sh", "-c", "redis-server /c & sleep 5; redis-cli --cluster create"], &[])]
#[case(&["sh", "-c", "redis-server /c\nredis-cli ping"], &[])]
#[case(&["/c/start.sh"], &[])]
#[case(&["bash", "/c/start"], &[])]
#[case(&["sh", "-c", "shift; exec redis-server \"$@\""], &["sh", "/b", "/c"])]
#[case(&["sh", "-c", "set -- /d; exec redis-server \"$@\""], &["sh", "/c"])]
#[case(&["sh", "-c", "exec redis-server /etc/*.conf"], &[])]
#[case(&["sh", "-c", "exec redis-server $(ls /etc)"], &[])]
#[case(&["sh", "-c", "exit 1; exec redis-server /c"], &[])]
#[case(&["sh", "-c", "cp /a /b && redis-server /b"], &[])]
#[case(&["sh", "-c", "cp -r /a/. /b/; redis-server /b/c"], &[])]
#[case(&["sh", "-c", "echo port 7000 >> /b; exec redis-server /b"], &[])]
#[case(&["sh", "-c", "cat > /b <<END\nport 7000\nEND\nexec redis-server /b"], &[])]
#[case(&["sh", "-c", "cd /b; redis-server c.conf"], &[])]
#[case(&["sh", "-c", ". /b; redis-server /c --port $PORT"], &[])]
#[case(&["sh", "-c", "if test -f /b; then redis-server /b; fi"], &[])]
fn opaque(#[case] command: &[&str], #[case] args: &[&str]) {
    assert!(matches!(launch(command, args, "redis"), Launch::Opaque { .. }));
}

#[rstest]
#[case(&["redis-server", "/c", "--sentinel"], &[], "redis")]
#[case(&[], &["/c.conf", "--sentinel"], "redis")]
#[case(&["redis-cli", "-h", "x", "redis-server"], &[], "redis")]
#[case(&["exporter", "--address", "redis-server"], &[], "x")]
#[case(&["redis_exporter"], &[], "x")]
#[case(&[], &[], "oliver006/redis_exporter")]
#[case(&["sh", "-c", "sleep 1"], &[], "redis")]
fn others(#[case] command: &[&str], #[case] args: &[&str], #[case] image: &str) {
    assert_eq!(launch(command, args, image), Launch::Other);
}

#[test]
fn an_image_with_scripts_of_its_own_is_not_taken_for_the_official_one() {
    for image in
        ["bitnami/redis-cluster:7.2", "docker.io/bitnamilegacy/valkey:8", "redis/redis-stack"]
    {
        for args in [&[][..], &["--port", "7000"]] {
            assert!(matches!(launch(&[], args, image), Launch::Opaque { .. }), "{image}");
        }
    }
}

#[test]
fn what_can_not_be_followed_is_said_without_its_arguments() {
    let start = launch(&["tini", "/c/start.sh", "--requirepass", "$(PASS)"], &[], "redis");
    let why = "`tini /c/start.sh` decides by itself what it starts".to_owned();
    assert_eq!(start, Launch::Opaque { why });
}

#[test]
fn options_on_the_command_line_are_read_as_the_server_does() {
    let words = ["--cluster-enabled", "yes", "--port 7000", "--CLUSTER-enabled", "no"];
    let Launch::Server(server) = launch(&["redis-server"], &words, "x") else { panic!() };
    assert_eq!(server.option("cluster-enabled").as_deref(), Some("no"));
    assert_eq!(server.option("port").as_deref(), Some("7000"));
    assert_eq!(server.option("dir"), None);
    assert_eq!(server.config_file(), None);
}

struct Scripts(&'static str);

impl Files for Scripts {
    fn read(&self, path: &Path, _limit: usize) -> Result<Vec<u8>, String> {
        let known = path == Path::new("/conf/start.sh");
        known.then(|| self.0.as_bytes().to_vec()).ok_or_else(|| "no such file".to_owned())
    }

    fn glob(&self, _pattern: &Path) -> Vec<PathBuf> {
        Vec::new()
    }
}

fn within(command: &[&str], script: &'static str, image: &str) -> Launch {
    let command: Vec<_> = command.iter().map(|w| (*w).to_owned()).collect();
    let container = Container { command: Some(&command), args: None, image };
    container.launch_in(&|name| (name == "IP").then(|| "10.0.0.9".to_owned()), &Scripts(script))
}

#[rstest]
#[case::starts_it("exec redis-server /c --port $1", &["/conf/start.sh", "7000"], "/c --port 7000")]
#[case::hands_over("#!/bin/bash -e\nset -u\nexec \"$@\"\n",
       &["bash", "/conf/start.sh", "redis-server", "/c"], "/c")]
#[case::edits_and_hands_over(
    "#!/bin/sh\nif [ -f /data/nodes.conf ]; then\n  [ -n \"$IP\" ] || exit 1\n  \
     sed -i -e \"/myself/ s/ [0-9.]*:/ ${IP}:/\" /data/nodes.conf\nfi\nexec \"$@\"",
    &["/conf/start.sh", "redis-server", "/c", "--port", "7"], "/c --port 7")]
#[case::beyond_reading_but_hands_over("IP=$(hostname -i)\nexec \"$@\"",
       &["/conf/start.sh", "redis-server", "/c"], "/c")]
#[case::unset_variables_are_empty("exec redis-server /c --port ${PORT:-7} $MORE --dir \"/d$SUB\"",
       &["sh", "/conf/start.sh"], "/c --port 7 --dir /d")]
#[case::not_at_hand("", &["/opt/start.sh", "redis-server", "/c"], "/c")]
fn scripts_that_are_read(
    #[case] script: &'static str,
    #[case] command: &[&str],
    #[case] words: &str,
) {
    let Launch::Server(server) = within(command, script, "redis:7") else {
        panic!("{:?}", within(command, script, "redis:7"));
    };
    assert_eq!(server.words.join(" "), words);
    assert!(server.wrapper.is_some());
}

#[rstest]
#[case("redis-server /c &\nwait", &["/conf/start.sh"],
       "the shell script starts the server in the background and goes on")]
#[case("redis-server /other", &["/conf/start.sh", "redis-server", "/c"], "")]
#[case("sleep 1", &["/conf/start.sh", "redis-server", "/c"],
       "the shell script mentions a server but does not start it as a plain command")]
#[case("IP=$(hostname -i)\nredis-server /d", &["/conf/start.sh", "redis-server", "/c"],
       "the shell script can not be read as plain commands (`(` is more than plain commands)")]
#[case("exec redis-server /c --port ${PORT:?}", &["/conf/start.sh"],
       "the shell script starts no server: it stops, since `PORT` is not set")]
#[case("#!/usr/bin/python3\nredis-server", &["/conf/start.sh"],
       "`/conf/start.sh` decides by itself what it starts")]
#[case("", &["/opt/start.sh"], "`/opt/start.sh` decides by itself what it starts")]
fn scripts_that_are_not(
    #[case] script: &'static str,
    #[case] command: &[&str],
    #[case] expected: &str,
) {
    match within(command, script, "redis:7") {
        Launch::Opaque { why } => assert_eq!(why, expected),
        // What the script starts, not what stands behind it.
        Launch::Server(server) => {
            assert_eq!((server.words.join(" ").as_str(), expected), ("/other", ""))
        }
        Launch::Other => panic!("{script}"),
    }
}

#[test]
fn a_variable_that_the_image_may_set_is_not_taken_for_empty() {
    let script = "mkdir -p $LOGS; exec redis-server /c --port $PORT";
    let launch = within(&["/conf/start.sh"], script, "reg.example/shop/cache:1");
    let why = "the shell script depends on the variable `PORT`, which only the running container \
               knows";
    assert_eq!(launch, Launch::Opaque { why: why.to_owned() });
    let script = "exec redis-server /c --port ${PORT:-7}";
    assert!(matches!(
        within(&["/conf/start.sh"], script, "reg.example/shop/cache:1"),
        Launch::Server(_)
    ));
}
