//! Properties of injection over random pods.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod common;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use common::{admit, apply};

/// Any small piece of JSON.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[ -~]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z~/]{1,6}", inner, 0..3)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Fields that no version of ours knows: their names begin with `x`.
fn unknown() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map("x[a-zA-Z~/.]{0,6}", anything(), 0..3)
        .prop_map(|m| m.into_iter().collect())
}

fn optional<S: Strategy<Value = Value>>(value: S) -> impl Strategy<Value = Option<Value>> {
    prop::option::of(prop_oneof![4 => value, 1 => Just(Value::Null)])
}

fn env() -> impl Strategy<Value = Value> {
    let name = prop_oneof![Just("POD_IP".to_owned()), Just("POD_NAME".to_owned()), "[A-Z]{1,4}"];
    let value = prop_oneof![
        "[ -~]{0,6}".prop_map(|v| json!({"value": v})),
        Just(json!({"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})),
        Just(json!({"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}})),
    ];
    let one = (name, value, unknown()).prop_map(|(name, value, unknown)| {
        let mut entry = unknown;
        entry.insert("name".to_owned(), name.into());
        entry.extend(value.as_object().unwrap().clone());
        Value::Object(entry)
    });
    prop::collection::vec(one, 0..4).prop_map(Value::from)
}

fn hook() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::collection::vec("[ -~]{0,6}", 1..3).prop_map(|c| json!({"exec": {"command": c}})),
        (0..60u32).prop_map(|n| json!({"sleep": {"seconds": n}})),
        Just(json!({"httpGet": {"port": 1}})),
    ]
}

fn server() -> impl Strategy<Value = Value> {
    let lifecycle = (optional(hook()), optional(hook())).prop_map(|(start, stop)| {
        let mut map = Map::new();
        map.extend(start.map(|s| ("postStart".to_owned(), s)));
        map.extend(stop.map(|s| ("preStop".to_owned(), s)));
        Value::Object(map)
    });
    let context =
        (optional((0..3i64).prop_map(Value::from)), optional(any::<bool>().prop_map(Value::from)))
            .prop_map(|(user, non_root)| {
                let mut map = Map::new();
                map.extend(user.map(|u| ("runAsUser".to_owned(), u)));
                map.extend(non_root.map(|n| ("runAsNonRoot".to_owned(), n)));
                Value::Object(map)
            });
    let mounts = prop_oneof![
        Just(json!([])),
        Just(json!([{"name": "data", "mountPath": "/data"}])),
        Just(json!([{"name": "conf", "mountPath": "/etc/redis", "xNew": 1}])),
    ];
    (optional(env()), optional(lifecycle), optional(context), optional(mounts), unknown()).prop_map(
        |(env, lifecycle, context, mounts, unknown)| {
            let mut container = unknown;
            container.insert("name".to_owned(), json!("redis"));
            container.insert("image".to_owned(), json!("redis:8"));
            container
                .insert("command".to_owned(), json!(["redis-server", "/etc/redis/redis.conf"]));
            for (key, value) in [
                ("env", env),
                ("lifecycle", lifecycle),
                ("securityContext", context),
                ("volumeMounts", mounts),
            ] {
                container.extend(value.map(|v| (key.to_owned(), v)));
            }
            Value::Object(container)
        },
    )
}

fn pod() -> impl Strategy<Value = Value> {
    let sidecars = prop::collection::vec(unknown(), 0..3);
    let inits = optional(Just(json!([{"name": "own", "image": "x"}])));
    let affinity = optional(Just(json!({"podAntiAffinity": null, "xNew": 1})));
    let volumes = optional(Just(
        json!([{"name": "data", "emptyDir": {}}, {"name": "conf", "configMap": {}}]),
    ));
    (server(), sidecars, 0..3usize, inits, affinity, volumes, unknown(), unknown(), optional(Just(json!({"a": "b"}))))
        .prop_map(|(server, sidecars, place, inits, affinity, volumes, spec, meta, annotations)| {
            let mut containers: Vec<Value> = sidecars
                .into_iter()
                .enumerate()
                .map(|(n, mut c)| {
                    c.insert("name".to_owned(), json!(format!("sidecar-{n}")));
                    Value::Object(c)
                })
                .collect();
            containers.insert(place.min(containers.len()), server);
            let mut spec = spec;
            spec.insert("containers".to_owned(), containers.into());
            for (key, value) in [("initContainers", inits), ("affinity", affinity), ("volumes", volumes)] {
                spec.extend(value.map(|v| (key.to_owned(), v)));
            }
            let mut metadata = meta;
            metadata.insert("name".to_owned(), json!("cache-4"));
            metadata.insert("labels".to_owned(), json!({"mooring.dev/cluster": "enabled"}));
            metadata.insert("ownerReferences".to_owned(), json!([
                {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "cache", "controller": true},
            ]));
            metadata.extend(annotations.map(|a| ("annotations".to_owned(), a)));
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        })
}

/// Whether everything of `before` is in `after`: members and elements may only be added. `null`
/// is nothing, and hooks are wrapped.
fn keeps(before: &Value, after: &Value, path: &str) -> Result<(), String> {
    match (before, after) {
        (Value::Null, _) => Ok(()),
        (_, Value::Object(_)) if path.ends_with("/postStart") || path.ends_with("/preStop") => {
            Ok(())
        }
        (Value::Object(b), Value::Object(a)) => {
            for (key, value) in b {
                let there = a.get(key).unwrap_or(&Value::Null);
                keeps(value, there, &format!("{path}/{key}"))?;
            }
            Ok(())
        }
        (Value::Array(b), Value::Array(a)) if a.len() >= b.len() => b
            .iter()
            .zip(a)
            .enumerate()
            .try_for_each(|(n, (b, a))| keeps(b, a, &format!("{path}/{n}"))),
        _ if before == after => Ok(()),
        _ => Err(format!("{path}: {before} became {after}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_is_lost_and_a_second_pass_changes_nothing(pod in pod()) {
        let answer = admit(&pod).unwrap();
        prop_assert!(answer.skip.is_none());
        prop_assert_eq!(keeps(&pod, &answer.object, ""), Ok(()));
        prop_assert_eq!(&apply(&pod, &answer), &answer.object);
        for op in serde_json::to_value(&answer.patch).unwrap().as_array().unwrap() {
            prop_assert!(op["op"] == "add" || op["op"] == "test", "{}", op);
        }
        prop_assert_eq!(admit(&answer.object).unwrap().patch, vec![]);
    }

    #[test]
    fn what_another_mutator_adds_since_reaches_the_step(pod in pod(), at_end in any::<bool>()) {
        let mut pod = admit(&pod).unwrap().object;
        let containers = pod["spec"]["containers"].as_array_mut().unwrap();
        let server = containers.iter_mut().find(|c| c["name"] == "redis").unwrap();
        server["env"].as_array_mut().unwrap().push(json!({"name": "LATE", "value": "1"}));
        server["volumeMounts"].as_array_mut().unwrap().push(json!({"name": "late", "mountPath": "/late"}));
        pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({"name": "late", "emptyDir": {}}));
        if at_end {
            let other = json!({"name": "agent", "volumeMounts": [{"name": "late", "mountPath": "/x"}]});
            pod["spec"]["initContainers"].as_array_mut().unwrap().push(other);
        }
        let again = admit(&pod).unwrap();
        prop_assert_eq!(&apply(&pod, &again), &again.object);
        let inits = again.object["spec"]["initContainers"].as_array().unwrap();
        let step = inits.last().unwrap();
        prop_assert_eq!(&step["name"], "mooring-step");
        prop_assert!(step["env"].as_array().unwrap().iter().any(|e| e["name"] == "LATE"));
        prop_assert!(step["volumeMounts"].as_array().unwrap().iter().any(|m| m["name"] == "late"));
        prop_assert_eq!(admit(&again.object).unwrap().patch, vec![]);
    }

    #[test]
    fn what_an_older_version_injected_is_replaced_as_a_whole(pod in pod()) {
        let now = admit(&pod).unwrap().object;
        let yesterday = mooring::admission::Policy { ca: "OLD".to_owned(), ..common::policy() };
        let plan = common::plan();
        let mut old = mooring::admission::pod(&yesterday, Some(&plan), &pod).unwrap().object;
        old["spec"]["initContainers"].as_array_mut().unwrap().push(json!({"name": "helper"}));
        let again = admit(&old).unwrap();
        prop_assert_eq!(&apply(&old, &again), &again.object);
        let steps = again.object["spec"]["initContainers"].as_array().unwrap();
        prop_assert_eq!(steps.iter().filter(|c| c["name"] == "mooring-step").count(), 1);
        let step = |pod: &Value| pod["spec"]["initContainers"].as_array().unwrap().iter()
            .find(|c| c["name"] == "mooring-step").unwrap().clone();
        prop_assert_eq!(step(&again.object), step(&now));
        prop_assert_eq!(admit(&again.object).unwrap().patch, vec![]);
    }
}
