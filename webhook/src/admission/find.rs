//! Which container runs the server, where it keeps its files, and what is mounted there.
//!
//! By what a container starts, never by its name, image or position: see [`cluster::launch`].

use std::net::IpAddr;

use cluster::launch::{Container, Launch, ServerLaunch};
use cluster::nodes::Target;
use cluster::server::ServerConfig;
use serde_json::Value;

use crate::admission::Denial;
use crate::knobs::Knobs;

/// The container that runs the server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its place in the list.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// How it starts the server, where that can be followed.
    pub launch: Option<ServerLaunch>,
}

/// A directory and how it is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dir {
    /// The path.
    pub path: String,
    /// Whether somebody said so: an annotation or an option. Else it is what the image's working
    /// directory usually is, and a configuration file may say otherwise.
    pub said: bool,
}

/// The server's container among a pod's.
pub fn server(containers: &[Value], knobs: &Knobs) -> Result<Server, Denial> {
    let name = |c: &Value| c["name"].as_str().unwrap_or_default().to_owned();
    if let Some(named) = &knobs.container {
        let index = containers.iter().position(|c| c["name"] == named.as_str());
        let index = index.ok_or_else(|| Denial::NoSuchContainer {
            name: named.clone(),
            there: containers.iter().map(name).collect::<Vec<_>>().join(", "),
        })?;
        let launch = match launch(&containers[index]) {
            Launch::Server(launch) => Some(launch),
            Launch::Opaque { .. } | Launch::Other => None,
        };
        return checked(Server { index, name: named.clone(), launch }, knobs);
    }
    let mut servers = Vec::new();
    let mut opaque = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        match launch(container) {
            Launch::Server(launch) if !launch.is_sentinel() => {
                servers.push(Server { index, name: name(container), launch: Some(launch) });
            }
            Launch::Opaque { why } => opaque.push(format!("{}: {why}", name(container))),
            Launch::Server(_) | Launch::Other => {}
        }
    }
    if servers.len() > 1 {
        let names: Vec<_> = servers.iter().map(|s| s.name.as_str()).collect();
        return Err(Denial::SeveralServers { names: names.join(", ") });
    }
    let opaque =
        if opaque.is_empty() { String::new() } else { format!(" ({})", opaque.join("; ")) };
    checked(servers.pop().ok_or(Denial::NoServer { opaque })?, knobs)
}

/// A server started by options alone has to be told to be a cluster's.
fn checked(server: Server, knobs: &Knobs) -> Result<Server, Denial> {
    let Some(launch) = &server.launch else { return Ok(server) };
    let by_options =
        launch.config_file().is_none() && launch.wrapper.is_none() && knobs.config.is_none();
    let enabled = launch.option("cluster-enabled").is_some_and(|v| v.eq_ignore_ascii_case("yes"));
    if by_options && !enabled {
        return Err(Denial::NotClusterMode { container: server.name });
    }
    Ok(server)
}

/// Refuses an announced address that can be none. What a shell, a file or `envFrom` may make of it
/// is not known here, and passes.
pub fn check_announce(container: &Value, server: &Server) -> Result<(), Denial> {
    let Some(launch) = server.launch.as_ref().filter(|l| !l.shell) else { return Ok(()) };
    let Some(value) = launch.option("cluster-announce-ip") else { return Ok(()) };
    let listed = |name: &str| {
        let env = container["env"].as_array();
        env.into_iter().flatten().any(|v| v["name"] == name)
            || ["POD_IP", "POD_NAME", "POD_NAMESPACE"].contains(&name)
            || container["envFrom"].as_array().is_some_and(|l| !l.is_empty())
    };
    let variable = value.strip_prefix("$(").and_then(|v| v.strip_suffix(')'));
    let valid = value.is_empty()
        || value.parse::<IpAddr>().is_ok()
        || variable.is_some_and(|name| name != "POD_NAME" && listed(name));
    if valid { Ok(()) } else { Err(Denial::Announce { container: server.name.clone(), value }) }
}

