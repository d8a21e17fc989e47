//! StatefulSets: is the shape possible, can the server be found, and is the template opted in?
//!
//! Guarantees: only what a person can put right at once is refused, and only in the request that
//! brings it: an update that leaves the spec and our settings as they are always passes, and so
//! does one of a set that is being deleted.

use cluster::plan::{Plan, Shape, ShapeError};
use serde_json::Value;

use crate::admission::edit::{Edit, token};
use crate::admission::{Answer, Denial, Skip, find, liveness};
use crate::knobs::Knobs;
use crate::names;

/// Checks a StatefulSet, and mirrors its settings to its pod template.
///
/// `old` is the object before an update; `plan` the recorded one, which later changes of the
/// number of replicas no longer touch; `others` the pods of the other StatefulSets of its group.
pub fn admit(
    set: &Value,
    old: Option<&Value>,
    plan: Option<&Plan>,
    others: u32,
) -> Result<Answer, Denial> {
    let metadata = &set["metadata"];
    if !metadata["deletionTimestamp"].is_null() {
        return Ok(Answer::skip(set, Skip::Deleting));
    }
    if metadata["labels"][names::CLUSTER] != "enabled"
        && let Some(old) = old.filter(|old| old["metadata"]["labels"][names::CLUSTER] == "enabled")
    {
        return Ok(opt_out(set, old));
    }
    if metadata["labels"][names::CLUSTER].is_null() {
        return Ok(Answer::skip(set, Skip::NotOptedIn));
    }
    if old.is_some_and(|old| is_the_same(set, old)) {
        return Ok(Answer::skip(set, Skip::NothingChanged));
    }
    let knobs = Knobs::read(metadata)?;
    if knobs.enabled != Some(true) {
        return Ok(Answer::skip(set, Skip::NotOptedIn));
    }
    let spec = &set["spec"]["template"]["spec"];
    if spec["os"]["name"] == "windows" {
        return Ok(Answer::skip(set, Skip::Windows));
    }
    let mut warnings = Vec::new();
    check_shape(set, &knobs, plan, others, &mut warnings)?;
    check_server(set, &knobs, &mut warnings)?;

    let mut edit = Edit::new(set.clone());
    mirror(&mut edit, old);
    let template = Knobs::read(&edit.object()["spec"]["template"]["metadata"])?;
    if template.enabled == Some(false) {
        warnings.push(format!(
            "the pod template's own label {}: disabled wins: its pods are left alone",
            names::CLUSTER
        ));
    }
    let (patch, object) = edit.finish();
    Ok(Answer { patch, object, warnings, skip: None })
}

/// The label was taken away: what was mirrored goes as well, and with it the step from new pods.
/// (The API server asks for such an update because the old object still matches the selector.)
fn opt_out(set: &Value, old: &Value) -> Answer {
    let mut edit = Edit::new(set.clone());
    mirror(&mut edit, Some(old));
    let (patch, object) = edit.finish();
    Answer { patch, object, warnings: Vec::new(), skip: None }
}

