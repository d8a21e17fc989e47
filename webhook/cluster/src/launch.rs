//! How a container starts its server: what `command`, `args` and the image's entrypoint come to.
//!
//! Guarantees: a container counts as a server only when its start command ends in `redis-server`
//! or `valkey-server`; names, images and positions of containers decide nothing. What can not be
//! followed (a shell that starts the server in the background, a script that is not at hand) is said
//! to be [`Launch::Opaque`], never guessed.

use std::fmt;

use crate::server::{Files, words};
pub use environment::{Env, Environment, Variable, expand_kubelet};

mod environment;
mod script;

/// A container's start, as its pod spec gives it.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    /// `command`; replaces the image's entrypoint.
    pub command: Option<&'a [String]>,
    /// `args`; replaces the image's default command.
    pub args: Option<&'a [String]>,
    /// `image`.
    pub image: &'a str,
}

/// What a container starts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Launch {
    /// A redis or valkey server.
    Server(ServerLaunch),
    /// Perhaps a server, in a way that can not be followed.
    Opaque {
        /// One sentence.
        why: String,
    },
    /// Something else.
    Other,
}

/// How a server is started.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerLaunch {
    /// The engine, by the name of the binary.
    pub engine: Engine,
    /// The arguments after the binary.
    pub words: Vec<String>,
    /// The program in front of it that may do things of its own first (`/conf/update-node.sh`).
    pub wrapper: Option<String>,
    /// Whether a shell starts it.
    pub shell: bool,
    /// Whether the image's own entrypoint is in front of it.
    pub entrypoint: bool,
}

/// Redis or Valkey.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
}

/// What is known besides the pod spec.
#[derive(Clone, Copy)]
struct Known<'a> {
    env: Environment<'a>,
    /// The container's own files, where they are at hand.
    files: Option<&'a dyn Files>,
}

// === impl Container ===

impl Container<'_> {
    /// What it starts, with shell variables left as they are (the environment is not known).
    pub fn launch(&self) -> Launch {
        self.launch_with(&|_| None)
    }

    /// What it starts, with `$(NAME)` expanded as the kubelet does and `$NAME` as a shell does.
    ///
    /// Variables that `env` does not know may still be set, and stay as they are written.
    pub fn launch_with(&self, env: Env<'_>) -> Launch {
        self.start(Known { env: Environment::part(env), files: None })
    }

    /// What it starts, as seen from within its pod: `env` is all of the pod spec's environment, and
    /// `files` are those that the container mounts.
    ///
    /// Scripts are read. A variable that is not set is empty in a shell, if the image is an official
    /// one; another image may set it, and a start that depends on it is [`Launch::Opaque`].
    pub fn launch_in(&self, env: Env<'_>, files: &dyn Files) -> Launch {
        let env = if is_official(self.image) {
            Environment::whole(env)
        } else {
            Environment::without_the_images(env)
        };
        self.start(Known { env, files: Some(files) })
    }

    /// The directory that its image starts it in: `/data` in the official ones; `None` where
    /// nobody has looked.
    pub fn image_dir(&self) -> Option<&'static str> {
        is_official(self.image).then_some("/data")
    }

    fn start(&self, known: Known<'_>) -> Launch {
        let expand = |words: &[String]| -> Vec<String> {
            words.iter().map(|w| expand_kubelet(w, known.env.known())).collect()
        };
        let args = self.args.map(expand).unwrap_or_default();
        match self.command.filter(|c| !c.is_empty()) {
            Some(command) => {
                let mut all = expand(command);
                all.extend(args);
                match all.split_first() {
                    Some((first, rest)) if base(first) == "docker-entrypoint.sh" => {
                        self.behind_entrypoint(rest.to_vec(), known)
                    }
                    _ => follow(&all, false, known),
                }
            }
            None => self.behind_entrypoint(args, known),
        }
    }

    /// The official images' entrypoint puts the server in front of options and of a file name
    /// that ends in `.conf`, and runs everything else as it is.
    fn behind_entrypoint(&self, args: Vec<String>, known: Known<'_>) -> Launch {
        let Some(engine) = Engine::of_image(self.image) else {
            return if args.is_empty() { Launch::Other } else { follow(&args, true, known) };
        };
        let in_front = args.first().is_none_or(|a| a.starts_with('-') || a.ends_with(".conf"));
        if in_front && has_own_scripts(self.image) {
            return Launch::Opaque {
                why: format!(
                    "the image {} starts its server by scripts of its own, which make the \
                     configuration when the container runs",
                    self.image
                ),
            };
        }
        let mut launch = if in_front {
            server(ServerLaunch {
                engine,
                words: args,
                wrapper: None,
                shell: false,
                entrypoint: true,
            })
        } else {
            follow(&args, true, known)
        };
        if let Launch::Server(server) = &mut launch
            && engine == Engine::Valkey
            && let Some(extra) = known.env.known()("VALKEY_EXTRA_FLAGS")
        {
            // The image's entrypoint appends it unquoted: split at blanks, nothing else.
            server.words.extend(extra.split_whitespace().map(str::to_owned));
        }
        launch
    }
}

// === impl ServerLaunch ===

impl ServerLaunch {
    /// The configuration file: the first argument, unless it is an option.
    pub fn config_file(&self) -> Option<&str> {
        self.words.first().map(String::as_str).filter(|w| !w.starts_with('-'))
    }

    /// The last value given to an option on the command line, its words joined by blanks.
    pub fn option(&self, name: &str) -> Option<String> {
        let directives = words::options(&self.words).ok()?;
        let last = directives.iter().rev().find(|d| d.name.eq_ignore_ascii_case(name))?;
        Some(last.values.join(" "))
    }

    /// Whether it starts Sentinel, which is no data node.
    pub fn is_sentinel(&self) -> bool {
        self.words.iter().any(|w| w == "--sentinel")
    }
}

