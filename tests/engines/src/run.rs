//! The cases of one version, one after the other, inside the namespaces that were made for them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cases::Case;
use crate::keys::Keys;
use crate::report::{Ended, Line};
use crate::set::{self, Measured, Set, Shape};
use crate::versions::Version;

/// What is run where.
pub(crate) struct Inside {
    /// The id of the namespaces.
    pub(crate) id: String,
    /// Where what came of it is written, case by case.
    pub(crate) rows: PathBuf,
    /// Folder to copy some of the servers' files to.
    pub(crate) corpus: Option<PathBuf>,
}

/// Runs them; after a failure the others begin with a new set.
pub(crate) fn run(inside: &Inside, version: &Version, cases: &[Case]) -> Result<(), String> {
    let keys = Arc::new(Keys::find());
    let home = set::home(&inside.id);
    let mut ended = Ended::default();
    let mut present: Option<Set> = None;
    for (n, case) in cases.iter().enumerate() {
        let result = one(inside, version, *case, &keys, &home.join(n.to_string()), &mut present);
        // The files of the last servers are looked at, too.
        let result = match (result, &mut present) {
            (Ok(measured), Some(set)) if n + 1 == cases.len() => {
                set.kill(|_| true).map(|()| measured)
            }
            (result, _) => result,
        };
        let line = Line { version: version.name, case: *case, result };
        if line.result.is_err() {
            ended.files += present.take().map_or(0, |set| set.files());
        }
        ended.add(&line);
        ended.write(&inside.rows)?;
        // Whoever reads this line finds its rows.
        println!("{}", line.text());
    }
    ended.files += present.take().map_or(0, |set| set.files());
    ended.write(&inside.rows)?;
    match ended.failed() {
        0 => drop(fs::remove_dir_all(&home)),
        _ => println!("      what it left is in {}", home.display()),
    }
    Ok(())
}

fn one(
    inside: &Inside,
    version: &Version,
    case: Case,
    keys: &Arc<Keys>,
    home: &Path,
    present: &mut Option<Set>,
) -> Result<Measured, String> {
    let set = match present {
        Some(set) => set,
        None => {
            let made = Set::new(version, &inside.id, home, keys.clone(), Shape::USUAL)?;
            let set = present.insert(made);
            if let Some(corpus) = &inside.corpus {
                set.collect_into(corpus.clone());
            }
            if case != Case::Form {
                Case::Form.run(set).map_err(|why| format!("form: {why}"))?;
            }
            set
        }
    };
    case.run(set)
}
