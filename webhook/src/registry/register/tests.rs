use super::*;

#[test]
fn a_pod_that_comes_again_does_not_know_who_was_before_it() {
    let member = |uid: &str| -> Member {
        serde_json::from_value(serde_json::json!({
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