/// Whether an update has left everything as it was that is looked at here.
fn is_the_same(set: &Value, old: &Value) -> bool {
    let ours = |object: &Value, map: &str| -> Vec<(String, Value)> {
        let entries = object["metadata"][map].as_object().into_iter().flatten();
        entries
            .filter(|(key, _)| names::KNOBS.contains(&key.as_str()) || is_unknown(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    set["spec"] == old["spec"]
        && ["labels", "annotations"].iter().all(|map| ours(set, map) == ours(old, map))
}

fn is_unknown(key: &str) -> bool {
    key.starts_with(names::PREFIX) && !names::OWN.contains(&key)
}

fn check_shape(
    set: &Value,
    knobs: &Knobs,
    plan: Option<&Plan>,
    others: u32,
    warnings: &mut Vec<String>,
) -> Result<(), Denial> {
    let pods = set["spec"]["replicas"].as_u64().unwrap_or(1);
    let pods = u32::try_from(pods).unwrap_or(u32::MAX);
    if let Some(group) = &knobs.group {
        return check_group(group, knobs, plan, others.saturating_add(pods), warnings);
    }
    if let Some(plan) = plan {
        // Numbers that do not fit together are a mistake, whatever the cluster began with.
        if knobs.replicas_per_shard.is_some_and(|asked| asked != plan.replicas_per_shard) {
            Shape::of_one(pods, knobs.shards, knobs.replicas_per_shard)?;
        }
        if pods > 0 && pods < plan.pods() {
            warnings.push(fewer("spec.replicas is", pods, plan));
        }
        return Ok(());
    }
    if pods == 0 {
        warnings.push(
            "spec.replicas is 0: the cluster's shape is fixed when the first pod starts".to_owned(),
        );
        return Ok(());
    }
    let shape = Shape::of_one(pods, knobs.shards, knobs.replicas_per_shard)?;
    if shape.replicas_per_shard == 0 {
        warnings.push(format!(
            "{pods} masters without replicas: the data of a lost disk are lost; set \
             spec.replicas to {} for one replica each, or if another StatefulSet has the replicas, set {} \
             on both",
            2 * pods,
            names::GROUP,
        ));
    }
    Ok(())
}

/// One of several StatefulSets, which have `pods` pods together.
fn check_group(
    group: &str,
    knobs: &Knobs,
    plan: Option<&Plan>,
    pods: u32,
    warnings: &mut Vec<String>,
) -> Result<(), Denial> {
    let shape = Shape::of_group(knobs.shards, knobs.replicas_per_shard)?;
    // Pods beyond a plan that is complete are growth.
    let complete = plan.filter(|plan| plan.vacant() == 0);
    if let Some(plan) = complete {
        if pods < plan.pods() {
            warnings.push(fewer(
                &format!("the StatefulSets of the group {group} have"),
                pods,
                plan,
            ));
        }
        return Ok(());
    }
    if pods > shape.pods() {
        return Err(ShapeError::Overfull { pods, shape }.into());
    }
    if pods < shape.pods() {
        warnings.push(format!(
            "the group {group} has {pods} of the {} pods with which it is to begin: its new pods \
             wait for its other StatefulSets",
            shape.pods()
        ));
    }
    Ok(())
}

fn fewer(what: &str, pods: u32, plan: &Plan) -> String {
    format!(
        "{what} {pods} pods, and the cluster began with {}: the slots of masters that go have to be \
         moved away before their pods do",
        plan.pods()
    )
}

fn check_server(set: &Value, knobs: &Knobs, warnings: &mut Vec<String>) -> Result<(), Denial> {
    let spec = &set["spec"]["template"]["spec"];
    let containers =
        spec["containers"].as_array().ok_or(Denial::Malformed("spec.template.spec.containers"))?;
    let server = find::server(containers, knobs)?;
    let container = &containers[server.index];
    find::check_announce(container, &server)?;
    warnings.extend(find::check_dir(container, &server, knobs)?);
    warnings.extend(find::warnings(container, &server));
    warnings.extend(liveness::warning(container));
    check_stopping(set, warnings);
    let dir = find::dir(container, &server, knobs);
    let mount = find::mount_of(container, &dir.path);
    let name = mount.map_or("", |m| m["name"].as_str().unwrap_or_default());
    let by_name = |list: &Value, name_of: fn(&Value) -> &Value| -> Option<Value> {
        list.as_array()?.iter().find(|v| name_of(v) == name).cloned()
    };
    if by_name(&set["spec"]["volumeClaimTemplates"], |v| &v["metadata"]["name"]).is_some() {
        return Ok(());
    }
    let volume = by_name(&spec["volumes"], |v| &v["name"]).unwrap_or_default();
    let own_part = mount.is_some_and(|m| m["subPathExpr"].is_string());
    if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str()
        && !own_part
    {
        let claim = claim.to_owned();
        return Err(Denial::SharedClaim { claim, path: dir.path });
    }
    if volume["hostPath"].is_object() {
        warnings.push(format!(
            "{} is on a hostPath volume: two pods of the set on one node would share it, and \
             a pod that moves leaves its data behind",
            dir.path
        ));
    }
    let data_elsewhere = spec["volumes"].as_array().into_iter().flatten().any(find::is_data)
        || set["spec"]["volumeClaimTemplates"].as_array().is_some_and(|l| !l.is_empty());
    if volume["emptyDir"].is_object() || (mount.is_none() && (dir.said || !data_elsewhere)) {
        warnings.push(format!(
            "{} is on no persistent volume: a member's data do not outlive its pod",
            dir.path
        ));
    }
    Ok(())
}

/// Says where a stop would be too short, or takes too many at once.
fn check_stopping(set: &Value, warnings: &mut Vec<String>) {
    let grace = set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    if let Some(grace) = grace.filter(|g| *g < 15) {
        warnings.push(format!(
            "terminationGracePeriodSeconds is {grace}: a master needs time to hand over and to \
             save; 30 or more is usual"
        ));
    }
    let at_once = &set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"];
    if !at_once.is_null() && *at_once != 1 {
        warnings.push(format!(
            "updateStrategy.rollingUpdate.maxUnavailable is {at_once}: a master and its replica \
             may be stopped at the same time; 1 is safe"
        ));
    }
}

/// Copies settings to the template where they are missing, so that owners who write the template
/// back cause no rollout; and follows the change or end of a setting that was mirrored before.
fn mirror(edit: &mut Edit, old: Option<&Value>) {
    for map in ["labels", "annotations"] {
        // Pods need not know whether they are isolated, and need not be made again for it.
        for key in names::KNOBS.into_iter().filter(|key| !names::OF_THE_SET.contains(key)) {
            let at = token(key);
            let source = format!("/metadata/{map}/{at}");
            let target = format!("/spec/template/metadata/{map}/{at}");
            let mirrored = |v: &Value| old.and_then(|old| old.pointer(&source)) == Some(v);
            match (edit.at(&source).cloned(), edit.at(&target)) {
                (Some(value), Some(there)) if *there == value || !mirrored(there) => {}
                (Some(value), _) => edit.set(&target, value),
                (None, Some(there)) if mirrored(there) => edit.unset(&target),
                (None, _) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(label: Option<&str>, template: Option<&str>) -> Value {
        let labels = |v: Option<&str>| v.map_or(json!({}), |v| json!({names::CLUSTER: v}));
        json!({
            "metadata": {"name": "cache", "labels": labels(label)},
            "spec": {"replicas": 6, "template": {
                "metadata": {"labels": labels(template)},
                "spec": {"containers": [{"name": "redis", "command": ["redis-server", "/c"]}]},
            }},
        })
    }

    fn template(answer: &Answer) -> &Value {
        &answer.object["spec"]["template"]["metadata"]["labels"][names::CLUSTER]
    }

    #[test]
    fn the_label_comes_and_goes_with_the_sets_own() {
        let answer = admit(&set(Some("enabled"), None), Some(&set(None, None)), None, 0).unwrap();
        assert_eq!(template(&answer), "enabled");

        let labelled = set(Some("enabled"), Some("enabled"));
        let answer = admit(&set(None, Some("enabled")), Some(&labelled), None, 0).unwrap();
        assert_eq!(*template(&answer), Value::Null);

        let answer =
            admit(&set(Some("disabled"), Some("enabled")), Some(&labelled), None, 0).unwrap();
        assert_eq!(template(&answer), "disabled");
    }

    #[test]
    fn what_no_pod_needs_to_know_restarts_none() {
        for (key, value) in [(names::ISOLATION, "enabled"), (names::SUCCESSION, "never")] {
            let before = set(Some("enabled"), Some("enabled"));
            let mut changed = before.clone();
            changed["metadata"]["annotations"] = json!({key: value});
            let answer = admit(&changed, Some(&before), None, 0).unwrap();
            assert_eq!(answer.object["spec"], before["spec"], "{key}");
        }
    }

    #[test]
    fn a_template_that_opted_in_by_itself_keeps_its_label() {
        let answer = admit(&set(None, Some("enabled")), Some(&set(None, Some("enabled"))), None, 0);
        assert_eq!(template(&answer.unwrap()), "enabled");
    }

    fn of_group(replicas: u32) -> Value {
        let mut set = set(Some("enabled"), None);
        let labels = &mut set["metadata"]["labels"];
        labels[names::GROUP] = json!("cache");
        labels[names::SHARDS] = json!("3");
        labels[names::REPLICAS_PER_SHARD] = json!("1");
        set["spec"]["replicas"] = json!(replicas);
        set
    }

    #[test]
    fn a_group_is_counted_as_one() {
        let told = |pods, plan: Option<&Plan>, others| {
            admit(&of_group(pods), None, plan, others).map(|a| a.warnings.join(" "))
        };
        assert!(told(3, None, 0).is_ok_and(|w| w.contains("has 3 of the 6 pods")));
        assert!(told(3, None, 3).is_ok_and(|w| !w.contains("of the 6 pods")));
        let over = told(4, None, 3).unwrap_err().to_string();
        assert!(over.starts_with("the StatefulSets of the group have 7 pods together"), "{over}");

        let part = |name: &str| cluster::plan::Part { name: name.to_owned(), pods: 3 };
        let mut plan = Plan {
            salt: "s".into(),
            shards: 3,
            replicas_per_shard: 1,
            generation: 1,
            sets: vec![part("a"), part("b")],
        };
        assert!(told(4, Some(&plan), 3).is_ok_and(|w| !w.contains("pods")), "it grows");
        assert!(told(2, Some(&plan), 3).is_ok_and(|w| w.contains("the cluster began with 6")));
        plan.sets.truncate(1);
        assert!(told(4, Some(&plan), 3).is_err(), "it has not begun");
    }

    #[test]
    fn a_group_says_its_shape_and_pods_learn_their_cluster() {
        let mut silent = of_group(3);
        silent["metadata"]["labels"].as_object_mut().unwrap().remove(names::SHARDS);
        let why = admit(&silent, None, None, 0).unwrap_err().to_string();
        assert!(why.contains("mooring.dev/shards (the number of masters)"), "{why}");
        let labels = &admit(&of_group(3), None, None, 0).unwrap().object["spec"]["template"]["metadata"]
            ["labels"];
        assert_eq!(labels[names::GROUP], "cache");
        assert_eq!(labels[names::SHARDS], Value::Null, "the pods need not know");
    }
}