/// Refuses a server of which nobody says where its files are; gives a warning where only its
/// configuration file, which is not seen here, can say it. (The step sees it, and refuses then.)
pub fn check_dir(
    container: &Value,
    server: &Server,
    knobs: &Knobs,
) -> Result<Option<String>, Denial> {
    let image = container["image"].as_str().unwrap_or_default();
    let known = dir(container, server, knobs).said
        || container["workingDir"].is_string()
        || Container { command: None, args: None, image }.image_dir().is_some();
    let launch = server.launch.as_ref();
    let by_options = launch.is_some_and(|l| l.config_file().is_none() && l.wrapper.is_none());
    if known {
        return Ok(None);
    }
    if by_options && knobs.config.is_none() {
        let (container, image) = (server.name.clone(), image.to_owned());
        return Err(Denial::NoDir { container, image });
    }
    Ok(Some(format!(
        "in which directory the image {image} starts its server is not known: if the configuration \
         sets no `dir`, set it, or workingDir, or the annotation mooring.dev/dir, since a member \
         without it is not started"
    )))
}

/// What the arguments show that is hardly meant.
pub fn warnings(container: &Value, server: &Server) -> Vec<String> {
    let Some(launch) = &server.launch else { return Vec::new() };
    let mut warnings = ServerConfig::warnings_of_arguments(&launch.words);
    let image = container["image"].as_str().unwrap_or_default();
    let target = Target::of_image(image);
    warnings.extend(launch.option("include").and_then(|i| cluster::server::too_early(&i, target)));
    warnings
}

/// What a container starts, with the variables whose values its spec shows.
fn launch(container: &Value) -> Launch {
    let words = |key: &str| -> Option<Vec<String>> {
        let list = container.get(key)?.as_array()?;
        Some(list.iter().filter_map(|w| w.as_str().map(str::to_owned)).collect())
    };
    let command = words("command");
    let args = words("args");
    let env = |name: &str| -> Option<String> {
        let list = container["env"].as_array()?;
        let entry = list.iter().rev().find(|e| e["name"] == name)?;
        entry["value"].as_str().map(str::to_owned)
    };
    Container {
        command: command.as_deref(),
        args: args.as_deref(),
        image: container["image"].as_str().unwrap_or_default(),
    }
    .launch_with(&env)
}

/// Where the server keeps nodes.conf and its data: what is set, else the working directory, else
/// that of the official images.
pub fn dir(container: &Value, server: &Server, knobs: &Knobs) -> Dir {
    let option = server.launch.as_ref().and_then(|l| l.option("dir"));
    if let Some(path) = knobs.dir.clone().or(option).filter(|p| p.starts_with('/')) {
        return Dir { path, said: true };
    }
    let path = container["workingDir"].as_str().filter(|p| p.starts_with('/'));
    Dir { path: path.unwrap_or("/data").to_owned(), said: false }
}

/// The mount that a path is on: the longest mount path that it begins with.
pub fn mount_of<'a>(container: &'a Value, path: &str) -> Option<&'a Value> {
    let mounts = container["volumeMounts"].as_array()?;
    let length = |m: &Value| m["mountPath"].as_str().map_or(0, |p| p.trim_end_matches('/').len());
    mounts
        .iter()
        .filter(|m| covers(m["mountPath"].as_str().unwrap_or("/"), path))
        .max_by_key(|m| length(m))
}

