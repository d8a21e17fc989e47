//! The member's disk: looking at it, and replacing a file so that a crash leaves the old or the
//! new one, whole, with owner and mode as the server needs them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use cluster::nodes;
use cluster::planner::DiskSeen;
use cluster::protocol::Mark;
use cluster::rdb;
use cluster::server::{Files, ServerConfig};

/// The real file system, for reading configurations.
pub(crate) struct RealFiles;

/// What a file has to outlive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outlives {
    /// This process's crash.
    Process,
    /// The machine's, too.
    Machine,
}

/// Whose a file is to be, and its mode.
#[derive(Clone, Copy, Debug)]
struct Owner {
    ids: Option<(u32, u32)>,
    mode: u32,
}

/// What lies where the server will look.
pub(crate) fn look(config: &ServerConfig) -> Result<DiskSeen, String> {
    let nodes_conf = read_bounded(&config.nodes_conf, nodes::MAX_BYTES + 1)
        .map_err(|e| format!("{} can not be read: {e}", config.nodes_conf.display()))?;
    // The server makes an empty file when it takes the lock: that is no identity.
    let nodes_conf = nodes_conf.filter(|bytes| !bytes.is_empty());
    let (data, files) = look_for_data(config);
    Ok(DiskSeen { nodes_conf, data, files, mark: read_mark(config) })
}

/// The birth mark beside nodes.conf. One that can not be read is none: it is written again.
fn read_mark(config: &ServerConfig) -> Option<Mark> {
    let bytes = read_bounded(&mark_path(config), 4096).ok()??;
    serde_json::from_slice(&bytes).ok()
}

/// Leaves the birth mark beside nodes.conf.
pub(crate) fn write_mark(config: &ServerConfig, mark: &Mark) -> io::Result<()> {
    if read_mark(config).as_ref() == Some(mark) {
        return Ok(());
    }
    let text = serde_json::to_vec(mark)?;
    let owner = Owner::of(&config.nodes_conf, None)?;
    replace(&mark_path(config), &text, owner, Outlives::Machine)
}

fn mark_path(config: &ServerConfig) -> PathBuf {
    config.nodes_conf.with_file_name(".mooring.json")
}

/// Writes nodes.conf, and keeps the file that it replaces as `.bak`.
pub(crate) fn write_nodes_conf(config: &ServerConfig, text: &str) -> io::Result<()> {
    let path = &config.nodes_conf;
    let folder = path.parent().unwrap_or(Path::new("/"));
    match read_bounded(path, nodes::MAX_BYTES)? {
        Some(old) if old == text.as_bytes() => Ok(()),
        Some(old) => {
            let owner = Owner::of(path, None)?;
            if !old.is_empty() {
                let mut name = path.as_os_str().to_owned();
                name.push(".bak");
                replace(Path::new(&name), &old, owner, Outlives::Machine)?;
            }
            replace(path, text.as_bytes(), owner, Outlives::Machine)
        }
        None => {
            let owner = Owner::of(folder, Some(0o644))?;
            replace(path, text.as_bytes(), owner, Outlives::Machine)
        }
    }
}

/// Puts a file of this pod's own life in its place: whole or not at all, but not for after a crash
/// of the machine, since init runs again then.
pub(crate) fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace(path, bytes, Owner { ids: None, mode }, Outlives::Process)
}

/// Replaces a file: temporary file in the same folder, fsync, rename, fsync of the folder.
fn replace(path: &Path, bytes: &[u8], owner: Owner, outlives: Outlives) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".mooring-tmp");
    let temporary = folder.join(name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        owner.apply(&file)?;
        if outlives == Outlives::Machine {
            file.sync_all()?;
        }
        drop(file);
        fs::rename(&temporary, path)?;
        if outlives == Outlives::Machine {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
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
        let (Some(folder), Some(name)) = (pattern.parent(), pattern.file_name()) else {
            return Vec::new();
        };
        let name = name.to_string_lossy();
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let names = entries.take(10_000).filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut matching: Vec<_> =
            names.filter(|n| cluster::server::matches(&name, n)).map(|n| folder.join(n)).collect();
        matching.sort();
        matching
    }
}

// === impl Owner ===

impl Owner {
    /// That of an existing file or folder; `mode` instead of its own, if given.
    fn of(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        let mode = mode.unwrap_or(meta.permissions().mode() & 0o777);
        Ok(Self { ids: Some((meta.uid(), meta.gid())), mode })
    }

    fn apply(self, file: &File) -> io::Result<()> {
        let meta = file.metadata()?;
        if let Some((uid, gid)) = self.ids
            && (meta.uid(), meta.gid()) != (uid, gid)
        {
            // Without the right to change owners the file is ours, and so is the server.
            match std::os::unix::fs::fchown(file, Some(uid), Some(gid)) {
                Err(e) if e.kind() != io::ErrorKind::PermissionDenied => return Err(e),
                _ => {}
            }
        }
        file.set_permissions(fs::Permissions::from_mode(self.mode))
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
