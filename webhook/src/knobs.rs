//! What people set on their StatefulSets: read once, validated, or refused with a sentence.
//!
//! Guarantees: values of [`Knobs`] are valid; a key that this version does not know is an error,
//! never ignored, so that a typing error can not pass for a setting.

use cluster::plan::MIN_SHARDS;
use cluster::protocol::HeirPolicy;
use serde_json::Value;

use crate::names;

/// The settings of one object.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Knobs {
    /// Whether it opted in; `None`: it says nothing.
    pub enabled: Option<bool>,
    /// Replicas of each master.
    pub replicas_per_shard: Option<u32>,
    /// Name of the server's container.
    pub container: Option<String>,
    /// The configuration file.
    pub config: Option<String>,
    /// The working directory.
    pub dir: Option<String>,
    /// The client port.
    pub port: Option<u16>,
    /// Bound of post-start in seconds.
    pub ready_timeout: Option<u32>,
    /// Bound of pre-stop's hand-over in seconds.
    pub hand_over_timeout: Option<u32>,
    /// Whether its pods reach the servers' ports of their own cluster only.
    pub isolation: Option<bool>,
    /// Which replicas are promoted by themselves when their master does not come back.
    pub succession: Option<HeirPolicy>,
    /// The cluster's name, where it is made of several StatefulSets.
    pub group: Option<String>,
    /// Masters of the cluster when it begins.
    pub shards: Option<u32>,
}

/// A setting can not be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KnobError {
    /// The value is not one of the allowed ones.
    #[error("{key} is {value:?}; allowed is {allowed}")]
    Invalid {
        /// The key.
        key: String,
        /// What it is set to.
        value: String,
        /// What it may be set to.
        allowed: &'static str,
    },
    /// Label and annotation say different things.
    #[error(
        "{key} is {label:?} as a label and {annotation:?} as an annotation: remove one of them"
    )]
    Twice {
        /// The key.
        key: String,
        /// The label's value.
        label: String,
        /// The annotation's value.
        annotation: String,
    },
    /// No such setting.
    #[error(
        "{key} is not known to this version of Mooring: remove it, or correct it to one of \
         {}", names::KNOBS.join(", ")
    )]
    Unknown {
        /// The key.
        key: String,
    },
}

// === impl Knobs ===

impl Knobs {
    /// Reads the labels and annotations of an object's `metadata`. A key may be either; a label's
    /// characters do not allow paths.
    pub fn read(metadata: &Value) -> Result<Self, KnobError> {
        let mut knobs = Self::default();
        let labels = entries(metadata, "labels");
        let annotations = entries(metadata, "annotations");
        for (key, value) in labels.clone().chain(annotations.clone()) {
            if names::OWN.contains(&key) {
                continue;
            }
            if !names::KNOBS.contains(&key) {
                return Err(KnobError::Unknown { key: key.to_owned() });
            }
            knobs.set(key, value)?;
        }
        for (key, label) in labels {
            let twin = annotations.clone().find(|(k, v)| *k == key && *v != label);
            if let Some((_, annotation)) = twin {
                return Err(KnobError::Twice {
                    key: key.to_owned(),
                    label: label.to_owned(),
                    annotation: annotation.to_owned(),
                });
            }
        }
        Ok(knobs)
    }

