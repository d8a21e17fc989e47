//! What the webhook told the step about its pod, and what `step init` leaves for the hooks.
//!
//! `init` reads environment variables that the webhook wrote. The hooks run in the redis
//! container, which does not have them: they read the file that `init` leaves beside the binary.
//! Passwords are in neither; init and hooks read them from where the server itself does. The
//! cluster's own replication secret is in the file, so that the hooks have it without the registry.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use cluster::launch::{Container, Launch};
use cluster::nodes::Target;
use cluster::protocol::Report;
use cluster::secret::ReplicationSecret;
use cluster::server::ServerConfig;
use serde::{Deserialize, Serialize};

use crate::disk;

/// The folder that init and redis container share.
pub(crate) const TOOLS: &str = "/mooring-tools";

/// Where the pod's token is, in the init container only.
pub(crate) const TOKEN: &str = "/var/run/secrets/mooring.dev/token";

/// What both init and hooks need.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Settings {
    /// `https://NAME:PORT` of the registry.
    pub(crate) registry: String,
    /// The registry's Service address, so that no name has to be looked up.
    #[serde(default)]
    pub(crate) registry_address: Option<SocketAddr>,
    /// The CA that signs the registry's certificate, as PEM.
    pub(crate) ca: String,
    /// The governing Service's name; empty where there is none.
    #[serde(default)]
    pub(crate) service: String,
    /// The pod's namespace.
    #[serde(default)]
    pub(crate) namespace: String,
    /// The StatefulSet's name.
    #[serde(default)]
    pub(crate) set: String,
    /// The redis container as its spec has it.
    pub(crate) container: ContainerSpec,
    /// With what the hooks show the registry which pod they are in; empty if it was away.
    #[serde(default)]
    pub(crate) hook_token: String,
    /// The cluster's replication secret; `None` if the registry was away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<ReplicationSecret>,
    /// What `init` decided, for post-start to report.
    #[serde(default)]
    pub(crate) report: Option<Report>,
}

/// The redis container's start, and the annotations that override what is read from it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerSpec {
    #[serde(default)]
    command: Option<Vec<String>>,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    working_dir: Option<PathBuf>,
    #[serde(default)]
    image: String,
    #[serde(default)]
    config: Option<String>,
    #[serde(default)]
    dir: Option<PathBuf>,
    #[serde(default)]
    port: Option<u16>,
}

// === impl Settings ===

impl Settings {
    /// The headless Service's name in DNS, if the set has one.
    pub(crate) fn service_name(&self) -> Option<String> {
        let Self { service, namespace, .. } = self;
        (!service.is_empty() && !namespace.is_empty()).then(|| format!("{service}.{namespace}.svc"))
    }

    /// As the webhook wrote them into the environment.
    pub(crate) fn from_env() -> Result<Self, String> {
        let required = |name: &str| {
            std::env::var(name).map_err(|_| {
                format!(
                    "{name} is not set: `step init` runs in pods that the webhook injected only"
                )
            })
        };
        let optional = |name: &str| std::env::var(name).unwrap_or_default();
        let container = required("MOORING_CONTAINER")?;
        Ok(Self {
            registry: required("MOORING_REGISTRY")?,
            registry_address: optional("MOORING_REGISTRY_ADDRESS").parse().ok(),
            ca: required("MOORING_CA")?,
            service: optional("MOORING_SERVICE"),
            namespace: optional("POD_NAMESPACE"),
            set: optional("MOORING_SET"),
            container: serde_json::from_str(&container)
                .map_err(|e| format!("MOORING_CONTAINER can not be read: {e}"))?,
            hook_token: String::new(),
            secret: None,
            report: None,
        })
    }

    /// As `init` left them for the hooks.
    pub(crate) fn from_tools() -> Result<Self, String> {
        let path = Path::new(TOOLS).join("settings.json");
        let text = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Leaves them for the hooks, readable by this container's user only.
    pub(crate) fn leave(&self) -> Result<(), String> {
        let path = Path::new(TOOLS).join("settings.json");
        let text = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        disk::put(&path, &text, 0o600).map_err(|e| format!("{}: {e}", path.display()))
    }
}

// === impl ContainerSpec ===

impl ContainerSpec {
    /// The server's configuration, read from where the server reads it.
    pub(crate) fn server_config(&self) -> Result<ServerConfig, String> {
        let environment: BTreeMap<String, String> = std::env::vars().collect();
        let env = |name: &str| environment.get(name).cloned();
        let container = Container {
            command: self.command.as_deref(),
            args: self.args.as_deref(),
            image: &self.image,
        };
        let words = match (container.launch_in(&env, &disk::RealFiles), &self.config) {
            (Launch::Server(server), None) => server.words,
            // What stands on the command line still beats the file that the annotation names.
            (Launch::Server(server), Some(file)) => {
                let options = server.words.iter().skip(usize::from(server.config_file().is_some()));
                std::iter::once(file).chain(options).cloned().collect()
            }
            (_, Some(file)) => vec![file.clone()],
            (Launch::Opaque { why }, None) => {
                return Err(format!(
                    "{why}: set the annotation mooring.dev/config to the configuration file that \
                     the server reads"
                ));
            }
            (Launch::Other, None) => {
                return Err(
                    "the container starts neither redis-server nor valkey-server".to_owned()
                );
            }
        };
        let known = self.working_dir.as_deref().or(container.image_dir().map(Path::new));
        let workdir = known.unwrap_or(Path::new("/data"));
        let mut config =
            ServerConfig::read(&words, workdir, &disk::RealFiles).map_err(|e| e.to_string())?;
        if let Some(dir) = &self.dir {
            config.move_to(dir);
        }
        if config.from_workdir && known.is_none() {
            return Err(format!(
                "the configuration sets no `dir`, and in which directory the image {} starts its \
                 server is not known, so nodes.conf might be written where the server does not look: \
                 set `dir`, the container's workingDir, or the annotation mooring.dev/dir",
                self.image
            ));
        }
        if let Some(port) = self.port {
            config.set_port(port);
        }
        Ok(config)
    }

