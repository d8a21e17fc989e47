//! A container whose shell script starts the server.
//!
//! Guarantees: a script is followed only if its last command starts the server, whatever happened
//! before, and if nothing before it can change what that command means: the directory it runs in,
//! its variables and arguments, or the configuration file, which is read before the script runs.

use std::path::Path;

use super::{Engine, Known, Launch, ServerLaunch, base, is_shell, is_shell_or_init, server};
use crate::server::Files;
use crate::server::words::{self, ShellCommand, WordsError};

/// Commands that only look, or make folders and rights.
const HARMLESS: &[&str] = &[
    ":", "[", "[[", "cat", "chmod", "chown", "echo", "grep", "head", "ls", "mkdir", "printf",
    "set", "sleep", "stat", "tail", "test", "wc",
];

/// More than any start script has.
const MAX_SCRIPT: usize = 64 << 10;

/// The script among words that start one (`sh -e /conf/start.sh ARGS`, `/conf/start.sh ARGS`): its
/// path, its text and its arguments.
pub(super) fn file<'a>(
    words: &'a [String],
    files: Option<&dyn Files>,
) -> Option<(&'a str, String, &'a [String])> {
    let mut at = 0;
    while words.get(at).is_some_and(|w| is_shell_or_init(w) || (at > 0 && w.starts_with('-'))) {
        at += 1;
    }
    let path = words.get(at).filter(|w| w.starts_with('/') && Engine::of_binary(w).is_none())?;
    let bytes = files?.read(Path::new(path), MAX_SCRIPT + 1).ok()?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_SCRIPT)?;
    let first = text.lines().next().unwrap_or_default();
    let by_a_shell =
        first.strip_prefix("#!").is_none_or(|program| program.split_whitespace().any(is_shell));
    by_a_shell.then_some((path.as_str(), text, &words[at + 1..]))
}

/// Why a script can not be read.
pub(super) fn unread(e: &WordsError) -> Launch {
    let why = match e {
        WordsError::Stops(_) => format!("the shell script starts no server: {e}"),
        _ => format!("the shell script can not be read as plain commands ({e})"),
    };
    Launch::Opaque { why }
}

/// What a script starts.
pub(super) fn follow(
    script: &str,
    arguments: &[String],
    known: Known<'_>,
) -> Result<Launch, WordsError> {
    let handed_over = arguments.iter().any(|a| Engine::of_binary(a).is_some());
    if !script.contains("redis-server") && !script.contains("valkey-server") && !handed_over {
        return Ok(Launch::Other);
    }
    let commands = words::shell_commands(script, &known.env, Some(arguments))?;
    let opaque = |why: &str| Ok(Launch::Opaque { why: format!("the shell script {why}") });
    let starts: Vec<_> = commands
        .iter()
        .enumerate()
        .filter_map(|(i, c)| {
            let at = c.words.iter().position(|w| Engine::of_binary(w).is_some())?;
            let lead = c.words[..at].iter().all(|w| is_shell_or_init(w) || w.ends_with(".sh"));
            lead.then_some((i, at))
        })
        .collect();
    let (i, at) = match starts.as_slice() {
        [] => return opaque("mentions a server but does not start it as a plain command"),
        [start] => *start,
        _ => return opaque("starts a server in more than one place"),
    };
    let (before, command, after) = (&commands[..i], &commands[i], &commands[i + 1..]);
    if command.background {
        return opaque("starts the server in the background and goes on");
    }
    if command.conditional {
        return opaque("starts the server under a condition");
    }
    if !after.is_empty() {
        return opaque("goes on after the command that starts the server");
    }
    let Some(engine) = Engine::of_binary(&command.words[at]) else { return Ok(Launch::Other) };
    if let Some(unknown) = command.unknown.first() {
        return opaque(&format!("depends on {unknown}, which only the running container knows"));
    }
    let launch = ServerLaunch {
        engine,
        words: command.words[at + 1..].to_vec(),
        wrapper: command.words[..at].iter().find(|w| !is_shell_or_init(w)).cloned(),
        shell: true,
        entrypoint: false,
    };
    if let Some(why) = before.iter().find_map(|c| obstacle(c, launch.config_file())) {
        return opaque(&why);
    }
    Ok(server(launch))
}

/// Why what follows a command may mean something else than it says.
fn obstacle(command: &ShellCommand, config: Option<&str>) -> Option<String> {
    let name = base(command.words.first().map_or("", String::as_str));
    if matches!(name, "cd" | "pushd" | "popd") {
        return Some("changes its directory before it starts the server".to_owned());
    }
    let sets_arguments = name == "set"
        && command.words.iter().skip(1).any(|w| w == "--" || !w.starts_with(['-', '+']));
    let decides = [".", "source", "eval", "read", "unset", "alias", "trap", "shift", "exit"];
    if decides.contains(&name) && !(name == "exit" && command.conditional) || sets_arguments {
        return Some(format!("uses `{name}`, so that what it starts is known when it runs only"));
    }
    let config = config?;
    let folder = config.rsplit_once('/').map_or("", |(folder, _)| folder);
    let of_config = |w: &String| {
        let path = w.strip_suffix("/.").unwrap_or(w).trim_end_matches('/');
        w == config || (!folder.is_empty() && path == folder)
    };
    let changes = !HARMLESS.contains(&name) && command.words.iter().any(of_config);
    (changes || command.writes.iter().any(of_config))
        .then(|| format!("makes {config} itself, before or after it was read"))
}
