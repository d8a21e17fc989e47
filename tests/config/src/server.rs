//! Real servers: which are here, and one that runs.
//!
//! Guarantees: a server that was started is ended when it is dropped; nothing waits longer than a
//! few seconds.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use cluster::resp::{self, Reply};

use crate::tree::Tree;

const STARTS_WITHIN: Duration = Duration::from_secs(10);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A server's program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is Valkey.
    pub valkey: bool,
    /// Major and minor number.
    pub version: (u32, u32),
    /// Whether it listens by TLS.
    pub tls: bool,
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    socket: PathBuf,
}

/// What became of a start.
#[derive(Debug)]
pub enum Start {
    /// It runs.
    Up(Running),
    /// It ended by itself, and wrote this.
    Refused(String),
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    received: Vec<u8>,
}

// === impl Program ===

impl Program {
    /// Those of the search path, or of `MOORING_REDIS_SERVER` (paths with colons between them) if
    /// it is set.
    ///
    /// # Errors
    /// Where there is none, or one that is named does not run.
    pub fn installed() -> Result<Vec<Self>, String> {
        if let Some(named) = env::var_os("MOORING_REDIS_SERVER") {
            return Self::all_at(env::split_paths(&named));
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let names = ["redis-server", "valkey-server"];
        let all = env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
        // One that does not run is as good as none.
        let programs: Vec<_> = all.filter_map(|path| Self::at(&path).ok()).collect();
        if programs.is_empty() {
            return Err("no redis-server or valkey-server is here, so nothing can be compared: \
                        install the package redis-server, or set MOORING_REDIS_SERVER to a \
                        program's path"
                .to_owned());
        }
        Ok(Self::once_each(programs))
    }

    /// The matrix: what `tests/engines/fetch` got.
    ///
    /// # Errors
    /// Where it is not there, or one of it does not run.
    pub fn matrix() -> Result<Vec<Self>, String> {
        let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/mooring"));
        let cache = env::var_os("MOORING_CACHE").map(PathBuf::from).or(home).unwrap_or_default();
        let folder = cache.join("engines");
        let all = fs::read_dir(&folder).into_iter().flatten().flatten();
        // What begins with a dot is still being fetched.
        let whole = all.filter(|e| !e.file_name().to_string_lossy().starts_with('.'));
        let all: Vec<_> = whole.map(|e| e.path().join("run")).filter(|run| run.is_file()).collect();
        if all.is_empty() {
            return Err(format!("nothing is in {}: run tests/engines/fetch", folder.display()));
        }
        Self::all_at(all.into_iter())
    }

    fn all_at(paths: impl Iterator<Item = PathBuf>) -> Result<Vec<Self>, String> {
        let at = |path: PathBuf| Self::at(&path).map_err(|e| format!("{}: {e}", path.display()));
        paths.map(at).collect::<Result<_, _>>().map(Self::once_each)
    }

    fn once_each(mut programs: Vec<Self>) -> Vec<Self> {
        programs.sort_by_key(|p| (p.valkey, p.version));
        programs.dedup_by_key(|p| (p.valkey, p.version));
        programs
    }

    fn at(path: &Path) -> Result<Self, String> {
        let out = Command::new(path).arg("--version").output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let number = text.split_whitespace().find_map(|w| w.strip_prefix("v="));
        let mut numbers = number.unwrap_or_default().split('.').map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            return Err(format!("it does not say its version: {text}"));
        };
        let valkey = text.starts_with("Valkey");
        let mut program =
            Self { path: path.to_owned(), valkey, version: (major, minor), tls: false };
        // Some builds know the options and can not listen.
        let tree = Tree::new()?;
        let file = |name: &str| tree.workdir.join(name).display().to_string();
        let port = tree.ports.get(4).copied().unwrap_or_default().to_string();
        let options = [
            ("port", "0".to_owned()),
            ("tls-port", port),
            ("tls-cert-file", file("tls.crt")),
            ("tls-key-file", file("tls.key")),
            ("tls-ca-cert-file", file("tls.crt")),
        ];
        let words: Vec<_> =
            options.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]).collect();
        let start = program.start(&words, &tree.workdir, &tree.folder.path)?;
        program.tls = matches!(start, Start::Up(_));
        Ok(program)
    }

    /// Starts it with `words` in `workdir`; `folder` is for its socket and what it writes.
    ///
    /// # Errors
    /// Where it neither answers nor ends.
    pub fn start(&self, words: &[String], workdir: &Path, folder: &Path) -> Result<Start, String> {
        let socket = folder.join("s");
        let log = folder.join("log");
        let file = fs::File::create(&log).map_err(|e| e.to_string())?;
        let too = file.try_clone().map_err(|e| e.to_string())?;
        // The socket goes behind the file and in front of the options, and decides nothing else.
        let file_first = usize::from(words.first().is_some_and(|w| !w.starts_with('-')));
        let (first, options) = words.split_at(file_first);
        let child = Command::new(&self.path)
            .args(first)
            .arg("--unixsocket")
            .arg(&socket)
            .args(["--bind", "127.0.0.1", "--loglevel", "warning"])
            .args(options)
            .current_dir(workdir)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(too)
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut running = Running { child, socket };
        let deadline = Instant::now() + STARTS_WITHIN;
        while Instant::now() < deadline {
            // It listens before it has read nodes.conf, at which it may still end.
            if running
                .client()
                .map_err(|e| e.to_string())
                .and_then(|mut c| c.ask(&["PING"]))
                .is_ok()
            {
                return Ok(Start::Up(running));
            }
            if running.child.try_wait().map_err(|e| e.to_string())?.is_some() {
                return Ok(Start::Refused(fs::read_to_string(&log).unwrap_or_default()));
            }
            thread::sleep(Duration::from_millis(4));
        }
        Err(format!("{} neither answers nor ends", self.path.display()))
    }

    /// Whether it is at least this version; Valkey goes on from 7.2.
    pub fn since(&self, major: u32, minor: u32) -> bool {
        self.version >= (major, minor)
    }
}

// === impl Running ===

impl Running {
    /// A new connection.
    ///
    /// # Errors
    /// Where it does not listen.
    pub fn client(&self) -> io::Result<Client> {
        let stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        Ok(Client { stream, received: Vec::new() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Client ===

impl Client {
    /// Sends a command and reads its answer.
    ///
    /// # Errors
    /// Where no answer comes.
    pub fn ask(&mut self, words: &[&str]) -> Result<Reply, String> {
        let words: Vec<_> = words.iter().map(|w| w.as_bytes()).collect();
        self.stream.write_all(&resp::command(&words)).map_err(|e| e.to_string())?;
        loop {
            if let Some((reply, used)) = resp::decode(&self.received).map_err(|e| e.to_string())? {
                self.received.drain(..used);
                return Ok(reply);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk).map_err(|e| e.to_string())? {
                0 => return Err("the connection was closed".to_owned()),
                n => self.received.extend_from_slice(&chunk[..n]),
            }
        }
    }
}

/// A folder of its own, removed when dropped. Its path is short, as that of a socket has to be.
#[derive(Debug)]
pub struct Folder {
    /// Where it is, without links in its path.
    pub path: PathBuf,
}

// === impl Folder ===

impl Folder {
    /// A new one.
    ///
    /// # Errors
    /// Where it can not be made.
    pub fn new() -> Result<Self, String> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("moor-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let path = path.canonicalize().map_err(|e| e.to_string())?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
