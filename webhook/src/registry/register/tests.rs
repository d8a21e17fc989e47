use cluster::plan::Plan;
use cluster::protocol::{Identity, Role};
use serde_json::json;

use super::super::record::Spec;
use super::*;

fn register(disk: Disk) -> Register {
    let ports = cluster::net::Ports::plain(6379);
    Register { step: "1".to_owned(), ips: Vec::new(), ports, disk }
}

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
fn an_id_is_the_disks_or_the_plans_or_none() {
    let plan = Plan { salt: "s".into(), shards: 3, replicas_per_shard: 0, generation: 1 };
    let record = ClusterRecord::new("c", Spec { plan: plan.clone() });
    let planned = Some(plan.node_id(Ordinal(1)));
    let own = plan.node_id(Ordinal(9));
    let begun = json!({"ips": [], "ports": {"bus": 1}, "podUid": "u", "registeredAt": "t",
        "bootstrapped": true, "nodeId": planned});
    let begun: Member = serde_json::from_value(begun).unwrap();
    let id = |disk: Disk, before: Option<&Member>, ordinal: u32, no_past: bool| {
        node_id(&register(disk), before, &record, Ordinal(ordinal), no_past)
    };
    let blank = Disk::default;
    let data = Disk { identity: None, data: true };
    let identity = Identity {
        node_id: own,
        role: Role::Master,
        slots: Vec::new(),
        config_epoch: 1,
        current_epoch: 1,
    };
    let known = Disk { identity: Some(identity), data: false };

    assert_eq!(id(blank(), None, 1, true), planned);
    assert_eq!(id(blank(), None, 1, false), None, "a past");
    assert_eq!(id(blank(), Some(&begun), 1, true), None, "its disk was lost");
    assert_eq!(id(blank(), None, 3, true), None, "beyond the plan");
    assert_eq!(id(data, None, 1, true), None, "a restored dump");
    assert_eq!(id(known, Some(&begun), 1, false), Some(own));
}
