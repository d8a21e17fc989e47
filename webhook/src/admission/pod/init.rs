//! The init container: what the server's container sees, it sees; what that may do, it may do.

use serde_json::{Map, Value, json};

use super::{Injection, field};
use crate::admission::find;
use crate::names;

/// Puts the init container last, or brings one that is there up to date: another mutator may have
/// added variables, mounts or init containers since, or the pod is a copy from a backup, with what
/// an older version injected.
pub(super) fn inject(injection: &mut Injection<'_>, container: &str) {
    let list = injection.at("/spec/initContainers");
    let place = injection.edit.list(&list).iter().position(|c| c["name"] == names::STEP);
    let Some(step) = build(injection, container) else { return };
    let Some(place) = place else {
        return injection.edit.push(&list, step);
    };
    if !is_current(&injection.edit.list(&list)[place], &step) {
        injection.edit.test(&format!("{list}/{place}/name"));
        injection.edit.take(&list, place);
        return injection.edit.push(&list, step);
    }
    let ours = format!("{list}/{place}");
    for (key, items) in [
        ("env", copied_env(injection, container)),
        ("volumeMounts", copied_mounts(injection, container)),
    ] {
        let pointer = format!("{ours}/{key}");
        // A variable is one by its name, a mount by its path.
        let id = if key == "env" { "name" } else { "mountPath" };
        for item in items {
            if !injection.edit.list(&pointer).iter().any(|there| there[id] == item[id]) {
                injection.edit.test(&format!("{ours}/name"));
                injection.edit.push(&pointer, item);
            }
        }
    }
    if is_overtaken(injection, container, place) {
        injection.edit.test(&format!("{ours}/name"));
        if let Some(step) = injection.edit.take(&list, place) {
            injection.edit.push(&list, step);
        }
    }
}

/// Whether what is there was made by the same version for the same container: what others have
/// added since does not matter.
fn is_current(there: &Value, step: &Value) -> bool {
    let own = |container: &Value| -> Vec<Value> {
        let env = container["env"].as_array().into_iter().flatten();
        let is_own = |v: &&Value| v["name"].as_str().is_some_and(|n| n.starts_with("MOORING_"));
        env.filter(is_own).cloned().collect()
    };
    ["image", "command", "args"].iter().all(|key| there[key] == step[key])
        && own(there) == own(step)
}

/// Whether an init container after ours may still write to a volume of the server's.
fn is_overtaken(injection: &Injection<'_>, container: &str, place: usize) -> bool {
    let volumes = injection.edit.list(&injection.at("/spec/volumes"));
    let mounts = injection.edit.list(&format!("{container}/volumeMounts"));
    let later = injection.edit.list(&injection.at("/spec/initContainers"));
    later.iter().skip(place + 1).any(|other| {
        let theirs = other["volumeMounts"].as_array().into_iter().flatten();
        theirs.filter(|m| m["readOnly"] != true && m["name"] != names::TOOLS).any(|theirs| {
            mounts.iter().any(|m| m["name"] == theirs["name"])
                && volumes.iter().any(|v| v["name"] == theirs["name"] && find::is_data(v))
        })
    })
}

