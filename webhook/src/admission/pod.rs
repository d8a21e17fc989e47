//! Pods: the step before the server, hooks around it, and room for both.
//!
//! Guarantees: a patch only adds (a user's exec hook stays, called by ours), with the exception of
//! an init container of ours that is moved behind one that still writes what it has to read; pods
//! pass Pod Security `restricted` and keep their QoS class whenever they did so before.

mod init;

use cluster::id::Ordinal;
use cluster::plan::Plan;
use serde_json::{Value, json};

use crate::admission::edit::{Edit, token};
use crate::admission::find::{self, Server};
use crate::admission::{Answer, Denial, Policy, Skip};
use crate::knobs::Knobs;
use crate::names;

/// Injects a pod that is a member of an opted-in StatefulSet.
pub fn admit(policy: &Policy, plan: Option<&Plan>, pod: &Value) -> Result<Answer, Denial> {
    let metadata = &pod["metadata"];
    if metadata["labels"][names::CLUSTER].is_null() {
        return Ok(Answer::skip(pod, Skip::NotOptedIn));
    }
    let (set, _) = match member(metadata) {
        Ok(member) => member,
        Err(skip) => return Ok(Answer::skip(pod, skip)),
    };
    let knobs = Knobs::read(metadata)?;
    if knobs.enabled != Some(true) {
        return Ok(Answer::skip(pod, Skip::NotOptedIn));
    }
    if pod["spec"]["os"]["name"] == "windows" {
        return Ok(Answer::skip(pod, Skip::Windows));
    }
    let service = pod["spec"]["subdomain"].as_str().unwrap_or_default();
    let mut injection = Injection {
        policy,
        knobs,
        set: &set,
        service,
        base: "",
        edit: Edit::new(pod.clone()),
        warnings: Vec::new(),
    };
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let seat = plan.and_then(|p| p.seat(p.number(injection.cluster(), name)?));
    injection.run(seat.map(|s| s.shard))?;
    Ok(injection.finish())
}

/// Injects the pod template of a StatefulSet, for the command line: everything but the shard,
/// which is each pod's own.
pub fn template(policy: &Policy, set: &Value) -> Result<Answer, Denial> {
    let mut knobs = Knobs::read(&set["spec"]["template"]["metadata"])?;
    if knobs.enabled.is_none() {
        knobs = Knobs::read(&set["metadata"])?;
    }
    if knobs.enabled != Some(true) {
        return Ok(Answer::skip(set, Skip::NotOptedIn));
    }
    let mut injection = Injection {
        policy,
        knobs,
        set: set["metadata"]["name"].as_str().ok_or(Denial::Malformed("metadata.name"))?,
        service: set["spec"]["serviceName"].as_str().unwrap_or_default(),
        base: "/spec/template",
        edit: Edit::new(set.clone()),
        warnings: Vec::new(),
    };
    injection.run(None)?;
    Ok(injection.finish())
}

/// The StatefulSet that a pod is a member of, and its ordinal.
pub fn member(metadata: &Value) -> Result<(String, Ordinal), Skip> {
    let owners = metadata["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    let is_set = |o: &&Value| {
        o["kind"] == "StatefulSet"
            && o["controller"] == true
            && o["apiVersion"].as_str().is_some_and(|v| v.starts_with("apps/"))
    };
    let owner = owners.iter().find(is_set).ok_or(Skip::NotOfAStatefulSet)?;
    let set = owner["name"].as_str().ok_or(Skip::NotOfAStatefulSet)?;
    let name = metadata["name"].as_str().unwrap_or_default();
    let ordinal = Ordinal::of_pod(name, set).ok_or(Skip::NotAMember)?;
    Ok((set.to_owned(), ordinal))
}

/// One injection under way. All pointers begin at `base`: the pod, or a StatefulSet's template.
struct Injection<'a> {
    policy: &'a Policy,
    knobs: Knobs,
    set: &'a str,
    service: &'a str,
    base: &'a str,
    edit: Edit,
    warnings: Vec<String>,
}

// === impl Injection ===