    /// Which engine will read nodes.conf, by the image's name and tag.
    pub(crate) fn target(&self) -> Target {
        Target::of_image(&self.image)
    }
}

/// The pod's addresses, the primary one first.
pub(crate) fn pod_ips() -> Result<Vec<IpAddr>, String> {
    let text = std::env::var("POD_IPS").or_else(|_| std::env::var("POD_IP")).unwrap_or_default();
    let ips: Vec<IpAddr> = text.split(',').filter_map(|ip| ip.trim().parse().ok()).collect();
    if ips.is_empty() {
        return Err(format!("POD_IPS is `{text}`, which holds no address"));
    }
    Ok(ips)
}

/// Seconds from a variable of the redis container's environment.
pub(crate) fn seconds(name: &str, default: u64) -> std::time::Duration {
    let value = std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    std::time::Duration::from_secs(value.min(3600))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Folder;

    fn container(command: &[&str], image: &str) -> ContainerSpec {
        let spec = serde_json::json!({"command": command, "image": image});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn notes_of_other_versions_are_read() {
        // The least that an older version wrote, and what a newer one may add.
        let old = serde_json::json!({
            "registry": "https://mooring.example:443", "ca": "x", "container": {"image": "redis:7"},
        });
        let mut new = old.clone();
        new["report"] = serde_json::json!({"reason": "Repaired", "message": "m", "colour": "red"});
        new["container"]["sidecar"] = true.into();
        new["later"] = serde_json::json!([{}]);
        for note in [&old, &new] {
            let settings: Settings = serde_json::from_value(note.clone()).unwrap();
            assert_eq!(settings.container.image, "redis:7");
            assert_eq!(settings.report.is_some(), note.get("report").is_some());
        }
    }

    #[test]
    fn mounted_scripts_are_followed() {
        let folder = Folder::new("script");
        let conf = folder.write("own.conf", "cluster-enabled yes\ndir /data/own\nport 7001\n");
        let conf = conf.to_str().unwrap();
        let wrapper = folder.write("before.sh", "#!/bin/sh\nset -e\nmkdir -p /data\nexec \"$@\"\n");
        let start = folder.write("start.sh", &format!("exec redis-server {conf} --port 7002\n"));
        let (wrapper, start) = (wrapper.to_str().unwrap(), start.to_str().unwrap());
        let port = |command: &[&str]| {
            container(command, "redis:7").server_config().map(|c| (c.port, c.dir))
        };
        let dir = PathBuf::from("/data/own");
        assert_eq!(port(&[wrapper, "redis-server", conf]), Ok((Some(7001), dir.clone())));
        assert_eq!(port(&["sh", start]), Ok((Some(7002), dir)));
        let forms =
            folder.write("forms.sh", "redis-server /c.conf &\nredis-cli --cluster create\n");
        let why = port(&["sh", forms.to_str().unwrap()]).unwrap_err();
        assert!(why.contains("in the background") && why.contains("mooring.dev/config"), "{why}");
    }

    #[test]
    fn a_directory_that_nobody_knows_is_asked_for() {
        let options = ["redis-server", "--cluster-enabled", "yes"];
        let official = container(&options, "redis:7").server_config().unwrap();
        assert_eq!(official.nodes_conf, Path::new("/data/nodes.conf"));

        let mut own = container(&options, "own/redis-build:7");
        let why = own.server_config().unwrap_err();
        assert!(why.contains("own/redis-build:7") && why.contains("mooring.dev/dir"), "{why}");
        own.working_dir = Some(PathBuf::from("/work"));
        assert_eq!(own.server_config().unwrap().nodes_conf, Path::new("/work/nodes.conf"));
        own.working_dir = None;
        own.dir = Some(PathBuf::from("/said"));
        assert_eq!(own.server_config().unwrap().nodes_conf, Path::new("/said/nodes.conf"));
        let said = [&options[..], &["--dir", "/srv"]].concat();
        assert!(container(&said, "own/redis-build:7").server_config().is_ok());
    }

    #[test]
    fn the_engine_is_read_off_the_image() {
        let target = |image: &str| {
            ContainerSpec {
                command: None,
                args: None,
                working_dir: None,
                image: image.to_owned(),
                config: None,
                dir: None,
                port: None,
            }
            .target()
        };
        let reads = |image: &str| target(image).format() == cluster::nodes::Format::Aux;
        for image in ["redis:7.2", "redis:8-alpine", "x.example:5000/valkey/valkey:8.1.1@sha256:0"]
        {
            assert!(reads(image), "{image}");
        }
        for image in ["redis", "redis:latest", "redis:7.0.15", "redis:6.2", "redis:7", "own:8"] {
            assert!(!reads(image), "{image}");
        }
    }
}