    /// The settings of a StatefulSet; where only its pod template opts in, the template's.
    pub fn of_set(set: &Value) -> Result<Self, KnobError> {
        let own = Self::read(&set["metadata"])?;
        match own.enabled {
            Some(_) => Ok(own),
            None => Self::read(&set["spec"]["template"]["metadata"]),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), KnobError> {
        let invalid =
            |allowed| KnobError::Invalid { key: key.to_owned(), value: value.to_owned(), allowed };
        match key {
            names::CLUSTER => {
                self.enabled = Some(match value {
                    "enabled" => true,
                    "disabled" => false,
                    _ => return Err(invalid("enabled or disabled")),
                });
            }
            names::REPLICAS_PER_SHARD => {
                let n = number(value).filter(|n| *n <= 10);
                self.replicas_per_shard = Some(n.ok_or_else(|| invalid("a number from 0 to 10"))?);
            }
            names::CONTAINER => {
                let valid = !value.is_empty()
                    && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                let name = valid.then(|| value.to_owned());
                self.container = Some(name.ok_or_else(|| invalid("the name of a container"))?);
            }
            names::CONFIG => {
                self.config = Some(path(value).ok_or_else(|| invalid("an absolute path"))?);
            }
            names::DIR => {
                self.dir = Some(path(value).ok_or_else(|| invalid("an absolute path"))?);
            }
            names::PORT => {
                let port = number(value).and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
                self.port = Some(port.ok_or_else(|| invalid("a port from 1 to 65535"))?);
            }
            names::READY_TIMEOUT => {
                let time = seconds(value);
                self.ready_timeout = Some(time.ok_or_else(|| invalid(DURATION))?);
            }
            names::HAND_OVER_TIMEOUT => {
                let time = seconds(value);
                self.hand_over_timeout = Some(time.ok_or_else(|| invalid(DURATION))?);
            }
            names::ISOLATION => {
                self.isolation = Some(match value {
                    "enabled" => true,
                    "disabled" => false,
                    _ => return Err(invalid("enabled or disabled")),
                });
            }
            names::SUCCESSION => {
                self.succession = Some(match value {
                    "always" => HeirPolicy::Always,
                    "fresh" => HeirPolicy::Fresh,
                    "never" => HeirPolicy::Never,
                    _ => return Err(invalid("fresh, always or never")),
                });
            }
            names::GROUP => {
                // It becomes the name of a record and a label's value.
                let valid = (1..=63).contains(&value.len())
                    && value.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
                    && !value.starts_with('-')
                    && !value.ends_with('-');
                let name = valid.then(|| value.to_owned());
                self.group = Some(name.ok_or_else(|| invalid(NAME))?);
            }
            names::SHARDS => {
                let n = number(value).filter(|n| (MIN_SHARDS..=16384).contains(n));
                self.shards = Some(n.ok_or_else(|| invalid("a number from 3 to 16384"))?);
            }
            _ => return Err(KnobError::Unknown { key: key.to_owned() }),
        }
        Ok(())
    }
}

/// The `mooring.dev/` entries of a string map in some `metadata`.
fn entries<'a>(
    metadata: &'a Value,
    map: &str,
) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
    let map = metadata.get(map).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(names::PREFIX))
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

fn path(text: &str) -> Option<String> {
    let safe = text.starts_with('/') && !text.contains(['\n', '\0']);
    safe.then(|| text.to_owned())
}

/// Seconds from `90`, `90s` or `2m`.
fn seconds(text: &str) -> Option<u32> {
    let n = match text.strip_suffix('m') {
        Some(minutes) => number(minutes)?.checked_mul(60)?,
        None => number(text.strip_suffix('s').unwrap_or(text))?,
    };
    (n <= 3600).then_some(n)
}

const NAME: &str = "a name of at most 63 characters a-z, 0-9 and -, with no - at its ends";
const DURATION: &str = "a time such as 90s or 2m, up to 60m";

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_annotations_are_one_set_of_settings() {
        let knobs = Knobs::read(&json!({
            "labels": {"app": "x", "mooring.dev/cluster": "enabled", "mooring.dev/port": "7000"},
            "annotations": {
                "mooring.dev/dir": "/data",
                "mooring.dev/ready-timeout": "2m",
                "mooring.dev/succession": "never",
            },
        }));
        let expected = Knobs {
            enabled: Some(true),
            port: Some(7000),
            dir: Some("/data".to_owned()),
            ready_timeout: Some(120),
            succession: Some(HeirPolicy::Never),
            ..Knobs::default()
        };
        assert_eq!(knobs, Ok(expected));
    }

    #[rstest]
    #[case("mooring.dev/cluster", "true")]
    #[case("mooring.dev/cluster", "")]
    #[case("mooring.dev/replicas-per-shard", "-1")]
    #[case("mooring.dev/replicas-per-shard", "11")]
    #[case("mooring.dev/container", "a b")]
    #[case("mooring.dev/dir", "data")]
    #[case("mooring.dev/port", "0")]
    #[case("mooring.dev/port", "+1")]
    #[case("mooring.dev/ready-timeout", "2h")]
    #[case("mooring.dev/isolation", "yes")]
    #[case("mooring.dev/succession", "sometimes")]
    #[case("mooring.dev/group", "")]
    #[case("mooring.dev/group", "-a")]
    #[case("mooring.dev/group", "Cache")]
    #[case("mooring.dev/shards", "2")]
    #[case("mooring.dev/prot", "6379")]
    fn bad_values_name_the_key(#[case] key: &str, #[case] value: &str) {
        let error = Knobs::read(&json!({"annotations": {key: value}})).unwrap_err();
        assert!(error.to_string().starts_with(key), "{error}");
    }

    #[test]
    fn a_contradiction_is_not_resolved_silently() {
        let key = names::PORT;
        let both = json!({"labels": {key: "1"}, "annotations": {key: "2"}});
        assert!(matches!(Knobs::read(&both), Err(KnobError::Twice { .. })));
    }
}
