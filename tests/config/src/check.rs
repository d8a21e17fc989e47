//! What Mooring reads against what a server says of itself.

use std::path::{Component, Path, PathBuf};

use cluster::resp::Reply;
use cluster::server::{Save, Secret, ServerConfig};

use crate::generate::Case;
use crate::server::{Client, Program, Running, Start};
use crate::tree::{Disk, Tree};

/// How a comparison came out where both agree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Agreed {
    /// The server runs with these values.
    Runs,
    /// The server stops, and so says Mooring.
    Refused,
}

/// Reads a configuration, starts a server with it, and compares the two.
///
/// # Errors
/// Where they differ, or the comparison could not be made: one text with all that is needed to see
/// why.
pub fn compare(program: &Program, case: &Case) -> Result<Agreed, String> {
    loop {
        let tree = Tree::new()?;
        let words = case.lay_out(program, &tree)?;
        let read = ServerConfig::read(&words, &tree.workdir, &Disk);
        let told = |why: String| {
            let files: Vec<_> = ["main.conf", "d/0.conf", "d/1.conf", "d/2.conf"]
                .iter()
                .map(|name| (name, std::fs::read_to_string(tree.conf(name)).unwrap_or_default()))
                .collect();
            format!("{program:?}\n{words:?}\n{files:#?}\n{read:#?}\n{why}")
        };
        match (program.start(&words, &tree.workdir, &tree.folder.path)?, &read) {
            // Somebody else took the port in the meantime.
            (Start::Refused(log), _) if log.contains("Address already in use") => {}
            (Start::Up(running), Ok(config)) => {
                let differences = differences(&running, config, program).map_err(&told)?;
                if differences.is_empty() {
                    return Ok(Agreed::Runs);
                }
                return Err(told(differences.join("\n")));
            }
            (Start::Refused(_), Err(_)) => return Ok(Agreed::Refused),
            (Start::Refused(log), Ok(_)) => return Err(told(format!("the server stops:\n{log}"))),
            (Start::Up(_), Err(e)) => return Err(told(format!("the server runs, but: {e}"))),
        }
    }
}

/// In what a server differs from what was read, after a log-in with what was read.
fn differences(
    running: &Running,
    config: &ServerConfig,
    program: &Program,
) -> Result<Vec<String>, String> {
    let mut client = running.client().map_err(|e| e.to_string())?;
    let shut = config.warnings.iter().any(|w| w.starts_with("no password is written out"));
    for credential in &config.credentials {
        let Secret(password) = &credential.password;
        let user = credential.user.as_deref();
        let words = ["AUTH"].into_iter().chain(user).chain([password.as_str()]);
        if let Reply::Simple(_) = client.ask(&words.collect::<Vec<_>>())? {
            break;
        }
    }
    let mut out = Vec::new();
    match (client.ask(&["PING"])?, shut) {
        (Reply::Simple(_), false) => {}
        (Reply::Error(e), true) if e.starts_with("NOAUTH") => return Ok(out),
        (reply, _) => {
            return Ok(vec![format!("PING: {reply:?} with {} ways in", config.credentials.len())]);
        }
    }
    if config.cluster_enabled && !config.nodes_conf.is_file() {
        out.push(format!("there is no {}", config.nodes_conf.display()));
    }
    let dir = config.dir.as_path();
    let points = |points: &[(u64, u64)]| {
        let points: Vec<_> = points.iter().map(|(s, c)| format!("{s} {c}")).collect();
        Some(points.join(" "))
    };
    // Earlier versions differ in how points add up.
    let save = match &config.save {
        _ if !program.since(7, 0) => None,
        Save::Unsaid => points(&[(3600, 1), (300, 100), (60, 10_000)]),
        Save::Points(given) => points(given),
    };
    let port = |port: Option<u16>| Some(port.unwrap_or(0).to_string());
    let flag = |on: bool| Some(if on { "yes" } else { "no" }.to_owned());
    let text = |text: &Option<String>| Some(text.clone().unwrap_or_default());
    let secret = |secret: &Option<Secret>| Some(secret.clone().map_or(String::new(), |s| s.0));
    let path = |path: &Path| Some(path.display().to_string());
    let expected = [
        ("port", port(config.port)),
        ("tls-port", port(config.tls_port)),
        ("tls-cluster", flag(config.tls_cluster)),
        ("tls-replication", flag(config.tls.replication)),
        ("tls-cert-file", config.tls.certificate.as_deref().and_then(path)),
        ("tls-key-file", config.tls.key.as_deref().and_then(path)),
        ("tls-ca-cert-file", config.tls.authorities.as_deref().and_then(path)),
        ("cluster-enabled", flag(config.cluster_enabled)),
        ("dir", path(dir)),
        ("cluster-config-file", path(&config.nodes_conf)),
        ("cluster-announce-ip", text(&config.announce_ip)),
        ("cluster-announce-hostname", text(&config.announce_hostname)),
        ("cluster-announce-port", port(config.announced.tcp)),
        ("cluster-announce-tls-port", port(config.announced.tls)),
        ("cluster-announce-bus-port", port(config.announced.bus)),
        ("masterauth", secret(&config.master_auth)),
        ("masteruser", text(&config.master_user)),
        ("cluster-node-timeout", Some(config.node_timeout_ms.to_string())),
        ("appendonly", flag(config.append_only)),
        ("save", save),
        ("dbfilename", Some(config.rdb_file.clone())),
        ("appendfilename", Some(config.aof_file.clone())),
        ("appenddirname", Some(config.aof_dir.clone())),
    ];
    for (name, expected) in expected {
        let Some(expected) = expected else { continue };
        let Some(mut value) = get(&mut client, name)? else { continue };
        if name == "cluster-config-file" || name.ends_with("-file") {
            value = normal(&dir.join(value)).display().to_string();
        }
        if value != expected {
            out.push(format!("{name}: the server has `{value}`, Mooring read `{expected}`"));
        }
    }
    if config.cluster_enabled && !config.tls_cluster {
        out.extend(bus(&mut client, config)?);
    }
    Ok(out)
}

/// The bus port, which a member tells of itself where no other is announced.
fn bus(client: &mut Client, config: &ServerConfig) -> Result<Option<String>, String> {
    let nodes = client.ask(&["CLUSTER", "NODES"])?.text().unwrap_or_default();
    let announced = nodes.split('@').nth(1).unwrap_or_default();
    let number: String = announced.chars().take_while(char::is_ascii_digit).collect();
    let expected = config.ports().bus.to_string();
    Ok((number != expected).then(|| format!("the bus is at `{number}`, Mooring read `{expected}`")))
}

/// A setting; `None` where this version has none of that name.
fn get(client: &mut Client, name: &str) -> Result<Option<String>, String> {
    match client.ask(&["CONFIG", "GET", name])? {
        Reply::Array(Some(pair)) => Ok(pair.get(1).and_then(Reply::text)),
        reply => Err(format!("CONFIG GET {name}: {reply:?}")),
    }
}

fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
