//! JSON Patch by hand: every change is made to a working copy and written down.
//!
//! Guarantees: the operations turn the original into [`Edit::object`]; nothing is ever decoded
//! into types that a newer API server's fields could fall out of; an index into a list comes
//! after a `test` of who is there.

use serde::Serialize;
use serde_json::{Map, Value};

/// One operation of RFC 6902.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "op")]
pub enum Op {
    /// Sets a member or inserts into a list.
    Add {
        /// Where.
        path: String,
        /// What.
        value: Value,
    },
    /// Takes a member or element out.
    Remove {
        /// Where.
        path: String,
    },
    /// Fails the patch unless the value is there.
    Test {
        /// Where.
        path: String,
        /// What.
        value: Value,
    },
}

/// An object being changed.
#[derive(Clone, Debug)]
pub struct Edit {
    object: Value,
    ops: Vec<Op>,
}

// === impl Edit ===

impl Edit {
    /// Starts with an object as it is.
    pub fn new(object: Value) -> Self {
        Self { object, ops: Vec::new() }
    }

    /// The operations, and what they make of the object.
    pub fn finish(self) -> (Vec<Op>, Value) {
        (self.ops, self.object)
    }

    /// The object as changed so far.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// What is at a JSON pointer; `null` counts as nothing.
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        self.object.pointer(pointer).filter(|v| !v.is_null())
    }

    /// The elements of the list at a pointer.
    pub fn list(&self, pointer: &str) -> &[Value] {
        self.at(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Sets a member of an object; objects that are missing on the way are made.
    pub fn set(&mut self, pointer: &str, value: Value) {
        let Some((parent, token)) = pointer.rsplit_once('/') else { return };
        if !parent.is_empty() && self.at(parent).is_none() {
            self.set(parent, Value::Object(Map::new()));
        }
        if let Some(Value::Object(map)) = self.object.pointer_mut(parent) {
            map.insert(unescape(token), value.clone());
            self.ops.push(Op::Add { path: pointer.to_owned(), value });
        }
    }

    /// Takes a member of an object out, if it still has this value when the patch is applied.
    pub fn unset(&mut self, pointer: &str) {
        let Some((parent, token)) = pointer.rsplit_once('/') else { return };
        self.test(pointer);
        if let Some(Value::Object(map)) = self.object.pointer_mut(parent)
            && map.remove(&unescape(token)).is_some()
        {
            self.ops.push(Op::Remove { path: pointer.to_owned() });
        }
    }

    /// Appends to a list, which is made if it is missing.
    pub fn push(&mut self, pointer: &str, value: Value) {
        if self.at(pointer).is_none() {
            return self.set(pointer, Value::Array(vec![value]));
        }
        if let Some(Value::Array(list)) = self.object.pointer_mut(pointer) {
            list.push(value.clone());
            self.ops.push(Op::Add { path: format!("{pointer}/-"), value });
        }
    }

    /// Takes an element out of a list.
    pub fn take(&mut self, pointer: &str, index: usize) -> Option<Value> {
        let list = self.object.pointer_mut(pointer)?.as_array_mut()?;
        if index >= list.len() {
            return None;
        }
        let value = list.remove(index);
        self.ops.push(Op::Remove { path: format!("{pointer}/{index}") });
        Some(value)
    }

    /// Demands that what is there now is there when the patch is applied.
    pub fn test(&mut self, pointer: &str) {
        if let Some(value) = self.object.pointer(pointer) {
            let op = Op::Test { path: pointer.to_owned(), value: value.clone() };
            if !self.ops.contains(&op) {
                self.ops.push(op);
            }
        }
    }
}

/// A key as one token of a JSON pointer.
pub fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_operations_make_the_same_object() {
        let before = json!({"metadata": {"labels": null}, "spec": {"list": [1, 2]}});
        let mut edit = Edit::new(before.clone());
        edit.set(&format!("/metadata/labels/{}", token("a.b/c~d")), json!("x"));
        edit.push("/spec/list", json!(3));
        edit.push("/spec/new", json!(4));
        edit.test("/spec/list/0");
        edit.take("/spec/list", 0);
        let (ops, after) = edit.finish();

        let patch: json_patch::Patch =
            serde_json::from_value(serde_json::to_value(&ops).unwrap()).unwrap();
        let mut applied = before;
        json_patch::patch(&mut applied, &patch).unwrap();
        assert_eq!(applied, after);
        assert_eq!(after["metadata"]["labels"], json!({"a.b/c~d": "x"}));
        assert_eq!(after["spec"], json!({"list": [2, 3], "new": [4]}));
    }
}
