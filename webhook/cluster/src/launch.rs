//! How a container starts its server: what `command`, `args` and the image's entrypoint come to.
//!
//! Guarantees: a container counts as a server only when its start command ends in `redis-server`
//! or `valkey-server`; names, images and positions of containers decide nothing. What can not be
//! followed (a shell that starts the server in the background, a script alone) is said to be
//! [`Launch::Opaque`], never guessed.

use std::fmt;

use crate::server::words;

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

/// Looks a variable of the container's environment up.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

// === impl Container ===

impl Container<'_> {
    /// What it starts, with shell variables left as they are (the environment is not known).
    pub fn launch(&self) -> Launch {
        self.launch_with(&|_| None)
    }

    /// What it starts, with `$(NAME)` expanded as the kubelet does and `$NAME` as a shell does.
    pub fn launch_with(&self, env: Env<'_>) -> Launch {
        let expand = |words: &[String]| -> Vec<String> {
            words.iter().map(|w| expand_kubelet(w, env)).collect()
        };
        let args = self.args.map(expand).unwrap_or_default();
        match self.command.filter(|c| !c.is_empty()) {
            Some(command) => {
                let mut all = expand(command);
                all.extend(args);
                follow(&all, false, env)
            }
            None => self.behind_entrypoint(args, env),
        }
    }

    /// The official images' entrypoint puts the server in front of options and of a file name
    /// that ends in `.conf`, and runs everything else as it is.
    fn behind_entrypoint(&self, args: Vec<String>, env: Env<'_>) -> Launch {
        let Some(engine) = Engine::of_image(self.image) else {
            return if args.is_empty() { Launch::Other } else { follow(&args, true, env) };
        };
        let in_front = args.first().is_none_or(|a| a.starts_with('-') || a.ends_with(".conf"));
        let mut launch = if in_front {
            Launch::Server(ServerLaunch {
                engine,
                words: args,
                wrapper: None,
                shell: false,
                entrypoint: true,
            })
        } else {
            follow(&args, true, env)
        };
        if let Launch::Server(server) = &mut launch
            && engine == Engine::Valkey
            && let Some(extra) = env("VALKEY_EXTRA_FLAGS")
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
        match word.rsplit('/').next().unwrap_or(word) {
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

/// Expands `$(NAME)` as the kubelet does in `command`, `args` and `env`: `$$` is a `$`, and what
/// is not defined stays as it is (`third_party/forked/golang/expansion`).
pub fn expand_kubelet(text: &str, env: Env<'_>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) =
            after.strip_prefix('(').and_then(|inner| inner.split_once(')'))
        {
            match env(name) {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

fn follow(words: &[String], entrypoint: bool, env: Env<'_>) -> Launch {
    let Some(first) = words.first() else { return Launch::Other };
    let shell = matches!(first.rsplit('/').next(), Some("sh" | "bash" | "ash" | "dash"));
    if shell && let Some(script) = script_of(words) {
        return follow_script(script, env);
    }
    // A wrapper script hands over to the words behind it (`exec "$@"`): what is named there runs.
    match words.iter().position(|w| Engine::of_binary(w).is_some()) {
        Some(at) => {
            let Some(engine) = Engine::of_binary(&words[at]) else { return Launch::Other };
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
        None if words.iter().any(|w| w.ends_with(".sh")) => Launch::Opaque {
            why: format!("`{}` decides by itself what it starts", words.join(" ")),
        },
        None => Launch::Other,
    }
}

fn server(launch: ServerLaunch) -> Launch {
    if launch.is_sentinel() { Launch::Other } else { Launch::Server(launch) }
}

fn is_shell_or_init(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    matches!(
        name,
        "sh" | "bash"
            | "ash"
            | "dash"
            | "tini"
            | "dumb-init"
            | "env"
            | "exec"
            | "docker-entrypoint.sh"
    )
}

/// The text behind `-c` (also `-ec`, `-xc`, ...).
fn script_of(words: &[String]) -> Option<&str> {
    let flag = words.iter().skip(1).position(|w| {
        w.starts_with('-') && !w.starts_with("--") && w.ends_with('c') && w.len() <= 6
    })?;
    words.get(flag + 2).map(String::as_str)
}

fn follow_script(script: &str, env: Env<'_>) -> Launch {
    let mentions = script.contains("redis-server") || script.contains("valkey-server");
    if !mentions {
        return Launch::Other;
    }
    let opaque = |why: &str| Launch::Opaque { why: format!("the shell script {why}") };
    let Ok(commands) = words::shell_commands(script, env) else {
        return opaque("can not be read as plain commands");
    };
    let starts: Vec<_> = commands
        .iter()
        .enumerate()
        .filter_map(|(i, c)| {
            let at = c.words.iter().position(|w| Engine::of_binary(w).is_some())?;
            let lead = c.words[..at].iter().all(|w| is_shell_or_init(w) || w.ends_with(".sh"));
            lead.then_some((i, at))
        })
        .collect();
    match starts.as_slice() {
        [] => opaque("mentions a server but does not start it as a plain command"),
        [(i, at)] if commands[*i].background => {
            let _ = at;
            opaque("starts the server in the background and goes on")
        }
        [(i, _)] if *i + 1 != commands.len() => {
            opaque("goes on after the command that starts the server")
        }
        [(i, at)] => {
            let command = &commands[*i].words;
            let Some(engine) = Engine::of_binary(&command[*at]) else { return Launch::Other };
            server(ServerLaunch {
                engine,
                words: command[at + 1..].to_vec(),
                wrapper: command[..*at].iter().find(|w| !is_shell_or_init(w)).cloned(),
                shell: true,
                entrypoint: false,
            })
        }
        _ => opaque("starts a server in more than one place"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn launch(command: &[&str], args: &[&str], image: &str) -> Launch {
        let own = |w: &[&str]| w.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let (command, args) = (own(command), own(args));
        Container {
            command: (!command.is_empty()).then_some(&command[..]),
            args: (!args.is_empty()).then_some(&args[..]),
            image,
        }
        .launch_with(&|name| match name {
            "PASS" => Some("p w".to_owned()),
            "VALKEY_EXTRA_FLAGS" => Some("--port 7000".to_owned()),
            _ => None,
        })
    }

    #[rstest]
    #[case(&["redis-server", "/c/r.conf"], &[], "x", "/c/r.conf", None)]
    #[case(&["redis-server"], &["/c/r.conf", "--port", "7000"], "x", "/c/r.conf --port 7000", None)]
    #[case(&["/c/fix.sh", "redis-server", "/c/r.conf"], &[], "x", "/c/r.conf", Some("/c/fix.sh"))]
    #[case(&["sh", "/c/fix.sh"], &["redis-server", "/c/r.conf"], "x", "/c/r.conf", Some("/c/fix.sh"))]
    #[case(&[], &["--port", "1"], "redis:7", "--port 1", None)]
    #[case(&[], &["/c/r.conf"], "reg.example/library/redis@sha256:0", "/c/r.conf", None)]
    #[case(&[], &["redis-server", "/c/r.conf"], "own/image", "/c/r.conf", None)]
    #[case(&[], &["valkey-server", "/c/r.conf"], "valkey/valkey:8", "/c/r.conf --port 7000", None)]
    #[case(&["sh", "-c", "exec redis-server /c/r.conf --requirepass \"$PASS\""], &[], "x",
           "/c/r.conf --requirepass p w", None)]
    #[case(&["sh", "-c"], &["cp /a /b && redis-server /b"], "x", "/b", None)]
    #[case(&["redis-server"], &["--requirepass", "$(PASS)", "$(NONE)", "$$(PASS)"], "x",
           "--requirepass p w $(NONE) $(PASS)", None)]
    fn servers(
        #[case] command: &[&str],
        #[case] args: &[&str],
        #[case] image: &str,
        #[case] words: &str,
        #[case] wrapper: Option<&str>,
    ) {
        let Launch::Server(server) = launch(command, args, image) else {
            panic!("{:?}", launch(command, args, image));
        };
        assert_eq!(server.words.join(" "), words);
        assert_eq!(server.wrapper.as_deref(), wrapper);
    }

    #[rstest]
    #[case(&["sh", "-c", "redis-server /c & sleep 5; redis-cli --cluster create"], &[])]
    #[case(&["sh", "-c", "redis-server /c\nredis-cli ping"], &[])]
    #[case(&["/c/start.sh"], &[])]
    fn opaque(#[case] command: &[&str], #[case] args: &[&str]) {
        assert!(matches!(launch(command, args, "redis"), Launch::Opaque { .. }));
    }

    #[rstest]
    #[case(&["redis-server", "/c", "--sentinel"], &[], "redis")]
    #[case(&["redis_exporter"], &[], "x")]
    #[case(&[], &[], "oliver006/redis_exporter")]
    #[case(&["sh", "-c", "sleep 1"], &[], "redis")]
    fn others(#[case] command: &[&str], #[case] args: &[&str], #[case] image: &str) {
        assert_eq!(launch(command, args, image), Launch::Other);
    }

    #[test]
    fn options_on_the_command_line_are_read_as_the_server_does() {
        let words = ["--cluster-enabled", "yes", "--port 7000", "--CLUSTER-enabled", "no"];
        let Launch::Server(server) = launch(&["redis-server"], &words, "x") else { panic!() };
        assert_eq!(server.option("cluster-enabled").as_deref(), Some("no"));
        assert_eq!(server.option("port").as_deref(), Some("7000"));
        assert_eq!(server.option("dir"), None);
        assert_eq!(server.config_file(), None);
    }
}
