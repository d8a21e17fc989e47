//! How new a disk's data are: when their files were written last, and what the server said when it
//! was asked to stop.
//!
//! Guarantees: what can not be read is not known, and nothing depends on it but who is promoted
//! without being asked. Both moments are of this machine's clock, and are told as how long ago
//! they were.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use cluster::protocol::Stopped;
use cluster::server::ServerConfig;
use serde::{Deserialize, Serialize};

use super::replace::{Outlives, Owner, Real, replace};

/// What pre-stop leaves, in milliseconds since 1970.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Note {
    /// When.
    pub(crate) at: u64,
    /// The replication offset then.
    pub(crate) offset: u64,
    /// A replica: when its link to its master was up last.
    #[serde(default)]
    pub(crate) linked_at: Option<u64>,
}

/// How many milliseconds ago a file with data was written last.
pub(super) fn written_ago(config: &ServerConfig) -> Option<u64> {
    let parts = fs::read_dir(config.dir.join(&config.aof_dir)).into_iter().flatten().flatten();
    let is_part = |path: &PathBuf| path.extension().is_some_and(|e| e == "rdb" || e == "aof");
    let parts = parts.map(|entry| entry.path()).filter(is_part);
    let files = [config.dir.join(&config.rdb_file), config.dir.join(&config.aof_file)];
    let written = parts.chain(files).filter_map(|path| {
        let meta = fs::metadata(path).ok().filter(|meta| meta.is_file() && meta.len() > 0)?;
        meta.modified().ok()
    });
    let last = written.max()?;
    let ago = SystemTime::now().duration_since(last).unwrap_or_default();
    u64::try_from(ago.as_millis()).ok()
}

/// What the server was when it was asked to stop. A file that was written long after says that it
/// was started again since, and not asked.
pub(super) fn stopped(config: &ServerConfig, written_ago: Option<u64>) -> Option<Stopped> {
    let text = fs::read(path(config)).ok()?;
    let note: Note = serde_json::from_slice(&text).ok()?;
    let now = now();
    let ago = now.saturating_sub(note.at);
    let overtaken = written_ago.is_some_and(|written| written + NOTE_HOLDS < ago);
    (!overtaken).then(|| Stopped {
        ago,
        offset: note.offset,
        linked_ago: note.linked_at.map(|at| now.saturating_sub(at)),
    })
}

/// Leaves it beside nodes.conf.
pub(crate) fn leave(config: &ServerConfig, note: &Note) -> io::Result<()> {
    let text = serde_json::to_vec(note)?;
    replace(&Real, &path(config), &text, Owner::ours(0o644), Outlives::Machine).map(|_| ())
}

/// It runs again: what it said at its last stop is over, unless it never meets its master.
pub(crate) fn set_aside(config: &ServerConfig) {
    let _ = fs::rename(path(config), path_before(config));
}

/// The note of a replica whose link was never up since its start: it holds what it held at its stop before.
pub(crate) fn as_before(config: &ServerConfig, note: Note) -> Note {
    let text = fs::read(path_before(config)).ok();
    let before = text.and_then(|text| serde_json::from_slice::<Note>(&text).ok());
    match before.filter(|before| before.linked_at.is_some()) {
        Some(before) => Note { at: note.at, ..before },
        None => note,
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn path(config: &ServerConfig) -> PathBuf {
    config.nodes_conf.with_file_name(Path::new(".mooring-stop.json"))
}

fn path_before(config: &ServerConfig) -> PathBuf {
    config.nodes_conf.with_file_name(Path::new(".mooring-stop-before.json"))
}

/// For so many milliseconds a server goes on after it was asked to stop: its grace period, as
/// a rule of 30 s.
const NOTE_HOLDS: u64 = 120_000;

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::Duration;

    use super::*;
    use crate::disk::{Folder, look};

    fn written(path: &Path, ago: u64) {
        let then = SystemTime::now() - Duration::from_secs(ago);
        let file = File::options().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(then)).unwrap();
    }

    #[test]
    fn the_newest_file_with_data_counts() {
        let folder = Folder::new("age");
        let config = folder.config();
        assert_eq!(look(&config).unwrap().written_ago, None);
        written(&folder.write("dump.rdb", "REDIS0010"), 500);
        written(&folder.write("appendonly.aof", ""), 1);
        let ago = look(&config).unwrap().written_ago.unwrap();
        assert!((500_000..510_000).contains(&ago), "{ago}");
        written(&folder.write("appendonlydir/a.1.incr.aof", "*1"), 50);
        written(&folder.write("appendonlydir/a.manifest", "file a"), 1);
        let ago = look(&config).unwrap().written_ago.unwrap();
        assert!((50_000..60_000).contains(&ago), "{ago}");
    }

    #[test]
    fn what_was_said_at_the_stop_holds_until_the_next_start() {
        let folder = Folder::new("stop");
        let config = folder.config();
        let note = Note { at: now() - 9_000, offset: 12, linked_at: Some(now() - 10_000) };
        leave(&config, &note).unwrap();
        let stopped = look(&config).unwrap().stopped.unwrap();
        assert_eq!(stopped.offset, 12);
        assert!((9_000..12_000).contains(&stopped.ago));
        assert!((10_000..13_000).contains(&stopped.linked_ago.unwrap()));
        // Started again, and not asked when it was ended.
        leave(&config, &Note { at: now() - 500_000, ..note }).unwrap();
        folder.write("dump.rdb", "REDIS0010");
        assert_eq!(look(&config).unwrap().stopped, None);
        leave(&config, &note).unwrap();
        set_aside(&config);
        assert_eq!(look(&config).unwrap().stopped, None);
    }

    #[test]
    fn who_never_met_its_master_holds_what_it_held_before() {
        let folder = Folder::new("stop-before");
        let config = folder.config();
        let never = Note { at: 9_000, offset: 0, linked_at: None };
        assert_eq!(as_before(&config, never.clone()), never);
        let linked = Note { at: 5_000, offset: 12, linked_at: Some(4_000) };
        leave(&config, &linked).unwrap();
        set_aside(&config);
        let expected = Note { at: 9_000, ..linked };
        assert_eq!(as_before(&config, never.clone()), expected);
        // A master's stop says nothing of a link.
        leave(&config, &Note { linked_at: None, ..expected }).unwrap();
        set_aside(&config);
        assert_eq!(as_before(&config, never.clone()), never);
    }
}
