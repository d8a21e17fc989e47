//! The shapes of StatefulSets from the field (webhook/cluster/tests/shapes) at admission: what is
//! injected, what is denied and why, and what is only warned of.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};

use common::admit;

/// The StatefulSets of a shape, labelled, with six pods (or `replicas`) and a claim for each pod
/// at `mount`.
fn sets(name: &str, mount: &str, replicas: u32) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/tests/shapes");
    let text = std::fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let sets = objects.into_iter().filter(|o| o["kind"] == "StatefulSet");
    sets.map(|mut set| {
        set["metadata"]["labels"] = json!({"mooring.dev/cluster": "enabled"});
        set["spec"]["replicas"] = replicas.into();
        set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
        for container in set["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap() {
            let data = json!({"name": "data", "mountPath": mount});
            match container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                Some(mounts) => mounts.push(data),
                None => container["volumeMounts"] = json!([data]),
            }
        }
        set
    })
    .collect()
}

#[rstest]
#[case("01-binary-and-file", "/data", 6)]
#[case("02-wrapper-script", "/data", 6)]
#[case("03-file-and-options", "/data", 6)]
#[case("04-options-only", "/data", 6)]
#[case("05-options-beat-the-file", "/var/lib/lobby", 6)]
#[case("06-written-by-an-init-container", "/data", 6)]
#[case("09-entrypoint-and-flags", "/data", 6)]
#[case("11-tls-only", "/data", 6)]
// What is wrong with these stands in files that only the step sees, which refuses.
#[case("12-placeholders", "/data", 6)]
#[case("14-refused-by-the-server", "/data", 6)]
fn what_can_be_followed_is_injected(#[case] name: &str, #[case] mount: &str, #[case] pods: u32) {
    for set in sets(name, mount, pods) {
        let answer = admit(&set).unwrap_or_else(|denial| panic!("{name}: {denial}"));
        assert_eq!((answer.skip, answer.warnings), (None, vec![]), "{name}");
        assert!(!answer.patch.is_empty());
    }
}

#[rstest]
#[case("08-script-in-the-background")]
#[case("13-written-at-start")]
fn what_can_not_be_followed_is_denied_with_what_to_set(#[case] name: &str) {
    for set in sets(name, "/data", 6) {
        let why = admit(&set).unwrap_err().to_string();
        assert!(why.contains("set the annotation mooring.dev/container"), "{name}: {why}");
    }
}

#[test]
fn a_folder_of_the_node_is_warned_of() {
    let mut set = sets("07-inline-shell", "/var/lib/lab", 6).remove(0);
    set["spec"].as_object_mut().unwrap().remove("volumeClaimTemplates");
    let volumes = set["spec"]["template"]["spec"]["volumes"].as_array_mut().unwrap();
    volumes.push(json!({"name": "data", "hostPath": {"path": "/srv/lab"}}));
    // Where it is read off a file, the directory is known to the step only.
    set["metadata"]["annotations"] = json!({"mooring.dev/dir": "/var/lib/lab"});
    let warnings = admit(&set).unwrap().warnings;
    assert!(warnings[0].contains("two pods of the set on one node would share it"), "{warnings:?}");
}

#[test]
fn half_a_cluster_looks_like_a_whole_one_without_replicas() {
    for set in sets("10-two-sets-and-an-include", "/data", 3) {
        let warnings = admit(&set).unwrap().warnings;
        assert!(warnings[0].starts_with("3 masters without replicas"), "{warnings:?}");
        assert!(warnings[0].contains("mooring.dev/group"), "{warnings:?}");
    }
}

#[test]
fn two_halves_with_the_name_of_their_group_are_one_cluster() {
    for mut set in sets("10-two-sets-and-an-include", "/data", 3) {
        let labels = &mut set["metadata"]["labels"];
        labels["mooring.dev/group"] = json!("grid");
        labels["mooring.dev/shards"] = json!("3");
        labels["mooring.dev/replicas-per-shard"] = json!("1");
        let warnings = admit(&set).unwrap().warnings;
        assert!(warnings[0].starts_with("the group grid has 3 of the 6 pods"), "{warnings:?}");
    }
}

#[test]
fn nine_pods_are_cut_in_two_ways_and_somebody_has_to_say_which() {
    let set = sets("11-tls-only", "/data", 9).remove(0);
    let why = admit(&set).unwrap_err().to_string();
    assert!(why.contains("mooring.dev/replicas-per-shard"), "{why}");
}
