//! Configurations, command lines and start scripts: whatever comes, reading ends, and what the
//! options say last counts.
//!
//! The input is the main file, an included file, an ACL file and words of the command line, with
//! zero bytes between them.
#![no_main]

use std::path::{Path, PathBuf};

use cluster::launch::{Container, Launch};
use cluster::server::{Files, ServerConfig, matches};
use libfuzzer_sys::fuzz_target;

struct Disk<'a>(&'a [&'a [u8]]);

impl Files for Disk<'_> {
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, String> {
        let at = ["main", "more", "users"].iter().position(|name| path.ends_with(name));
        let bytes = at.and_then(|at| self.0.get(at)).ok_or("no such file")?;
        Ok(bytes[..bytes.len().min(limit)].to_vec())
    }

    fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        let _ = matches(&pattern.to_string_lossy(), "more");
        vec![PathBuf::from("/c/more")]
    }
}

fuzz_target!(|bytes: &[u8]| {
    let parts: Vec<&[u8]> = bytes.splitn(4, |b| *b == 0).collect();
    let rest = parts.get(3).copied().unwrap_or_default();
    let words: Vec<String> =
        rest.split(|b| *b == 0).take(32).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    let disk = Disk(&parts);

    let argv = [vec!["/c/main".to_owned()], words.clone()].concat();
    let read = ServerConfig::read(&argv, Path::new("/c"), &disk);
    if let Ok(config) = &read {
        assert!(config.dir.is_absolute() && config.nodes_conf.is_absolute());
        let _ = (config.persists(), config.announce_problem(&[]), config.ports());
        // An option more at the end beats everything, if it is one.
        let more = [argv, ["--port", "6380", "--port", "6381"].map(str::to_owned).to_vec()].concat();
        if let Ok(config) = ServerConfig::read(&more, Path::new("/c"), &disk) {
            assert_eq!(config.port, Some(6381));
        }
    } else if let Err(e) = &read {
        assert!(!e.to_string().is_empty());
    }

    let script = String::from_utf8_lossy(parts[0]).into_owned();
    let env = |name: &str| (name.len() == 1).then(|| script.chars().take(8).collect());
    for command in [
        vec!["sh".to_owned(), "-c".to_owned(), script.clone()],
        [vec!["/c/main".to_owned()], words.clone()].concat(),
        words,
    ] {
        let container = Container { command: Some(&command), args: None, image: "redis" };
        for launch in [container.launch_with(&env), container.launch_in(&env, &disk)] {
            if let Launch::Server(server) = launch {
                let _ = (server.config_file(), server.option("dir"));
                let _ = ServerConfig::read(&server.words, Path::new("/c"), &disk);
            }
        }
    }
});
