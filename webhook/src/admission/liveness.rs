//! A liveness probe that is shorter than a load: it kills a server that reads its data, which then
//! begins again.
//!
//! Guarantees: pure; says something only where probe and memory are both in the spec.

use serde_json::Value;

/// What a server loads in a second, as a rule of thumb: snapshots come faster, logs slower.
const MIB_A_SECOND: u64 = 100;

/// The warning, if there is one. A probe that asks for a connection only is content with a server
/// that loads, and a startup probe holds the other one off.
pub(super) fn warning(container: &Value) -> Option<String> {
    let probe = container.get("livenessProbe").filter(|p| p["exec"].is_object())?;
    if container["startupProbe"].is_object() {
        return None;
    }
    let number = |key: &str, default: u64| probe[key].as_u64().unwrap_or(default);
    let allowed = number("initialDelaySeconds", 0)
        .saturating_add(number("periodSeconds", 10).saturating_mul(number("failureThreshold", 3)));
    let resources = &container["resources"];
    let memory = [&resources["limits"]["memory"], &resources["requests"]["memory"]];
    let mib = memory.into_iter().find_map(mebibytes)?;
    let load = mib / MIB_A_SECOND;
    (allowed < load).then(|| {
        format!(
            "the liveness probe kills the server {allowed} s after it last answered, and to load \
             {mib} MiB takes about {load} s: give it a startupProbe, or a higher failureThreshold"
        )
    })
}

/// A quantity of memory, such as `5Gi` or `512M`.
fn mebibytes(quantity: &Value) -> Option<u64> {
    let text = match quantity {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let whole: u64 = number.split('.').next()?.parse().ok()?;
    let bytes = whole.checked_mul(match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    })?;
    Some(bytes >> 20)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({"periodSeconds": 5, "failureThreshold": 5}), json!("5Gi"), Some("25 s"))]
    #[case(json!({"initialDelaySeconds": 30}), json!("5Gi"), None)]
    #[case(json!({}), json!("5Gi"), Some("30 s"))]
    #[case(json!({}), json!("900Mi"), None)]
    #[case(json!({}), json!(6_000_000_000_u64), Some("5722 MiB"))]
    #[case(json!({}), json!("5.5e9"), None)]
    fn a_probe_that_is_shorter_than_a_load_is_mentioned(
        #[case] times: Value,
        #[case] memory: Value,
        #[case] says: Option<&str>,
    ) {
        let mut probe = times;
        probe["exec"] = json!({"command": ["redis-cli", "ping"]});
        let mut container =
            json!({"livenessProbe": probe, "resources": {"limits": {"memory": memory}}});
        match (warning(&container), says) {
            (Some(text), Some(says)) => assert!(text.contains(says), "{text}"),
            (None, None) => {}
            other => panic!("{other:?}"),
        }
        container["startupProbe"] = json!({"exec": {"command": ["true"]}});
        assert_eq!(warning(&container), None);
    }

    #[test]
    fn a_connection_is_had_while_the_server_loads() {
        let container = json!({
            "livenessProbe": {"tcpSocket": {"port": 6379}},
            "resources": {"limits": {"memory": "50Gi"}},
        });
        assert_eq!(warning(&container), None);
    }
}
