//! The thirteen versions, and where their servers are.

use std::path::{Path, PathBuf};

use cluster::launch::Engine;
use cluster::nodes::Target;

/// One of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Version {
    /// Engine and version, such as `redis-7.0.15`: the folder that `fetch` makes.
    pub(crate) name: &'static str,
}

/// All of them.
pub(crate) const VERSIONS: [Version; 13] = [
    Version { name: "redis-5.0.6" },
    Version { name: "redis-6.0.16" },
    Version { name: "redis-6.2.14" },
    Version { name: "redis-7.0.15" },
    Version { name: "redis-7.2.4" },
    Version { name: "redis-7.4.1" },
    Version { name: "redis-8.0.2" },
    Version { name: "redis-8.2.3" },
    Version { name: "redis-8.6.3" },
    Version { name: "valkey-8.0.1" },
    Version { name: "valkey-8.1.1" },
    Version { name: "valkey-9.0.0" },
    Version { name: "valkey-9.1.2" },
];

// === impl Version ===

impl Version {
    /// What starts its server.
    pub(crate) fn program(&self) -> Result<PathBuf, String> {
        let program = cache().join(self.name).join("run");
        // Whole, since the servers run in folders of their own.
        std::path::absolute(&program).ok().filter(|p| p.is_file()).ok_or_else(|| {
            format!(
                "{} is not there ({}): run tests/engines/fetch {}",
                self.name,
                program.display(),
                self.name
            )
        })
    }

    /// Whether its servers know users: all but Redis before 6.0.
    pub(crate) fn knows_users(&self) -> bool {
        !self.name.starts_with("redis-5")
    }

    /// The next one of the same engine, if there is one.
    pub(crate) fn newer(&self) -> Option<Self> {
        let engine = |name: &str| name.split('-').next().map(str::to_owned);
        let place = VERSIONS.iter().position(|v| v == self)?;
        VERSIONS.get(place + 1).filter(|v| engine(v.name) == engine(self.name)).cloned()
    }

    /// What its files have to be.
    pub(crate) fn target(&self) -> Target {
        let (engine, version) = self.name.split_once('-').unwrap_or((self.name, ""));
        match engine {
            "valkey" => Target::parse(Engine::Valkey, version),
            _ => Target::parse(Engine::Redis, version),
        }
    }
}

fn cache() -> PathBuf {
    let by_home = || {
        let home = std::env::var_os("HOME").unwrap_or_default();
        Path::new(&home).join(".cache/mooring")
    };
    let cache = std::env::var_os("MOORING_CACHE").map(PathBuf::from).unwrap_or_else(by_home);
    cache.join("engines")
}