fn build(injection: &Injection<'_>, container: &str) -> Option<Value> {
    let server = injection.edit.at(container)?;
    let mut env = copied_env(injection, container);
    env.extend(own_env(injection, server, &env));
    let mut mounts = copied_mounts(injection, container);
    mounts.push(json!({"name": names::TOOLS, "mountPath": names::TOOLS_PATH}));
    mounts.push(json!({"name": names::TOKEN, "mountPath": names::TOKEN_PATH, "readOnly": true}));

    let mut step = json!({
        "name": names::STEP,
        "image": injection.policy.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/step"],
        "args": ["init"],
        "env": env,
        "volumeMounts": mounts,
        "resources": resources(server),
        "securityContext": security_context(injection, server),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if let Some(from) = server.get("envFrom").filter(|f| !f.is_null()) {
        step["envFrom"] = from.clone();
    }
    Some(step)
}

/// The server's own variables, meaning the same as there.
fn copied_env(injection: &Injection<'_>, container: &str) -> Vec<Value> {
    let name = injection.edit.at(&format!("{container}/name")).cloned().unwrap_or_default();
    let env = injection.edit.list(&format!("{container}/env"));
    let users = env.iter().filter(|v| !v["name"].as_str().unwrap_or("").starts_with("MOORING_"));
    users
        .map(|variable| {
            let mut variable = variable.clone();
            // Without a name it means the container that it stands in.
            if let Some(Value::Object(field)) = variable.pointer_mut("/valueFrom/resourceFieldRef")
                && field.get("containerName").is_none_or(|n| n.is_null() || n == "")
            {
                field.insert("containerName".to_owned(), name.clone());
            }
            variable
        })
        .collect()
}

fn copied_mounts(injection: &Injection<'_>, container: &str) -> Vec<Value> {
    let mounts = injection.edit.list(&format!("{container}/volumeMounts"));
    let others = mounts.iter().filter(|m| m["name"] != names::TOOLS);
    others
        .map(|mount| {
            let mut mount = mount.clone();
            // Only privileged containers may have it.
            if mount["mountPropagation"] == "Bidirectional"
                && let Some(mount) = mount.as_object_mut()
            {
                mount.remove("mountPropagation");
            }
            mount
        })
        .collect()
}

fn own_env(injection: &Injection<'_>, server: &Value, there: &[Value]) -> Vec<Value> {
    let fields = [
        ("POD_NAME", "metadata.name"),
        ("POD_NAMESPACE", "metadata.namespace"),
        ("POD_IP", "status.podIP"),
        ("POD_IPS", "status.podIPs"),
    ];
    let mut env = Vec::new();
    for (name, path) in fields {
        let same = |v: &Value| v["name"] == name && v["valueFrom"]["fieldRef"]["fieldPath"] == path;
        // The last of a name wins: one of another meaning is overruled, for the step only.
        if there.iter().rfind(|v| v["name"] == name).is_none_or(|v| !same(v)) {
            env.push(field(name, path));
        }
    }
    let policy = injection.policy;
    let mut own = vec![("MOORING_REGISTRY", policy.registry.clone())];
    own.extend(policy.registry_address.clone().map(|a| ("MOORING_REGISTRY_ADDRESS", a)));
    own.push(("MOORING_CA", policy.ca.clone()));
    own.push(("MOORING_SERVICE", injection.service.to_owned()));
    own.push(("MOORING_SET", injection.set.to_owned()));
    own.push(("MOORING_CONTAINER", launch_text(injection, server)));
    if asks_not_for_the_cluster(server) {
        own.push(("MOORING_HOLD_BACK", "allowed".to_owned()));
    }
    env.extend(own.into_iter().map(|(name, value)| json!({"name": name, "value": value})));
    env.extend(injection.timeouts());
    env
}

/// Whether the server's probes surely do not ask for the state of the cluster. Where they do, the
/// first member of an ordered set has to find it `ok` alone, or the second one never comes.
fn asks_not_for_the_cluster(server: &Value) -> bool {
    ["readinessProbe", "startupProbe", "livenessProbe"].iter().all(|probe| {
        let Some(command) = server[*probe]["exec"]["command"].as_array() else { return true };
        let words: Vec<_> = command.iter().filter_map(Value::as_str).collect();
        let text = words.join(" ").to_ascii_lowercase();
        text.contains("ping") && !text.contains("cluster") && !text.contains(".sh")
    })
}

/// How the server is started, for the step to read; `$` doubled, so that the kubelet hands it over
/// as it is and the step expands what the server's container would.
fn launch_text(injection: &Injection<'_>, server: &Value) -> String {
    let knobs = &injection.knobs;
    let mut text = Map::new();
    for key in ["command", "args", "workingDir", "image"] {
        text.insert(key.to_owned(), server.get(key).cloned().unwrap_or_default());
    }
    for (key, value) in [
        ("config", knobs.config.as_ref().map(|v| json!(v))),
        ("dir", knobs.dir.as_ref().map(|v| json!(v))),
        ("port", knobs.port.map(|v| json!(v))),
    ] {
        text.extend(value.map(|v| (key.to_owned(), v)));
    }
    Value::Object(text).to_string().replace('$', "$$")
}

/// What the step needs is little; what it may not do is change the pod's QoS class or fail
/// a namespace's quota. Where the server's container has limits of CPU and memory, its own
/// resources do both: init containers count by the maximum, so they cost nothing. Otherwise no
/// CPU limit: throttled, the step would hold up the start.
fn resources(server: &Value) -> Value {
    let own = &server["resources"];
    let limit = |kind: &str| own["limits"].get(kind).filter(|v| !v.is_null()).cloned();
    if let (Some(cpu), Some(memory)) = (limit("cpu"), limit("memory")) {
        let mut resources = json!({"limits": {"cpu": cpu, "memory": memory}});
        let mut requests = Map::new();
        for kind in ["cpu", "memory"] {
            if let Some(request) = own["requests"].get(kind).filter(|v| !v.is_null()) {
                requests.insert(kind.to_owned(), request.clone());
            }
        }
        if !requests.is_empty() {
            resources["requests"] = Value::Object(requests);
        }
        return resources;
    }
    let mut limits = json!({"memory": "64Mi"});
    if let Some(cpu) = limit("cpu") {
        limits["cpu"] = cpu;
    }
    // A CPU limit below the request would be refused.
    let cpu =
        if limits.get("cpu").is_some() { own["requests"]["cpu"].clone() } else { json!("10m") };
    let mut requests = json!({"memory": "16Mi"});
    if !cpu.is_null() {
        requests["cpu"] = cpu;
    }
    json!({"requests": requests, "limits": limits})
}

/// The server's user, and no right that its work does not need.
fn security_context(injection: &Injection<'_>, server: &Value) -> Value {
    let pod = injection.edit.at(&injection.at("/spec/securityContext"));
    let own = |key: &str| server["securityContext"].get(key).filter(|v| !v.is_null());
    let effective =
        |key: &str| own(key).or_else(|| pod.and_then(|p| p.get(key)).filter(|v| !v.is_null()));

    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    for key in ["runAsUser", "runAsGroup", "runAsNonRoot", "seLinuxOptions"] {
        if let Some(value) = own(key) {
            context[key] = value.clone();
        }
    }
    let user = effective("runAsUser").and_then(Value::as_i64);
    let non_root = effective("runAsNonRoot") == Some(&Value::Bool(true));
    match user {
        Some(user) if user != 0 => {}
        // The server's image has a user of its own, which the spec does not show, and our image's
        // user is root, whom the kubelet would refuse.
        None if non_root => context["runAsUser"] = json!(image_user(server, pod)),
        // Files of the server's user are read, replaced, and given back to it.
        _ => context["capabilities"]["add"] = json!(["CHOWN", "DAC_OVERRIDE", "FOWNER"]),
    }
    context
}

/// The best guess at the user of an image: what the volumes' group says, else Bitnami's.
fn image_user(server: &Value, pod: Option<&Value>) -> i64 {
    let group = pod.and_then(|p| p["fsGroup"].as_i64()).filter(|g| *g > 0);
    let bitnami = server["image"].as_str().is_some_and(|i| i.contains("bitnami"));
    if bitnami { 1001 } else { group.unwrap_or(65532) }
}