impl Injection<'_> {
    fn run(&mut self, shard: Option<u32>) -> Result<(), Denial> {
        let containers = self.at("/spec/containers");
        if self.edit.at(&containers).is_none() {
            return Err(Denial::Malformed("spec.containers"));
        }
        let server = find::server(self.edit.list(&containers), &self.knobs)?;
        let container = format!("{containers}/{}", server.index);
        self.check_claim(&container, &server)?;

        self.metadata(&server, shard);
        self.edit.test(&format!("{container}/name"));
        self.data(&container, &server);
        self.tools(&container, &server)?;
        self.env(&container);
        self.hook(&container, "postStart", "post-start");
        self.hook(&container, "preStop", "pre-stop");
        if self.policy.restart_all_containers {
            self.restart_rules(&container);
        }
        init::inject(self, &container);
        if let Some(shard) = shard.filter(|_| self.cluster().len() <= LABEL) {
            self.spread(shard);
        }
        Ok(())
    }

    fn finish(self) -> Answer {
        let warnings = self.warnings;
        let (mut patch, object) = self.edit.finish();
        // Tests alone change nothing.
        if patch.iter().all(|op| matches!(op, super::edit::Op::Test { .. })) {
            patch.clear();
        }
        Answer { patch, object, warnings, skip: None }
    }

    /// The name of the cluster, which is its group's or its only StatefulSet's.
    fn cluster(&self) -> &str {
        self.knobs.group.as_deref().unwrap_or(self.set)
    }

    fn at(&self, pointer: &str) -> String {
        format!("{}{pointer}", self.base)
    }

    /// Ours alone: what a copy or an older version left there is overwritten.
    fn metadata(&mut self, server: &Server, shard: Option<u32>) {
        let status = json!({"version": VERSION, "container": server.name}).to_string();
        let name = Some(self.cluster().to_owned()).filter(|name| name.len() <= LABEL);
        let entries = [
            ("labels", names::NAME, name),
            ("labels", names::SHARD, shard.map(|s| s.to_string())),
            ("annotations", names::VERSION, Some(VERSION.to_owned())),
            ("annotations", names::STATUS, Some(status)),
        ];
        for (map, key, value) in entries {
            let pointer = self.at(&format!("/metadata/{map}/{}", token(key)));
            let wrong = |value: &String| self.edit.at(&pointer).is_none_or(|v| v != value.as_str());
            if let Some(value) = value.filter(wrong) {
                self.edit.set(&pointer, json!(value));
            }
        }
    }

    /// A claim by name that is not this pod's own holds everybody's nodes.conf.
    fn check_claim(&self, container: &str, server: &Server) -> Result<(), Denial> {
        let Some(spec) = self.edit.at(container) else { return Ok(()) };
        let dir = find::dir(spec, server, &self.knobs);
        let Some(mount) = find::mount_of(spec, &dir.path) else { return Ok(()) };
        let volumes = self.edit.list(&self.at("/spec/volumes"));
        let volume = volumes.iter().find(|v| v["name"] == mount["name"]);
        let claim = volume.and_then(|v| v["persistentVolumeClaim"]["claimName"].as_str());
        let pod = self.edit.at("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        match claim {
            Some(claim)
                if !mount["subPathExpr"].is_string() && !claim.ends_with(&format!("-{pod}")) =>
            {
                Err(Denial::SharedClaim { claim: claim.to_owned(), path: dir.path })
            }
            _ => Ok(()),
        }
    }

    /// A place for the data where no volume is: nodes.conf has to be there when the server looks.
    fn data(&mut self, container: &str, server: &Server) {
        let Some(spec) = self.edit.at(container) else { return };
        let dir = find::dir(spec, server, &self.knobs);
        if dir.path == "/" || find::mount_of(spec, &dir.path).is_some() {
            return;
        }
        let volumes = self.edit.list(&self.at("/spec/volumes"));
        let mounts = self.edit.list(&format!("{container}/volumeMounts"));
        let on_data = |mount: &Value| {
            volumes.iter().any(|v| {
                v["name"] == mount["name"] && v["name"] != names::TOOLS && find::is_data(v)
            })
        };
        // A configuration file may set a directory that is on one of these.
        if !dir.said && mounts.iter().any(on_data) {
            return;
        }
        self.warnings.push(format!(
            "{} is on no volume: Mooring puts an emptyDir there, and a member's data do not \
             outlive its pod",
            dir.path
        ));
        self.volume(names::DATA, json!({"name": names::DATA, "emptyDir": {}}));
        let mount = json!({"name": names::DATA, "mountPath": dir.path});
        self.edit.push(&format!("{container}/volumeMounts"), mount);
    }

    fn volume(&mut self, name: &str, volume: Value) {
        let volumes = self.at("/spec/volumes");
        if !self.edit.list(&volumes).iter().any(|v| v["name"] == name) {
            self.edit.push(&volumes, volume);
        }
    }

    fn tools(&mut self, container: &str, server: &Server) -> Result<(), Denial> {
        let mounts = format!("{container}/volumeMounts");
        for mount in self.edit.list(&mounts) {
            let taken = |path: &str| {
                mount["mountPath"].as_str().map(|p| p.trim_end_matches('/')) == Some(path)
            };
            if taken(names::TOOLS_PATH) && mount["name"] != names::TOOLS {
                return Err(Denial::Taken {
                    what: format!("the mount path {}", names::TOOLS_PATH),
                    container: server.name.clone(),
                });
            }
        }
        self.volume(names::TOOLS, json!({"name": names::TOOLS, "emptyDir": {"sizeLimit": "64Mi"}}));
        self.volume(
            names::TOKEN,
            json!({"name": names::TOKEN, "projected": {"sources": [{"serviceAccountToken": {
                "audience": cluster::protocol::AUDIENCE,
                "expirationSeconds": 3600,
                "path": "token",
            }}]}}),
        );
        if !self.edit.list(&mounts).iter().any(|m| m["name"] == names::TOOLS) {
            let mount =
                json!({"name": names::TOOLS, "mountPath": names::TOOLS_PATH, "readOnly": true});
            self.edit.push(&mounts, mount);
        }
        Ok(())
    }

    fn env(&mut self, container: &str) {
        let env = format!("{container}/env");
        let mut wanted = vec![
            field("POD_IP", "status.podIP"),
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
        ];
        wanted.extend(self.timeouts());
        for variable in wanted {
            if !self.edit.list(&env).iter().any(|v| v["name"] == variable["name"]) {
                self.edit.push(&env, variable);
            }
        }
    }

    fn timeouts(&self) -> Vec<Value> {
        let pairs = [
            ("MOORING_READY_TIMEOUT", self.knobs.ready_timeout),
            ("MOORING_HAND_OVER_TIMEOUT", self.knobs.hand_over_timeout),
        ];
        let set = pairs.into_iter().filter_map(|(name, time)| Some((name, time?)));
        set.map(|(name, time)| json!({"name": name, "value": time.to_string()})).collect()
    }

    /// Puts our hook there; a user's own command is called by ours.
    fn hook(&mut self, container: &str, key: &str, verb: &str) {
        let pointer = format!("{container}/lifecycle/{key}");
        let mut command = vec![json!(names::STEP_BINARY), json!(verb)];
        if let Some(there) = self.edit.at(&pointer) {
            if let Some(own) = there["exec"]["command"].as_array() {
                if own.first() == command.first() {
                    return;
                }
                command.push(json!("--"));
                command.extend(own.iter().cloned());
            } else if let Some(seconds) = there["sleep"]["seconds"].as_u64() {
                command.extend([json!("--sleep"), json!(seconds.to_string())]);
            } else {
                self.warnings.push(format!(
                    "the {key} hook is neither a command nor a sleep: it stays, and Mooring's \
                     own is left out; make it an exec hook to have both"
                ));
                return;
            }
            self.edit.test(&pointer);
        }
        self.edit.set(&pointer, json!({"exec": {"command": command}}));
    }

    /// A container that comes back in place finds a step that has run again.
    fn restart_rules(&mut self, container: &str) {
        let policy = format!("{container}/restartPolicy");
        let rules = format!("{container}/restartPolicyRules");
        if self.edit.at(&policy).is_none() && self.edit.at(&rules).is_none() {
            self.edit.set(&policy, json!("Always"));
            let codes = json!({"operator": "NotIn", "values": [0]});
            let rule = json!({"action": "RestartAllContainers", "exitCodes": codes});
            self.edit.set(&rules, json!([rule]));
        }
    }

    /// Members of one shard prefer other hosts and zones than each other's. All pods share one
    /// template, so only here can it be said.
    fn spread(&mut self, shard: u32) {
        let pointer = self
            .at("/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution");
        for (topology, weight) in
            [("kubernetes.io/hostname", 100), ("topology.kubernetes.io/zone", 50)]
        {
            let labels = json!({names::NAME: self.cluster(), names::SHARD: shard.to_string()});
            let term = json!({
                "weight": weight,
                "podAffinityTerm": {
                    "labelSelector": {"matchLabels": labels},
                    "topologyKey": topology,
                },
            });
            let same = |t: &Value| {
                t["podAffinityTerm"]["topologyKey"] == topology
                    && t["podAffinityTerm"]["labelSelector"]["matchLabels"] == labels
            };
            if !self.edit.list(&pointer).iter().any(same) {
                self.edit.push(&pointer, term);
            }
        }
    }
}

/// A variable from the downward API.
fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

/// A label holds no more characters; a StatefulSet's name may.
const LABEL: usize = 63;
const VERSION: &str = env!("CARGO_PKG_VERSION");
