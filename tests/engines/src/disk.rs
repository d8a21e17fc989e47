//! A member's disk: what the step looks for on it, and what it leaves on it.
//!
//! Guarantees: every nodes.conf that is read here and can be parsed is compared, byte for byte,
//! with what the parser writes back.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cluster::nodes::NodesConf;
use cluster::planner::DiskSeen;
use cluster::protocol::Mark;
use cluster::rdb;
use cluster::server::{Files, ServerConfig};

/// The real file system, for reading configurations.
pub(crate) struct RealFiles;

impl Files for RealFiles {
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        file.take(limit as u64).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes)
    }

    fn glob(&self, _pattern: &Path) -> Vec<PathBuf> {
        // The servers here are configured by their arguments alone.
        Vec::new()
    }
}

/// What lies where the server will look.
pub(crate) fn look(config: &ServerConfig) -> Result<DiskSeen, String> {
    // The server makes an empty file when it takes the lock: that is no identity.
    let nodes_conf = read(&config.nodes_conf)?.filter(|bytes| !bytes.is_empty());
    let mark = read(&mark_path(config))?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let data = has_data(config);
    let places = [&config.rdb_file, &config.aof_file, &config.aof_dir];
    let files = data || places.iter().any(|name| config.dir.join(name).exists());
    let written_ago = written_ago(config);
    Ok(DiskSeen { nodes_conf, data, files, mark, written_ago, stopped: None })
}

/// Carries [`cluster::planner::Action::Write`] out.
pub(crate) fn write(config: &ServerConfig, text: &str, mark: Option<&Mark>) -> Result<(), String> {
    let path = &config.nodes_conf;
    if let Some(old) = read(path)?.filter(|old| !old.is_empty()) {
        replace(&path.with_extension("conf.bak"), &old).map_err(|e| e.to_string())?;
    }
    replace(path, text.as_bytes()).map_err(|e| e.to_string())?;
    let Some(mark) = mark else { return Ok(()) };
    let mark = serde_json::to_vec(mark).map_err(|e| e.to_string())?;
    replace(&mark_path(config), &mark).map_err(|e| e.to_string())
}

/// Whether the file reads, and writes back as it is.
pub(crate) fn check_round_trip(path: &Path) -> Result<(), String> {
    let bytes = read(path)?.ok_or_else(|| format!("{} is not there", path.display()))?;
    let conf =
        NodesConf::parse(&bytes).map_err(|e| format!("{} does not parse: {e}", path.display()))?;
    if conf.to_string().as_bytes() != bytes {
        return Err(format!("{} is not written back byte for byte", path.display()));
    }
    if let Some(damage) = conf.damage().first() {
        return Err(format!("{} is taken for damaged: {damage:?}", path.display()));
    }
    Ok(())
}

/// Of how many nodes the file does not say the address.
pub(crate) fn unknown(path: &Path) -> Result<usize, String> {
    let Some(bytes) = read(path)?.filter(|bytes| !bytes.is_empty()) else { return Ok(0) };
    let conf =
        NodesConf::parse(&bytes).map_err(|e| format!("{} does not parse: {e}", path.display()))?;
    Ok(conf.nodes().filter(|node| node.endpoint.address().is_none()).count())
}

/// A file's bytes, if it is there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("{} can not be read: {e}", path.display())),
    }
}

fn mark_path(config: &ServerConfig) -> PathBuf {
    config.nodes_conf.with_file_name(".mooring.json")
}

/// How many milliseconds ago a file with data was written last.
fn written_ago(config: &ServerConfig) -> Option<u64> {
    let parts = fs::read_dir(config.dir.join(&config.aof_dir)).into_iter().flatten().flatten();
    let parts = parts
        .map(|entry| entry.path())
        .filter(|path| path.extension() != Some("manifest".as_ref()));
    let files = [&config.rdb_file, &config.aof_file].map(|name| config.dir.join(name));
    let written = parts.chain(files).filter_map(|path| {
        fs::metadata(path).ok().filter(|meta| meta.is_file() && meta.len() > 0)?.modified().ok()
    });
    let ago = SystemTime::now().duration_since(written.max()?).unwrap_or_default();
    u64::try_from(ago.as_millis()).ok()
}

/// A copy of a disk.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<(), String> {
    let fault = |e: io::Error| format!("{} can not be copied: {e}", from.display());
    fs::create_dir_all(to).map_err(fault)?;
    for entry in fs::read_dir(from).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let target = to.join(entry.file_name());
        match entry.file_type().map_err(fault)?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(|_| ()).map_err(fault)?,
        }
    }
    Ok(())
}

/// Temporary file, fsync, rename.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".mooring-tmp");
    let temporary = path.with_file_name(name);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Whether there are keys in a snapshot or commands in a log.
fn has_data(config: &ServerConfig) -> bool {
    let snapshot = |path: &Path| {
        let head = fs::read(path).unwrap_or_default();
        let head = head.get(..head.len().min(rdb::HEAD)).unwrap_or_default();
        !head.is_empty() && rdb::may_hold_keys(head)
    };
    let log = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.len() > 0);
    if snapshot(&config.dir.join(&config.rdb_file)) || log(&config.dir.join(&config.aof_file)) {
        return true;
    }
    let Ok(entries) = fs::read_dir(config.dir.join(&config.aof_dir)) else { return false };
    entries.flatten().map(|e| e.path()).any(|path| match path.extension().and_then(OsStr::to_str) {
        Some("rdb") => snapshot(&path),
        Some("aof") => log(&path),
        _ => false,
    })
}
