//! The member's disk: what lies there, and what is left there.
//!
//! Guarantees: what can not be read is never said to be missing; a second run over the same disk
//! changes nothing and adds nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cluster::nodes;
use cluster::planner::{DiskSeen, Doubt};
use cluster::protocol::Mark;
use cluster::rdb;
use cluster::server::{Files, ServerConfig};

use replace::{Outlives, Owner, Real, replace};

pub(crate) mod age;
mod glob;
mod replace;

/// How often a file is looked at while it is watched.
const WATCH: Duration = Duration::from_millis(50);

/// The real file system, for reading configurations.
pub(crate) struct RealFiles;

/// What lies where the server will look.
pub(crate) fn look(config: &ServerConfig) -> Result<DiskSeen, String> {
    let nodes_conf = read_bounded(&config.nodes_conf, nodes::MAX_BYTES + 1)
        .map_err(|e| format!("{} can not be read: {e}", config.nodes_conf.display()))?;
    // The server makes an empty file when it takes the lock: that is no identity.
    let nodes_conf = nodes_conf.filter(|bytes| !bytes.is_empty());
    let (data, files) = look_for_data(config);
    let written_ago = age::written_ago(config);
    let stopped = age::stopped(config, written_ago);
    let mark = read_mark(config).unwrap_or_default();
    Ok(DiskSeen { nodes_conf, data, files, mark, written_ago, stopped })
}

/// What can not be relied on of what lies there.
pub(crate) fn doubts(config: &ServerConfig) -> Vec<Doubt> {
    let mark = read_mark(config).err().map(Doubt::Mark);
    let lock = is_locked(&config.nodes_conf).then_some(Doubt::Locked);
    mark.into_iter().chain(lock).collect()
}

/// The birth mark beside nodes.conf, if there is one. Fields that a later version has added are
/// passed over.
fn read_mark(config: &ServerConfig) -> Result<Option<Mark>, String> {
    let path = mark_path(config);
    match read_bounded(&path, MAX_MARK) {
        Ok(Some(bytes)) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|e| format!("{}: {e}", path.display()))
        }
        Ok(None) => Ok(None),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

/// Whether somebody holds the lock that the server takes on nodes.conf. A share that has no locks
/// has nobody who holds one.
fn is_locked(path: &Path) -> bool {
    // As the server opens it: on NFS an exclusive lock needs a file that is open for writing.
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Leaves the birth mark beside nodes.conf.
pub(crate) fn write_mark(config: &ServerConfig, mark: &Mark) -> io::Result<()> {
    if read_mark(config).is_ok_and(|there| there.as_ref() == Some(mark)) {
        return Ok(());
    }
    let text = serde_json::to_vec(mark)?;
    let owner = Owner::of(&config.nodes_conf, None)?;
    tell(replace(&Real, &mark_path(config), &text, owner, Outlives::Machine)?);
    Ok(())
}

fn mark_path(config: &ServerConfig) -> PathBuf {
    config.nodes_conf.with_file_name(".mooring.json")
}

/// Writes nodes.conf, and keeps the file that it replaces as `.bak`.
///
/// A lock that is still held is one that was left behind: the planner waits for any other. It
/// stays with the file that it is on, so that file is replaced even by a copy of itself.
pub(crate) fn write_nodes_conf(config: &ServerConfig, text: &str) -> io::Result<()> {
    let path = &config.nodes_conf;
    let put =
        |path: &Path, bytes: &[u8], owner| replace(&Real, path, bytes, owner, Outlives::Machine);
    let told = match read_bounded(path, nodes::MAX_BYTES)? {
        Some(old) => {
            let owner = Owner::of(path, None)?;
            let locked = is_locked(path);
            if locked {
                println!(
                    "mooring: the lock on {} was left behind by a server that has ended: the file \
                     is replaced, and the lock stays with the old one",
                    path.display()
                );
            }
            if old == text.as_bytes() {
                if locked { put(path, &old, owner)? } else { Vec::new() }
            } else {
                if !old.is_empty() {
                    let mut name = path.as_os_str().to_owned();
                    name.push(".bak");
                    put(Path::new(&name), &old, owner)?;
                }
                put(path, text.as_bytes(), owner)?
            }
        }
        None => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            put(path, text.as_bytes(), Owner::of(folder, Some(0o644))?)?
        }
    };
    tell(told);
    Ok(())
}

/// Watches the file for so long.
///
/// # Errors
/// If somebody else writes it meanwhile.
pub(crate) fn stays(config: &ServerConfig, text: &str, watched: Duration) -> io::Result<()> {
    let path = &config.nodes_conf;
    let began = Instant::now();
    while began.elapsed() < watched {
        thread::sleep(WATCH.min(watched));
        if fs::read(path)? != text.as_bytes() {
            return Err(io::Error::other(format!(
                "somebody else writes {} at the same time: the server of the pod before, which is \
                 about to end, or another pod on the same volume",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Puts a file of this pod's own life in its place: whole or not at all, but not for after a crash
/// of the machine, since init runs again then.
pub(crate) fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace(&Real, path, bytes, Owner::ours(mode), Outlives::Process).map(|_| ())
}

fn tell(warnings: Vec<String>) {
    for warning in warnings {
        println!("mooring: {warning}");
    }
}

// === impl RealFiles ===

impl Files for RealFiles {
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, String> {
        match read_bounded(path, limit) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err("there is no such file".to_owned()),
            Err(e) => Err(e.to_string()),
        }
    }

    fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        glob::glob(pattern)
    }
}

fn read_bounded(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    match File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(limit as u64).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether there are keys in a snapshot or commands in a log, and whether there are such files at
/// all. A server that has never held anything leaves files too, which are not empty.
fn look_for_data(config: &ServerConfig) -> (bool, bool) {
    let snapshot = |path: &Path| match read_bounded(path, rdb::HEAD) {
        Ok(Some(head)) => (rdb::may_hold_keys(&head), true),
        Ok(None) => (false, false),
        Err(_) => (true, true),
    };
    let log = |path: &Path| match fs::metadata(path) {
        Ok(meta) => (meta.len() > 0, true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => (false, false),
        // What can not be looked at may hold something.
        Err(_) => (true, true),
    };
    let folder = fs::read_dir(config.dir.join(&config.aof_dir)).into_iter().flatten().flatten();
    let parts = folder.map(|e| e.path()).map(|path| match path.extension() {
        Some(e) if e == "rdb" => snapshot(&path),
        Some(e) if e == "aof" => log(&path),
        Some(e) if e == "manifest" => (false, true),
        _ => (false, false),
    });
    let (dump, aof) = (config.dir.join(&config.rdb_file), config.dir.join(&config.aof_file));
    let all = parts.chain([snapshot(&dump), log(&aof)]);
    all.fold((false, false), |(data, files), (d, f)| (data || d, files || f))
}

/// No mark is longer; one that is cut there can not be read.
const MAX_MARK: usize = 4096;

#[cfg(test)]
pub(crate) use tests::Folder;

#[cfg(test)]
mod tests;
