//! Manifests as people pipe them: YAML or JSON, one or many, also in a `List`.

use std::io::{Read, Write};

use anyhow::{Context, bail};
use serde_json::Value;

/// Reads all objects; `List`s are taken apart.
pub(super) fn read(mut input: impl Read) -> anyhow::Result<Vec<Value>> {
    let mut text = String::new();
    input.read_to_string(&mut text).context("cannot read standard input")?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).context("standard input is neither YAML nor JSON")?;
    let mut objects = Vec::new();
    for document in documents {
        match document {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").is_some_and(|k| k == "List") => {
                if let Some(Value::Array(items)) = list.remove("items") {
                    objects.extend(items);
                }
            }
            Value::Object(object) => objects.push(Value::Object(object)),
            _ => bail!("standard input holds something that is not a Kubernetes object"),
        }
    }
    Ok(objects)
}

/// Writes objects as YAML documents.
pub(super) fn write(mut output: impl Write, objects: &[Value]) -> anyhow::Result<()> {
    for object in objects {
        let text = serde_saphyr::to_string(object).context("cannot write YAML")?;
        writeln!(output, "---\n{}", text.trim_end())?;
    }
    Ok(())
}

/// `Kind name`, for people.
pub(super) fn title(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or("object");
    let name = object["metadata"]["name"].as_str().unwrap_or("without a name");
    format!("{kind} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_are_objects() {
        let text = "---\nkind: A\n---\n# nothing\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n";
        let objects = read(text.as_bytes()).unwrap();
        let kinds: Vec<_> = objects.iter().map(|o| o["kind"].clone()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        let json = read(r#"{"kind": "A", "n": 1, "s": "1", "q": "yes"}"#.as_bytes()).unwrap();
        let mut out = Vec::new();
        write(&mut out, &json).unwrap();
        assert_eq!(read(out.as_slice()).unwrap(), json);
        assert!(read("- 1\n".as_bytes()).is_err());
    }
}
