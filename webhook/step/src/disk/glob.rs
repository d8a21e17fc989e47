//! Patterns of `include` on the real file system.
//!
//! Guarantees: as `glob(3)` without flags: a pattern may stand in every part of a path, and what
//! matches comes in the order of its bytes. The work is bounded.

use std::fs;
use std::path::{Path, PathBuf};

/// More names than are looked at for one pattern.
const MAX_NAMES: usize = 10_000;

/// What matches an absolute pattern.
pub(super) fn glob(pattern: &Path) -> Vec<PathBuf> {
    let pattern = pattern.to_string_lossy();
    let mut left = MAX_NAMES;
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if part.contains(['*', '?', '[']) {
            found = found.iter().flat_map(|folder| matching(folder, part, &mut left)).collect();
        } else {
            for path in &mut found {
                path.push(part);
            }
        }
    }
    found.retain(|path| fs::symlink_metadata(path).is_ok());
    // Not by its parts, as paths are compared: `a-b/c` is before `a/c`.
    found.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    found
}

fn matching(folder: &Path, part: &str, left: &mut usize) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.take(*left).flatten() {
        *left -= 1;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| cluster::server::matches(part, name)) {
            found.push(folder.join(name));
        }
    }
    found
}
