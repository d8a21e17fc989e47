//! The manifests in `manifests/`, filled in.

use anyhow::{Result, bail};

/// A StatefulSet with its Service and ConfigMap.
#[derive(Clone, Debug)]
pub struct SetManifest<'a> {
    /// Name of its Service, ConfigMap and Secret.
    pub name: &'a str,
    /// Name of the StatefulSet.
    pub set: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// `OrderedReady` or `Parallel`.
    pub policy: &'a str,
    /// The server's image.
    pub image: &'a str,
    /// The server's program.
    pub server: &'a str,
    /// The command line's program.
    pub cli: &'a str,
    /// Number of pods.
    pub replicas: u32,
    /// Lines under the StatefulSet's labels.
    pub labels: &'a [&'a str],
    /// `yes` or `no`.
    pub cluster: &'a str,
    /// A user id that is not root's, or the image's own choice.
    pub user: Option<u32>,
    /// The image of an init container that does nothing.
    pub idle_init: Option<&'a str>,
}

// === impl SetManifest ===

impl SetManifest<'_> {
    /// The manifest.
    pub fn render(&self) -> Result<String> {
        let security = self.user.map_or_else(String::new, |user| {
            format!(
                "securityContext: {{runAsNonRoot: true, runAsUser: {user}, runAsGroup: {user}, \
                 fsGroup: {user}}}"
            )
        });
        let init = self.idle_init.map_or_else(String::new, |image| {
            format!(
                "initContainers: [{{name: idle, image: {image:?}, imagePullPolicy: IfNotPresent, \
                 args: [noop]}}]"
            )
        });
        let replicas = self.replicas.to_string();
        let labels = self.labels.join("\n    ");
        let values = [
            ("name", self.name),
            ("set", self.set),
            ("namespace", self.namespace),
            ("policy", self.policy),
            ("image", self.image),
            ("server", self.server),
            ("cli", self.cli),
            ("replicas", &replicas),
            ("label", &labels),
            ("cluster", self.cluster),
            ("security", &security),
            ("init", &init),
        ];
        fill(include_str!("../manifests/set.yaml"), &values)
    }
}

/// A namespace, marked as the lab's.
pub fn namespace(namespace: &str, run: &str) -> Result<String> {
    fill(include_str!("../manifests/namespace.yaml"), &[("namespace", namespace), ("run", run)])
}

/// The password, for the servers and for the client.
pub fn secret(namespace: &str, name: &str, password: &str) -> Result<String> {
    let values = [("namespace", namespace), ("name", name), ("password", password)];
    fill(include_str!("../manifests/secret.yaml"), &values)
}

/// The client's pod.
pub fn client(namespace: &str, set: &str, pod: &str, image: &str) -> Result<String> {
    let values =
        [("namespace", namespace), ("name", set), ("client", pod), ("client_image", image)];
    fill(include_str!("../manifests/client.yaml"), &values)
}

/// Replaces every `${key}`; an error if one has no value.
pub fn fill(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut text = template.to_owned();
    for (key, value) in values {
        text = text.replace(&format!("${{{key}}}"), value);
    }
    match text.split_once("${") {
        Some((_, rest)) => bail!("a manifest asks for ${{{}", rest.lines().next().unwrap_or("")),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_filled() {
        let set = SetManifest {
            name: "redis",
            set: "redis",
            namespace: "lab",
            policy: "Parallel",
            image: "docker.io/library/redis:7.0",
            server: "redis-server",
            cli: "redis-cli",
            replicas: 6,
            labels: &["mooring.dev/cluster: enabled", "mooring.dev/replicas-per-shard: \"1\""],
            cluster: "yes",
            user: Some(999),
            idle_init: Some("client:dev"),
        };
        let text = set.render().unwrap();
        assert!(text.contains("\n    mooring.dev/cluster: enabled\n    mooring.dev/replicas-per"));
        assert!(text.contains("\n      securityContext: {runAsNonRoot: true, runAsUser: 999,"));
        assert!(text.contains("image: \"client:dev\""));
        assert!(namespace("lab", "demo").is_ok());
        assert!(secret("lab", "redis", "secret").unwrap().contains("requirepass secret"));
        assert!(client("lab", "redis", "client", "client:dev").is_ok());
        assert!(fill("a ${b} c", &[]).is_err());
    }
}
