use cluster::plan::Plan;
use serde_json::json;

use super::super::look::pod_names;
use super::super::record::Spec;
use super::*;

#[test]
fn all_names_that_a_pod_may_have_are_asked_for() {
    let plan = Plan { salt: "s".into(), shards: 3, replicas_per_shard: 0, generation: 1 };
    let mut record = ClusterRecord::new("c", Spec { plan });
    let members = [("c-7".to_owned(), json!({}))].into();
    record.status = Some(super::super::record::Status { members, ..Default::default() });
    let set: StatefulSet = serde_json::from_value(json!({
        "spec": {"replicas": 1, "ordinals": {"start": 4}, "serviceName": "c",
            "selector": {}, "template": {}},
        "status": {"replicas": 2},
    }))
    .unwrap();
    let names: Vec<_> = pod_names(&set, Some(&record), "c").into_iter().collect();
    assert_eq!(names, ["c-0", "c-1", "c-2", "c-4", "c-5", "c-7"]);
}

#[test]
fn a_disk_outlives_its_pod_where_there_is_a_claim() {
    let set = |templates: Value, volumes: Value| -> StatefulSet {
        serde_json::from_value(json!({"spec": {
            "selector": {}, "serviceName": "c", "volumeClaimTemplates": templates,
            "template": {"spec": {"containers": [], "volumes": volumes}},
        }}))
        .unwrap()
    };
    let claim = |name: &str| Claim { name: name.to_owned(), created: Made(0), restored: false };
    let claims = [claim("data-c-0"), claim("data-c-x"), claim("logs-c-1"), claim("data-d-2")];
    let pods = |set: &StatefulSet| claimed_pods(set, "c", &claims);
    let template = json!([{"metadata": {"name": "data"}, "spec": {}}]);
    let passing =
        json!([{"name": "conf", "configMap": {"name": "x"}}, {"name": "t", "emptyDir": {}}]);
    let mut one = BTreeSet::from(["c-0".to_owned()]);
    assert_eq!(pods(&set(template.clone(), passing.clone())), Some(one.clone()));
    one.clear();
    assert_eq!(pods(&set(json!([]), passing)), Some(one));
    assert_eq!(pods(&set(template, json!([{"name": "h", "hostPath": {"path": "/x"}}]))), None);
}

#[test]
fn a_pod_that_comes_again_does_not_know_who_was_before_it() {
    let member = |uid: &str| -> Member {
        serde_json::from_value(json!({
            "ips": ["10.0.0.1"], "ports": {"tcp": 6379, "bus": 16379}, "podUid": uid,
            "registeredAt": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    };
    let ended = Ended::of(&["old"]);
    assert!(has_ended(Some(&member("old")), "new", &ended));
    assert!(!has_ended(Some(&member("lost")), "new", &ended), "deleted by force");
    assert!(!has_ended(Some(&member("new")), "new", &ended), "its own first try hides it");
    assert!(!has_ended(None, "new", &ended));
}