// === impl Engine ===

impl Engine {
    fn of_binary(word: &str) -> Option<Self> {
        match base(word) {
            "redis-server" => Some(Self::Redis),
            "valkey-server" => Some(Self::Valkey),
            _ => None,
        }
    }

    /// The engine by an image's name; a guess that only the entrypoint's default rests on.
    pub fn of_image(image: &str) -> Option<Self> {
        let path = image.split('@').next().unwrap_or(image).to_ascii_lowercase();
        let repository = path.rsplit('/').next().unwrap_or(&path);
        let name = repository.split(':').next().unwrap_or(repository);
        if name.contains("valkey") {
            Some(Self::Valkey)
        } else if name.contains("redis") && !name.contains("exporter") {
            Some(Self::Redis)
        } else {
            None
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "redis",
            Self::Valkey => "valkey",
        })
    }
}

fn follow(words: &[String], entrypoint: bool, known: Known<'_>) -> Launch {
    let Some(first) = words.first() else { return Launch::Other };
    let shell = is_shell(first);
    // Not the words behind the script: a password may be among them, and this goes to logs.
    let opaque = || {
        let end = words.iter().position(|w| w.ends_with(".sh")).unwrap_or(usize::from(shell));
        let shown: Vec<_> = words.iter().take(end + 1).map(String::as_str).collect();
        Launch::Opaque { why: format!("`{}` decides by itself what it starts", shown.join(" ")) }
    };
    if shell && let Some((script, rest)) = script_of(words) {
        let arguments = rest.get(1..).unwrap_or_default();
        return script::follow(script, arguments, known).unwrap_or_else(|e| script::unread(&e));
    }
    if is_tool(first) {
        return Launch::Other;
    }
    let named = named(words);
    let read = script::file(words, known.files);
    if let Some((path, script, arguments)) = &read {
        match script::follow(script, arguments, known) {
            Ok(Launch::Server(found)) => {
                let wrapper = Some((*path).to_owned());
                return Launch::Server(ServerLaunch { wrapper, shell, entrypoint, ..found });
            }
            Ok(Launch::Other) if named.is_none() => return opaque(),
            Ok(Launch::Other) => {
                let why = format!("`{path}` does not start the server that is named behind it");
                return Launch::Opaque { why };
            }
            Ok(opaque) => return opaque,
            // It is beyond reading, but it does hand over to what stands behind it.
            Err(_) if named.is_some() && script.contains("\"$@\"") => {}
            Err(e) => return script::unread(&e),
        }
    }
    match named {
        Some((at, engine)) => {
            let wrapper =
                words[..at].iter().find(|w| !w.starts_with('-') && !is_shell_or_init(w)).cloned();
            server(ServerLaunch {
                engine,
                words: words[at + 1..].to_vec(),
                wrapper,
                shell,
                entrypoint,
            })
        }
        None if words.iter().any(|w| w.ends_with(".sh")) || (shell && words.len() > 1) => opaque(),
        None => Launch::Other,
    }
}

/// Where a server is named. A wrapper hands over to the words behind it (`exec "$@"`): what is
/// named there runs. A word behind an option is its value, such as a host of that name; `tini -g`
/// has none.
fn named(words: &[String]) -> Option<(usize, Engine)> {
    let first = words.first()?;
    let runs = |at: usize| {
        let before = at.checked_sub(1).and_then(|i| words.get(i)).map_or("", String::as_str);
        !before.starts_with('-') || before == "--" || is_shell_or_init(first)
    };
    (0..words.len())
        .filter(|at| runs(*at))
        .find_map(|at| Some((at, Engine::of_binary(&words[at])?)))
}

fn server(launch: ServerLaunch) -> Launch {
    if launch.is_sentinel() { Launch::Other } else { Launch::Server(launch) }
}

/// A program's name without its folder.
fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn is_shell(word: &str) -> bool {
    matches!(base(word), "sh" | "bash" | "ash" | "dash")
}

/// Programs that only start what is named behind them.
fn is_shell_or_init(word: &str) -> bool {
    let init =
        matches!(base(word), "tini" | "dumb-init" | "env" | "exec" | "docker-entrypoint.sh" | "--");
    init || is_shell(word) || words::is_assignment(word)
}

/// Programs that come with the server and are none.
fn is_tool(word: &str) -> bool {
    let name = base(word);
    let tools = ["cli", "benchmark", "check-aof", "check-rdb", "sentinel"];
    ["redis-", "valkey-"]
        .iter()
        .filter_map(|engine| name.strip_prefix(engine))
        .any(|tool| tools.contains(&tool))
}

/// The images of Redis and Valkey themselves, also in a mirror: what they set in the environment
/// no start command uses.
fn is_official(image: &str) -> bool {
    let path = image.split('@').next().unwrap_or(image);
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.split(':').next().unwrap_or(name);
    matches!(name, "redis" | "valkey") && !has_own_scripts(image)
}

/// Images by vendors whose own scripts write a configuration from the environment.
fn has_own_scripts(image: &str) -> bool {
    let path = image.to_ascii_lowercase();
    let name = path.rsplit('/').next().unwrap_or(&path);
    path.split('/').any(|part| part.starts_with("bitnami")) || name.contains("stack")
}

/// The text behind `-c` (also `-ec`, `-xc`, ...), and what follows it.
fn script_of(words: &[String]) -> Option<(&str, &[String])> {
    let flag = words.iter().skip(1).position(|w| {
        w.starts_with('-') && !w.starts_with("--") && w.ends_with('c') && w.len() <= 6
    })?;
    let (script, rest) = words.get(flag + 2..)?.split_first()?;
    Some((script, rest))
}

#[cfg(test)]
mod tests;
