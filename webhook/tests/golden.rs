//! Golden files: `NAME.in.yaml` is an object, `NAME.out.yaml` what admission makes of it.
//!
//! `MOORING_BLESS=1 cargo test -p mooring --test golden` writes the outputs anew; read the diff.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod common;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use common::{admit, apply};

fn inputs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".in.yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn read(path: &Path) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn objects_become_what_the_files_say() {
    let bless = std::env::var_os("MOORING_BLESS").is_some();
    for input in inputs() {
        let object = read(&input);
        let output = match admit(&object) {
            Err(denial) => json!({"denied": denial.to_string()}),
            Ok(answer) if answer.skip.is_some() => {
                json!({"skipped": answer.skip.unwrap().as_str()})
            }
            Ok(answer) => json!({"warnings": answer.warnings, "object": answer.object}),
        };
        let path = PathBuf::from(input.to_string_lossy().replace(".in.yaml", ".out.yaml"));
        if bless {
            std::fs::write(&path, serde_saphyr::to_string(&output).unwrap()).unwrap();
        }
        assert_eq!(output, read(&path), "{}", path.display());
    }
}

#[test]
fn the_patch_makes_the_object_and_a_second_pass_nothing() {
    for input in inputs() {
        let object = read(&input);
        let Ok(answer) = admit(&object) else { continue };
        assert_eq!(apply(&object, &answer), answer.object, "{}", input.display());
        let again = admit(&answer.object).unwrap();
        assert_eq!(again.patch, [], "{}", input.display());
    }
}
