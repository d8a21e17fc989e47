//! StatefulSets as they are found in the field: what is read from each of them.
//!
//! `shapes/NAME.yaml` holds the objects, as small as the shape allows, and `shapes/NAME.txt` what
//! launch and configuration come to, container by container. `kind: File` is a file that only the
//! pod itself sees.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cluster::launch::{Container, Launch, ServerLaunch, expand_kubelet};
use cluster::server::{Files, ServerConfig};
use rstest::rstest;
use serde_json::Value;

const POD_IP: &str = "10.0.0.5";

/// The files of one container, and in which order they were opened.
struct Mounts {
    files: BTreeMap<PathBuf, String>,
    opened: RefCell<Vec<String>>,
}

impl Files for Mounts {
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, String> {
        self.opened.borrow_mut().push(path.display().to_string());
        let text = self.files.get(path).ok_or("no such file")?;
        Ok(text.bytes().take(limit).collect())
    }

    fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        panic!("no shape has a pattern: {}", pattern.display())
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The data of a ConfigMap or Secret.
fn data<'a>(objects: &'a [Value], kind: &str, name: &Value) -> &'a serde_json::Map<String, Value> {
    let object = objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == *name);
    let object = object.unwrap_or_else(|| panic!("no {kind} {name}"));
    let key = if kind == "Secret" { "stringData" } else { "data" };
    object[key].as_object().unwrap()
}

fn mounts(objects: &[Value], pod: &Value, container: &Value) -> Mounts {
    let mut files = BTreeMap::new();
    for file in objects.iter().filter(|o| o["kind"] == "File") {
        files.insert(PathBuf::from(text(&file["path"])), text(&file["text"]).to_owned());
    }
    for mount in list(&container["volumeMounts"]) {
        let volume = list(&pod["volumes"]).iter().find(|v| v["name"] == mount["name"]).unwrap();
        let content = match (&volume["configMap"], &volume["secret"]) {
            (Value::Object(source), _) => data(objects, "ConfigMap", &source["name"]),
            (_, Value::Object(source)) => data(objects, "Secret", &source["secretName"]),
            _ => continue,
        };
        let items = list(&volume["configMap"]["items"]);
        for (key, value) in content {
            let item = items.iter().find(|i| i["key"] == *key);
            let name = item.map_or(key.as_str(), |i| text(&i["path"]));
            let path = Path::new(text(&mount["mountPath"])).join(name);
            files.insert(path, text(value).to_owned());
        }
    }
    Mounts { files, opened: RefCell::default() }
}

/// The environment as the kubelet makes it: in order, with `$(NAME)` of what stands before.
fn environment(objects: &[Value], container: &Value) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for variable in list(&container["env"]) {
        let from = &variable["valueFrom"];
        let value = match (&variable["value"], &from["secretKeyRef"]) {
            (Value::String(value), _) => expand_kubelet(value, &|name| env.get(name).cloned()),
            (_, Value::Object(secret)) => {
                text(&data(objects, "Secret", &secret["name"])[text(&secret["key"])]).to_owned()
            }
            _ if from["fieldRef"]["fieldPath"] == "status.podIP" => POD_IP.to_owned(),
            _ => panic!("a variable of another kind: {variable}"),
        };
        env.insert(text(&variable["name"]).to_owned(), value);
    }
    env
}

/// What is read from one container, in the words of `shapes/NAME.txt`.
fn seen(objects: &[Value], pod: &Value, container: &Value) -> String {
    let words = |key: &str| -> Option<Vec<String>> {
        container.get(key).map(|words| list(words).iter().map(|w| text(w).to_owned()).collect())
    };
    let (command, args) = (words("command"), words("args"));
    let env = environment(objects, container);
    let container_start = Container {
        command: command.as_deref(),
        args: args.as_deref(),
        image: text(&container["image"]),
    };
    let server = match container_start.launch_with(&|name| env.get(name).cloned()) {
        Launch::Server(server) => server,
        Launch::Opaque { why } => return format!("can not be followed: {why}\n"),
        Launch::Other => return "no server\n".to_owned(),
    };
    let mut out = format!("{} server", server.engine);
    let by = [(server.shell, "a shell"), (server.entrypoint, "the image's entrypoint")];
    for (_, by) in by.iter().filter(|(is, _)| *is) {
        write!(out, ", by {by}").unwrap();
    }
    if let Some(wrapper) = &server.wrapper {
        write!(out, ", behind {wrapper}").unwrap();
    }
    let mounts = mounts(objects, pod, container);
    let config = ServerConfig::read(&server.words, Path::new("/data"), &mounts);
    let opened = mounts.opened.borrow().join(", ");
    writeln!(out, "\nfiles: {}", if opened.is_empty() { "none" } else { &opened }).unwrap();
    match config {
        Ok(config) => out + &configured(&config, &server, &mounts),
        Err(e) => out + &format!("refused: {e}\n"),
    }
}

fn configured(config: &ServerConfig, server: &ServerLaunch, mounts: &Mounts) -> String {
    let port = |port: Option<u16>| port.map_or("off".to_owned(), |p| p.to_string());
    let place = || {
        let opened = mounts.opened.borrow();
        let says = |p: &&String| mounts.files[Path::new(p)].contains("requirepass");
        match (server.option("requirepass"), opened.iter().rfind(says)) {
            (Some(_), _) => "by an option".to_owned(),
            (None, file) => format!("in {}", file.unwrap()),
        }
    };
    let password = config.password.as_ref().map(|p| format!("{}, {}", p.0, place()));
    let announce = match config.announce_problem(&[POD_IP.parse().unwrap()]) {
        Some(problem) => format!("refused: {problem}"),
        None => config.announce_ip.clone().unwrap_or("as it is".to_owned()),
    };
    format!(
        "cluster: {}\nport: {}, tls {}, bus {}\ndir: {}\nnodes.conf: {}\npassword: {}\n\
         announce: {announce}\n",
        if config.cluster_enabled { "yes" } else { "no" },
        port(config.port),
        port(config.tls_port),
        config.bus_port,
        config.dir.display(),
        config.nodes_conf.display(),
        password.as_deref().unwrap_or("none"),
    )
}

#[rstest]
#[case("01-binary-and-file")]
#[case("02-wrapper-script")]
#[case("03-file-and-options")]
#[case("04-options-only")]
#[case("05-options-beat-the-file")]
#[case("06-written-by-an-init-container")]
#[case("07-inline-shell")]
#[case("08-script-in-the-background")]
#[case("09-entrypoint-and-flags")]
#[case("10-two-sets-and-an-include")]
#[case("11-tls-only")]
#[case("12-placeholders")]
#[case("13-written-at-start")]
#[case("14-refused-by-the-server")]
fn a_shape_is_read_as_its_server_reads_it(#[case] name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shapes");
    let file = |kind: &str| std::fs::read_to_string(folder.join(format!("{name}.{kind}"))).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&file("yaml")).unwrap();
    let mut out = String::new();
    for set in objects.iter().filter(|o| o["kind"] == "StatefulSet") {
        let pod = &set["spec"]["template"]["spec"];
        for container in list(&pod["containers"]) {
            let (set, name) = (text(&set["metadata"]["name"]), text(&container["name"]));
            write!(out, "{set}/{name}: {}", seen(&objects, pod, container)).unwrap();
        }
    }
    assert_eq!(out, file("txt"));
}
