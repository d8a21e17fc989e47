//! The disk, on a real file system in a folder of its own.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process;

use cluster::id::NodeId;

use super::replace::Calls;
use super::*;

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mooring-step-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn config(&self) -> ServerConfig {
        let words = ["--cluster-enabled", "yes"].map(str::to_owned);
        ServerConfig::read(&words, &self.0, &RealFiles).unwrap()
    }

    /// Names, sizes, modes and inodes of all that is there.
    fn listing(&self) -> Vec<(String, u64, u32, u64)> {
        let entries = fs::read_dir(&self.0).unwrap().map(|e| e.unwrap());
        let mut all: Vec<_> = entries
            .map(|e| {
                let meta = e.metadata().unwrap();
                let name = e.file_name().to_string_lossy().into_owned();
                (name, meta.len(), meta.permissions().mode() & 0o777, meta.ino())
            })
            .collect();
        all.sort();
        all
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mark() -> Mark {
    let node_id: NodeId = "ab".repeat(20).parse().unwrap();
    Mark { namespace: "shop".into(), name: "cache".into(), salt: "s".into(), node_id }
}

#[test]
fn a_mark_is_read_with_fields_of_a_later_version_and_is_never_needed() {
    let folder = Folder::new("mark");
    let config = folder.config();
    assert_eq!((look(&config).unwrap().mark, doubts(&config)), (None, vec![]));

    let mut later = serde_json::to_value(mark()).unwrap();
    later["format"] = 7.into();
    later["origin"] = serde_json::json!({"cluster": "east", "since": [1, 2]});
    folder.write(".mooring.json", &later.to_string());
    assert_eq!((look(&config).unwrap().mark, doubts(&config)), (Some(mark()), vec![]));
}

#[test]
fn a_mark_that_can_not_be_read_is_said_to_be_there() {
    let folder = Folder::new("bad-mark");
    let config = folder.config();
    let whole = serde_json::to_string(&mark()).unwrap();
    let half = &whole[..whole.len() / 2];
    for damage in ["", half, "\0\0\0\0", "{}", &format!("{whole}{}", "\0".repeat(5000))] {
        folder.write(".mooring.json", damage);
        let doubts = doubts(&config);
        let [Doubt::Mark(why)] = doubts.as_slice() else { panic!("{damage:?}: {doubts:?}") };
        assert!(why.contains(".mooring.json"), "{why}");
        assert_eq!(look(&config).unwrap().mark, None);
    }
    fs::remove_file(folder.path(".mooring.json")).unwrap();
    fs::create_dir(folder.path(".mooring.json")).unwrap();
    assert_eq!(doubts(&config).len(), 1, "what can not be read at all is there, too");
}

#[test]
fn any_number_of_runs_leaves_one_copy_of_each_file() {
    let folder = Folder::new("again");
    let config = folder.config();
    folder.write("nodes.conf", "old");
    // What a step that was killed in the middle left behind.
    folder.write("nodes.conf.mooring-tmp", "half of someth");
    let run = || {
        write_nodes_conf(&config, "new").unwrap();
        write_mark(&config, &mark()).unwrap();
        put(&folder.path("step"), b"binary", 0o755).unwrap();
    };
    run();
    let once: Vec<_> = folder.listing().into_iter().filter(|f| f.0 != "step").collect();
    let names: Vec<_> = once.iter().map(|f| f.0.as_str()).collect();
    assert_eq!(names, [".mooring.json", "nodes.conf", "nodes.conf.bak"]);
    assert_eq!(fs::read(folder.path("nodes.conf.bak")).unwrap(), b"old");
    for _ in 0..3 {
        run();
        let all: Vec<_> = folder.listing().into_iter().filter(|f| f.0 != "step").collect();
        assert_eq!(all, once, "not even a new inode");
    }
    assert_eq!(fs::metadata(folder.path("step")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn what_is_written_has_the_owner_and_mode_of_what_it_replaces() {
    let folder = Folder::new("owner");
    let config = folder.config();
    let old = folder.write("nodes.conf", "old");
    fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
    let root = fs::metadata(&old).unwrap().uid() == 0;
    let (uid, gid) = if root { (999, 1000) } else { (own(&old).0, own(&old).1) };
    std::os::unix::fs::chown(&old, Some(uid), Some(gid)).unwrap();
    write_nodes_conf(&config, "new").unwrap();
    write_mark(&config, &mark()).unwrap();
    for name in ["nodes.conf", "nodes.conf.bak", ".mooring.json"] {
        assert_eq!(own(&folder.path(name)), (uid, gid, 0o640), "{name}");
    }

    // A first file is its folder's, and the server can write it.
    for name in ["nodes.conf", "nodes.conf.bak", ".mooring.json"] {
        fs::remove_file(folder.path(name)).unwrap();
    }
    std::os::unix::fs::chown(&folder.0, Some(uid), Some(gid)).unwrap();
    write_nodes_conf(&config, "first").unwrap();
    assert_eq!(own(&folder.path("nodes.conf")), (uid, gid, 0o644));
}

fn own(path: &Path) -> (u32, u32, u32) {
    let meta = fs::metadata(path).unwrap();
    (meta.uid(), meta.gid(), meta.permissions().mode() & 0o777)
}

#[test]
fn a_lock_that_was_left_behind_stays_with_the_old_file() {
    let folder = Folder::new("lock");
    let config = folder.config();
    let path = folder.write("nodes.conf", "text");
    assert_eq!(doubts(&config), []);
    let holder = OpenOptions::new().write(true).open(&path).unwrap();
    holder.lock().unwrap();
    assert_eq!(doubts(&config), [Doubt::Locked]);
    write_nodes_conf(&config, "text").unwrap();
    assert_eq!(doubts(&config), [], "the server finds a file that nobody has locked");
    assert_eq!(fs::read(&path).unwrap(), b"text");
}

/// A share that refuses some calls.
#[derive(Default)]
struct Share {
    chown: Option<io::ErrorKind>,
    chmod: Option<io::ErrorKind>,
    sync: Option<io::ErrorKind>,
    rename: Option<io::ErrorKind>,
    /// Whether what it keeps is not what it was given.
    garbles: bool,
}

fn as_told(refusal: Option<io::ErrorKind>) -> io::Result<()> {
    refusal.map_or(Ok(()), |kind| Err(kind.into()))
}

impl Calls for Share {
    fn chown(&self, _: &File, _: u32, _: u32) -> io::Result<()> {
        as_told(self.chown)
    }

    fn chmod(&self, _: &File, _: u32) -> io::Result<()> {
        as_told(self.chmod)
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        as_told(self.sync)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        as_told(self.rename)?;
        if self.garbles {
            fs::write(from, "something else")?;
        }
        fs::rename(from, to)
    }
}

#[test]
fn what_a_share_does_not_offer_is_a_warning() {
    use io::ErrorKind::{InvalidInput, Other, PermissionDenied, StorageFull, Unsupported};
    let folder = Folder::new("share");
    let path = folder.write("nodes.conf", "old");
    let of_another = Owner::of(Path::new("/proc/1"), Some(0o644)).unwrap();
    let mut owner = of_another;
    if own(&path).0 == 0 {
        std::os::unix::fs::chown(&path, Some(999), Some(999)).unwrap();
        owner = Owner::of(&path, Some(0o644)).unwrap();
    }
    let write = |share: Share| replace(&share, &path, b"new", owner, Outlives::Machine);

    let none = Share {
        chown: Some(Unsupported),
        chmod: Some(PermissionDenied),
        sync: Some(InvalidInput),
        ..Share::default()
    };
    let warnings = write(none).unwrap();
    assert_eq!(warnings.len(), 4, "owner, mode, file and folder: {warnings:?}");
    assert!(warnings[0].contains("does not change owners"), "{warnings:?}");
    assert_eq!(fs::read(&path).unwrap(), b"new");
    let usual = Share { chown: Some(PermissionDenied), ..Share::default() };
    assert_eq!(write(usual).unwrap(), Vec::<String>::new(), "a user like any other may not");

    // What breaks is no warning, and leaves the old file.
    fs::write(&path, "old").unwrap();
    assert_eq!(
        write(Share { sync: Some(StorageFull), ..Share::default() }).unwrap_err().kind(),
        StorageFull
    );
    let no_rename = write(Share { rename: Some(Other), ..Share::default() }).unwrap_err();
    assert!(no_rename.to_string().contains("use a volume that can"), "{no_rename}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert!(!folder.path("nodes.conf.mooring-tmp").exists());
    let garbled = write(Share { garbles: true, ..Share::default() }).unwrap_err();
    assert!(garbled.to_string().contains("is not what is read back"), "{garbled}");
}

#[test]
fn a_pattern_may_stand_in_every_part_of_a_path() {
    let folder = Folder::new("glob");
    for name in ["a-b/1.conf", "a/2.conf", "a/x.txt", "b/deep/3.conf", ".a/4.conf"] {
        folder.write(name, "");
    }
    let found = |pattern: &str| -> Vec<String> {
        let found = RealFiles.glob(&folder.path(pattern));
        found.iter().map(|p| p.strip_prefix(&folder.0).unwrap().display().to_string()).collect()
    };
    assert_eq!(found("*/*.conf"), ["a-b/1.conf", "a/2.conf"], "in the order of their bytes");
    assert_eq!(found("[ab]/*/3.conf"), ["b/deep/3.conf"]);
    assert_eq!(found("?/2.conf"), ["a/2.conf"], "a plain part behind a pattern has to be there");
    assert_eq!(found(".a/*.conf"), [".a/4.conf"]);
    assert_eq!(found("a/*.none"), Vec::<String>::new());
    assert_eq!(found("none/*"), Vec::<String>::new());
}

#[test]
fn a_file_that_somebody_else_writes_at_the_same_time_does_not_count() {
    let folder = Folder::new("watched");
    let path = folder.write("nodes.conf", "ours");
    let config = folder.config();
    let watched = Duration::from_millis(200);
    stays(&config, "ours", watched).unwrap();
    let last_act = thread::spawn(move || {
        thread::sleep(Duration::from_millis(60));
        fs::write(path, "theirs").unwrap();
    });
    let why = stays(&config, "ours", watched).unwrap_err().to_string();
    last_act.join().unwrap();
    assert!(why.contains("somebody else writes"), "{why}");
    stays(&config, "ours", Duration::ZERO).unwrap();
}
