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
#[case(&["sh", "-c", "exec \"$@\"", "--", "redis-server", "/c"], &[])]
#[case(&["sh", "-c", "exec redis-server \"$@\""], &["/c"])]
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