/// Whether a path is a mount point or below it.
fn covers(mount: &str, path: &str) -> bool {
    let mount = mount.trim_end_matches('/');
    let path = path.trim_end_matches('/');
    !mount.is_empty()
        && path.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a volume is one to write to, rather than configuration or credentials.
pub fn is_data(volume: &Value) -> bool {
    ["configMap", "secret", "projected", "downwardAPI", "image"]
        .iter()
        .all(|kind| volume.get(kind).is_none_or(Value::is_null))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn found(containers: &Value) -> Result<String, String> {
        let list = containers.as_array().unwrap();
        server(list, &Knobs::default()).map(|s| s.name).map_err(|e| e.to_string())
    }

    #[test]
    fn exporters_and_proxies_are_no_servers() {
        let containers = json!([
            {"name": "metrics", "image": "oliver006/redis_exporter:v1"},
            {"name": "db", "image": "redis:8", "command": ["redis-server", "/conf/redis.conf"]},
        ]);
        assert_eq!(found(&containers), Ok("db".to_owned()));
    }

    #[test]
    fn what_cannot_be_told_has_to_be_said() {
        let two = json!([
            {"name": "a", "image": "redis:8", "args": ["redis-server", "/a.conf"]},
            {"name": "b", "image": "redis:8", "args": ["redis-server", "/b.conf"]},
        ]);
        assert!(found(&two).unwrap_err().contains("containers a, b start servers"));
        let none = json!([{"name": "a", "image": "nginx"}]);
        assert!(found(&none).unwrap_err().contains("no container starts redis-server"));
        let plain = json!([{"name": "a", "image": "redis:8"}]);
        assert!(found(&plain).unwrap_err().contains("--cluster-enabled yes"));
    }

    #[rstest]
    #[case("10.0.0.1", true)]
    #[case("$(POD_IP)", true)]
    #[case("$(MY_IP)", true)]
    #[case("$(OTHER)", false)]
    #[case("$(hostname -i)", false)]
    #[case("$(POD_NAME)", false)]
    #[case("cache-0.cache.shop.svc.cluster.local", false)]
    fn an_announced_name_is_refused(#[case] value: &str, #[case] valid: bool) {
        let container = json!({
            "name": "redis", "image": "redis:8",
            "command": ["redis-server", "/c.conf", "--cluster-announce-ip", value],
            "env": [{"name": "MY_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        });
        let server = server(std::slice::from_ref(&container), &Knobs::default()).unwrap();
        assert_eq!(check_announce(&container, &server).is_ok(), valid);
    }

    #[test]
    fn contradicting_arguments_are_mentioned() {
        let said = |args: &[&str]| {
            let container = json!({"name": "redis", "image": "redis:6.2", "args": args});
            let server = server(std::slice::from_ref(&container), &Knobs::default()).unwrap();
            warnings(&container, &server)
        };
        let announced = "--cluster-announce-ip";
        let twice = ["/c.conf", announced, "192.0.2.7", announced, "$(POD_IP)"];
        assert!(
            said(&twice)[0].ends_with("the last one counts: `$(POD_IP)`"),
            "{:?}",
            said(&twice)
        );
        let again = said(&["/c.conf", "--include", "/c.conf"]);
        assert!(again[0].starts_with("/c.conf is read twice"), "{again:?}");
        let users = ["/c.conf", "--user", "clerk", "on", "--user", "clerk", "on"];
        assert!(said(&users)[0].contains("`clerk` is defined twice"), "{:?}", said(&users));
        let pattern = said(&["/c.conf", "--include", "/parts/*.conf"]);
        assert!(pattern[0].contains("Redis before 7.0"), "{pattern:?}");
        assert_eq!(said(&["/c.conf", announced, "$(POD_IP)"]), Vec::<String>::new());
    }

    #[rstest]
    #[case(json!({"image": "redis:8"}), "fine")]
    #[case(json!({"image": "mirror.example/library/valkey:8@sha256:0"}), "fine")]
    #[case(json!({"image": "own/redis-build:8", "workingDir": "/work"}), "fine")]
    #[case(json!({"image": "own/redis-build:8", "dir": "/d"}), "fine")]
    #[case(json!({"image": "own/redis-build:8"}), "denied")]
    #[case(json!({"image": "own/redis-build:8", "file": "/c.conf"}), "warned")]
    fn where_nobody_says_where_files_are_somebody_has_to(#[case] spec: Value, #[case] end: &str) {
        let mut command = vec![json!("redis-server")];
        command.extend(spec.get("file").cloned());
        command.extend([json!("--cluster-enabled"), json!("yes")]);
        if let Some(dir) = spec.get("dir") {
            command.extend([json!("--dir"), dir.clone()]);
        }
        let mut container = json!({"name": "redis", "image": spec["image"], "command": command});
        if let Some(dir) = spec.get("workingDir") {
            container["workingDir"] = dir.clone();
        }
        let server = server(std::slice::from_ref(&container), &Knobs::default()).unwrap();
        let found = match check_dir(&container, &server, &Knobs::default()) {
            Ok(None) => "fine",
            Ok(Some(_)) => "warned",
            Err(denial) => {
                assert!(denial.to_string().contains("add --dir"), "{denial}");
                "denied"
            }
        };
        assert_eq!(found, end);
    }

    #[rstest]
    #[case("/data", Some("data"))]
    #[case("/data/redis", Some("data"))]
    #[case("/data/deep/x", Some("deep"))]
    #[case("/database", None)]
    #[case("/", None)]
    fn a_path_is_on_its_longest_mount(#[case] path: &str, #[case] name: Option<&str>) {
        let container = json!({"volumeMounts": [
            {"name": "data", "mountPath": "/data/"},
            {"name": "deep", "mountPath": "/data/deep"},
        ]});
        assert_eq!(mount_of(&container, path).and_then(|m| m["name"].as_str()), name);
    }
}
