//! The folders and files that generated configurations refer to.
//!
//! Guarantees: from the working directory, `..` and `sub` can be followed [`DEPTH`] times in any
//! order, so that no directory is missing; files of the same name differ from folder to folder, so
//! that a wrong one is noticed.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use cluster::server::{Files, matches};

use crate::server::Folder;

/// How often a directory may be changed.
pub const DEPTH: usize = 4;

const CERTIFICATE: &str = include_str!("../tls/tls.crt");
const KEY: &str = include_str!("../tls/tls.key");

/// What is laid out for one configuration.
#[derive(Debug)]
pub struct Tree {
    /// All of it.
    pub folder: Folder,
    /// Where the server is started.
    pub workdir: PathBuf,
    /// Ports that nobody uses, and the ports 10000 above them: for clients, then for the bus.
    pub ports: Vec<u16>,
}

/// The disk, as Mooring's step reads it.
#[derive(Debug)]
pub struct Disk;

// === impl Tree ===

impl Tree {
    /// A new one.
    ///
    /// # Errors
    /// Where something can not be written, or no ports are free.
    pub fn new() -> Result<Self, String> {
        let folder = Folder::new()?;
        let mut workdir = folder.path.join("t");
        for _ in 0..DEPTH {
            workdir.push("u");
        }
        // Twice as deep: a configuration may go down and its options again.
        for up in 0..=DEPTH {
            let Some(top) = workdir.ancestors().nth(up) else { continue };
            let mut path = top.to_owned();
            for down in 0..=DEPTH + 1 {
                fill(&path, &format!("{up}{down}")).map_err(|e| e.to_string())?;
                path.push("sub");
            }
        }
        fs::create_dir_all(folder.path.join("conf/d")).map_err(|e| e.to_string())?;
        Ok(Self { folder, workdir, ports: free_ports()? })
    }

    /// The path of a file of the configuration.
    pub fn conf(&self, name: &str) -> PathBuf {
        self.folder.path.join("conf").join(name)
    }
}

fn fill(path: &Path, tag: &str) -> std::io::Result<()> {
    fs::create_dir_all(path)?;
    fs::write(path.join("extra.conf"), format!("cluster-node-timeout 1{tag}\n"))?;
    fs::write(path.join("users.acl"), format!("user default on >acl{tag} ~* +@all\n"))?;
    fs::write(path.join("tls.crt"), CERTIFICATE)?;
    fs::write(path.join("tls.key"), KEY)
}

/// Looked for below the ports that the system gives out by itself, from a place that differs from
/// process to process.
fn free_ports() -> Result<Vec<u16>, String> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(37) + NEXT.fetch_add(7, Ordering::Relaxed) * 7;
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let candidates = (0..9_000).map(|i| 11_000 + ((first + i) % 9_000) as u16);
    let ports: Vec<_> = candidates.filter(|p| free(*p) && free(p + 10_000)).take(7).collect();
    if ports.len() == 7 { Ok(ports) } else { Err("no ports are free".to_owned()) }
}

// === impl Disk ===

impl Files for Disk {
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, String> {
        let mut bytes = fs::read(path).map_err(|e| e.to_string())?;
        bytes.truncate(limit);
        Ok(bytes)
    }

    fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        let (Some(folder), Some(name)) = (pattern.parent(), pattern.file_name()) else {
            return Vec::new();
        };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|e| e.file_name().into_string().ok());
        let name = name.to_string_lossy();
        let mut found: Vec<_> =
            names.filter(|n| matches(&name, n)).map(|n| folder.join(n)).collect();
        found.sort();
        found
    }
}
