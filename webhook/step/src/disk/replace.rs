//! Replacing a file: temporary file in the same folder, fsync, rename, fsync of the folder.
//!
//! Guarantees: a crash leaves the old file or the new one, whole; what was written is read back
//! before it counts; owner and mode are those that the server needs. A share that knows no owners,
//! no modes or no fsync costs a warning and not the start: its files are whose it says they are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// What a file has to outlive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outlives {
    /// This process's crash.
    Process,
    /// The machine's, too.
    Machine,
}

/// Whose a file is to be, and its mode.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Owner {
    ids: Option<(u32, u32)>,
    mode: u32,
}

/// What not every file system can do.
pub(super) trait Calls {
    fn chown(&self, file: &File, uid: u32, gid: u32) -> io::Result<()>;
    fn chmod(&self, file: &File, mode: u32) -> io::Result<()>;
    fn sync(&self, file: &File) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
}

/// The system's own.
pub(super) struct Real;

/// Replaces a file; gives what the file system could not do, one sentence each.
pub(super) fn replace(
    calls: &dyn Calls,
    path: &Path,
    bytes: &[u8],
    owner: Owner,
    outlives: Outlives,
) -> io::Result<Vec<String>> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".mooring-tmp");
    let temporary = folder.join(name);
    let mut warnings = Vec::new();
    let mut warn = |what: &str, e: &io::Error| {
        warnings.push(format!("the volume at {} {what} ({e})", folder.display()));
    };
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        owner.apply(calls, &file, &mut warn)?;
        if outlives == Outlives::Machine
            && let Err(e) = calls.sync(&file)
        {
            if !is_not_offered(&e) {
                return Err(e);
            }
            warn("can not be told to write a file out: a power loss may cost the last change", &e);
        }
        drop(file);
        read_back(&temporary, bytes)?;
        calls.rename(&temporary, path).map_err(|e| {
            let text = format!(
                "the volume at {} can not put a new file in the old one's place ({e}), so that \
                 nodes.conf can not be changed safely: use a volume that can",
                folder.display()
            );
            io::Error::new(e.kind(), text)
        })?;
        read_back(path, bytes)?;
        if outlives == Outlives::Machine
            && let Err(e) = File::open(folder).and_then(|folder| calls.sync(&folder))
        {
            if !is_not_offered(&e) {
                return Err(e);
            }
            warn(
                "can not be told to write a folder out: a power loss may bring the old file back",
                &e,
            );
        }
        Ok(())
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.map(|()| warnings)
}

// === impl Owner ===

impl Owner {
    /// That of an existing file or folder; `mode` instead of its own, if given.
    pub(super) fn of(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        let mode = mode.unwrap_or(meta.permissions().mode() & 0o777);
        Ok(Self { ids: Some((meta.uid(), meta.gid())), mode })
    }

    /// Whoever this process is.
    pub(super) fn ours(mode: u32) -> Self {
        Self { ids: None, mode }
    }

    fn apply(
        self,
        calls: &dyn Calls,
        file: &File,
        warn: &mut dyn FnMut(&str, &io::Error),
    ) -> io::Result<()> {
        let meta = file.metadata()?;
        if let Some((uid, gid)) = self.ids
            && (meta.uid(), meta.gid()) != (uid, gid)
            && let Err(e) = calls.chown(file, uid, gid)
            // Without the right to change owners the file is ours, and so is the server.
            && e.kind() != io::ErrorKind::PermissionDenied
        {
            warn("does not change owners: files stay whose it says they are", &e);
        }
        if meta.permissions().mode() & 0o777 != self.mode
            && let Err(e) = calls.chmod(file, self.mode)
        {
            warn("does not change modes: files keep the one that it gives them", &e);
        }
        Ok(())
    }
}

// === impl Real ===

impl Calls for Real {
    fn chown(&self, file: &File, uid: u32, gid: u32) -> io::Result<()> {
        std::os::unix::fs::fchown(file, Some(uid), Some(gid))
    }

    fn chmod(&self, file: &File, mode: u32) -> io::Result<()> {
        file.set_permissions(fs::Permissions::from_mode(mode))
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
}

/// Whether an error says that there is no such thing here, and not that something broke.
fn is_not_offered(e: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(e.kind(), InvalidInput | PermissionDenied | Unsupported)
}

fn read_back(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path)? == bytes {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "what was written to {} is not what is read back: somebody else writes it at the same time \
         (the server of the pod before, which is about to end, or another pod on the same volume), \
         or the volume can not be trusted",
        path.display()
    )))
}
