//! The manifests say what the code relies on.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use cluster::plan::{Part, Plan};
use kube::Resource;
use mooring::names;
use mooring::registry::record::ClusterRecord;
use serde_json::{Value, json};

fn documents(name: &str) -> Vec<Value> {
    let path = format!("{}/../manifests/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn find(name: &str, kind: &str) -> Value {
    let found = documents(name).into_iter().find(|d| d["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {name}"))
}

#[test]
fn the_definition_is_that_of_the_type() {
    let crd = find("base/crd.yaml", "CustomResourceDefinition");
    assert_eq!(crd["spec"]["group"], ClusterRecord::group(&()).as_ref());
    assert_eq!(crd["spec"]["names"]["kind"], ClusterRecord::kind(&()).as_ref());
    assert_eq!(crd["spec"]["names"]["plural"], ClusterRecord::plural(&()).as_ref());
    let version = &crd["spec"]["versions"][0];
    assert_eq!(version["name"], ClusterRecord::version(&()).as_ref());
    assert!(version["subresources"]["status"].is_object());

    let plan = Plan {
        salt: "s".to_owned(),
        shards: 3,
        replicas_per_shard: 1,
        generation: 1,
        sets: vec![Part { name: "c".to_owned(), pods: 6 }],
    };
    let plan = serde_json::to_value(plan).unwrap();
    let schema = &version["schema"]["openAPIV3Schema"]["properties"];
    let fields = schema["spec"]["properties"]["plan"]["properties"].as_object().unwrap();
    let named: Vec<_> = fields.keys().collect();
    assert_eq!(named, plan.as_object().unwrap().keys().collect::<Vec<_>>());
    // Fields of a later version must not be pruned by an older definition.
    for pointer in
        ["/spec/properties/plan", "/status", "/status/properties/members/additionalProperties"]
    {
        let keeps = schema.pointer(pointer).unwrap().get("x-kubernetes-preserve-unknown-fields");
        assert_eq!(keeps, Some(&Value::Bool(true)), "{pointer}");
    }
}

#[test]
fn every_field_that_the_api_server_defaults_is_written_out() {
    let configuration = find("base/webhook.yaml", "MutatingWebhookConfiguration");
    for webhook in configuration["webhooks"].as_array().unwrap() {
        for field in [
            "admissionReviewVersions",
            "failurePolicy",
            "matchPolicy",
            "namespaceSelector",
            "objectSelector",
            "reinvocationPolicy",
            "sideEffects",
            "timeoutSeconds",
        ] {
            assert!(!webhook[field].is_null(), "{field}");
        }
        assert!(!webhook["clientConfig"]["service"]["port"].is_null());
        assert!(!webhook["rules"][0]["scope"].is_null());
        // Published by `serve`; here it would be put back at every apply.
        assert!(webhook["clientConfig"].get("caBundle").is_none());
        // Nobody who has not opted in can be held up.
        let opted_in = json!({"key": names::CLUSTER, "operator": "Exists"});
        assert_eq!(webhook["objectSelector"]["matchExpressions"][0], opted_in);
        let excluded = webhook["namespaceSelector"]["matchExpressions"][0]["values"].as_array();
        assert!(excluded.unwrap().contains(&json!("mooring-system")), "its own pods");
    }
}

#[test]
fn the_injected_image_is_the_served_one() {
    let deployment = find("base/deployment.yaml", "Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let env = container["env"].as_array().unwrap();
    let image = env.iter().find(|e| e["name"] == "MOORING_IMAGE").unwrap();
    assert_eq!(image["value"], container["image"]);
}

#[test]
fn the_final_check_asks_for_the_step() {
    let policy = find("base/policy.yaml", "ValidatingAdmissionPolicy");
    let expression = policy["spec"]["validations"][0]["expression"].as_str().unwrap();
    assert!(expression.contains(names::STEP));
    assert_eq!(
        policy["spec"]["matchConstraints"]["objectSelector"]["matchLabels"][names::CLUSTER],
        "enabled"
    );
}

#[test]
fn the_example_is_admitted_as_it_is() {
    let set = find("examples/redis-cluster.yaml", "StatefulSet");
    let answer = mooring::admission::set(&set, None, None, 0).unwrap();
    assert_eq!((answer.skip, answer.warnings), (None, Vec::new()));
}

#[test]
fn no_right_to_read_what_users_keep_secret() {
    let allowed = |role: &Value, resource: &str| -> Vec<Value> {
        let rules = role["rules"].as_array().unwrap().iter();
        rules
            .filter(|r| r["resources"].as_array().unwrap().contains(&json!(resource)))
            .cloned()
            .collect()
    };
    for role in documents("base/rbac.yaml").iter().filter(|d| d["kind"] == "ClusterRole") {
        for resource in ["secrets", "configmaps", "*"] {
            assert!(allowed(role, resource).is_empty(), "{resource}");
        }
    }
    let own = find("base/rbac.yaml", "Role");
    for rule in allowed(&own, "secrets") {
        let creates = rule["verbs"] == json!(["create"]);
        assert!(creates || rule["resourceNames"] == json!(["mooring-ca"]));
    }
}
