//! Patterns of `include`.
//!
//! Guarantees: time in proportion to pattern times name, whatever the pattern.

use std::collections::BTreeSet;

/// Whether a file name matches a pattern of `include`: `*`, `?`, and `[...]` as in `glob(3)`.
pub fn matches(pattern: &str, name: &str) -> bool {
    // A leading dot is matched by a dot only.
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let mut states = BTreeSet::from([0]);
    let close = |states: &mut BTreeSet<usize>| {
        let stars: Vec<_> = states.iter().copied().collect();
        for mut at in stars {
            while pattern.get(at) == Some(&'*') {
                at += 1;
                states.insert(at);
            }
        }
    };
    close(&mut states);
    for c in name.chars() {
        let mut next = BTreeSet::new();
        for at in states {
            match pattern.get(at) {
                Some('*') => {
                    next.insert(at);
                }
                Some('?') => {
                    next.insert(at + 1);
                }
                Some('[') => {
                    if let Some(end) = class(&pattern[at..], c) {
                        next.insert(at + end);
                    }
                }
                Some(p) if *p == c => {
                    next.insert(at + 1);
                }
                _ => {}
            }
        }
        close(&mut next);
        states = next;
    }
    states.contains(&pattern.len())
}

/// Matches one character against `[...]` and returns the length of the class.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let end = pattern.iter().skip(2).position(|p| *p == ']')? + 2;
    let inner = pattern.get(1..end)?;
    let (negated, inner) = match inner.split_first() {
        Some(('!' | '^', rest)) => (true, rest),
        _ => (false, inner),
    };
    let mut found = false;
    let mut i = 0;
    while let Some(&low) = inner.get(i) {
        match (inner.get(i + 1), inner.get(i + 2)) {
            (Some('-'), Some(&high)) => {
                found |= (low..=high).contains(&c);
                i += 3;
            }
            _ => {
                found |= low == c;
                i += 1;
            }
        }
    }
    (found != negated).then_some(end + 1)
}
