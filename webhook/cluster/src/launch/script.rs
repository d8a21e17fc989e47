//! A container whose shell script starts the server.
//!
//! Guarantees: a script is followed only if its last command starts the server, whatever happened
//! before, and if nothing before it can change what that command means: the directory it runs in,
//! its variables, or the configuration file, which is read before the script runs.

use super::{Engine, Launch, ServerLaunch, base, is_shell_or_init, server};
use crate::launch::Env;
use crate::server::words::{self, ShellCommand};

/// Commands that only look, or make folders and rights.
const HARMLESS: &[&str] = &[
    ":", "[", "[[", "cat", "chmod", "chown", "echo", "grep", "head", "ls", "mkdir", "printf",
    "set", "sleep", "stat", "tail", "test", "wc",
];

/// What a script starts.
pub(super) fn follow(script: &str, env: Env<'_>) -> Launch {
    if !script.contains("redis-server") && !script.contains("valkey-server") {
        return Launch::Other;
    }
    let opaque = |why: &str| Launch::Opaque { why: format!("the shell script {why}") };
    let commands = match words::shell_commands(script, env) {
        Ok(commands) => commands,
        Err(e) => return opaque(&format!("can not be read as plain commands ({e})")),
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
    let Some(engine) = Engine::of_binary(&command.words[at]) else { return Launch::Other };
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
    server(launch)
}

/// Why what follows a command may mean something else than it says.
fn obstacle(command: &ShellCommand, config: Option<&str>) -> Option<String> {
    let name = base(command.words.first().map_or("", String::as_str));
    if matches!(name, "cd" | "pushd" | "popd") {
        return Some("changes its directory before it starts the server".to_owned());
    }
    if matches!(name, "." | "source" | "eval" | "read" | "unset" | "alias" | "trap") {
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
