//! The network of a version's run: a bridge in a namespace of its own, and one namespace for each
//! node on it.
//!
//! Guarantees: no default route anywhere, so nothing leaves; the names carry this process's id and
//! a number, so two networks do not meet, of one process or of two; what was made is taken down when
//! the value is dropped, and what a killed run left is taken down by the next one.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Output};

/// Namespaces begin with this, then the id of the process that made them, and a number.
const PREFIX: &str = "mooring-engines-";

/// The namespaces of one run.
pub(crate) struct Ground {
    id: String,
    nodes: u8,
}

// === impl Ground ===

impl Ground {
    /// Makes the nth of this process.
    pub(crate) fn make(number: usize, nodes: u8) -> Result<Self, String> {
        sweep();
        let ground = Self { id: format!("{}-{number}", std::process::id()), nodes };
        let hub = hub(&ground.id);
        run(&["ip", "netns", "add", &hub])?;
        let inside = |ns: &str, words: &[&str]| run(&[&["ip", "-n", ns], words].concat());
        inside(&hub, &["link", "set", "lo", "up"])?;
        inside(&hub, &["link", "add", "bridge", "type", "bridge"])?;
        inside(&hub, &["addr", "add", "10.99.0.1/24", "dev", "bridge"])?;
        inside(&hub, &["link", "set", "bridge", "up"])?;
        for n in 0..nodes {
            let ns = node(&ground.id, n);
            let (port, address) = (format!("node{n}"), format!("{}/24", address(n)));
            run(&["ip", "netns", "add", &ns])?;
            inside(&ns, &["link", "set", "lo", "up"])?;
            // Made inside: the names of devices are this run's own, too.
            let peer = ["link", "add", &port, "type", "veth", "peer", "name", "eth0"];
            inside(&hub, &[&peer[..], &["netns", &ns]].concat())?;
            inside(&hub, &["link", "set", &port, "master", "bridge", "up"])?;
            inside(&ns, &["addr", "add", &address, "dev", "eth0"])?;
            inside(&ns, &["link", "set", "eth0", "up"])?;
        }
        Ok(ground)
    }

    /// A command that runs in the namespace of the bridge.
    pub(crate) fn hub_command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &hub(&self.id)]).arg(program);
        command
    }

    /// This run's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for n in 0..self.nodes {
            remove(&node(&self.id, n));
        }
        remove(&hub(&self.id));
    }
}

/// The address of the nth node's namespace.
pub(crate) fn address(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 99, 0, 11 + n))
}

/// A command that runs in the nth node's namespace. The program takes the place of `ip` in the
/// same process, so its id is the child's.
pub(crate) fn node_command(id: &str, n: u8, program: &Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &node(id, n)]).arg(program);
    command
}

/// Nothing goes from the nth node to another one, or goes again.
pub(crate) fn part(id: &str, n: u8, from: u8, parted: Parted) -> Result<(), String> {
    let word = match parted {
        Parted::Yes => "add",
        Parted::No => "del",
    };
    let to = format!("{}/32", address(from));
    run(&["ip", "-n", &node(id, n), "route", word, "blackhole", &to])
}

/// Whether two nodes are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Parted {
    Yes,
    No,
}

fn hub(id: &str) -> String {
    format!("{PREFIX}{id}-hub")
}

fn node(id: &str, n: u8) -> String {
    format!("{PREFIX}{id}-{n}")
}

/// Ends whatever still runs in a namespace, and takes it down.
fn remove(ns: &str) {
    let pids = Command::new("ip").args(["netns", "pids", ns]).output();
    let pids = pids.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let own = std::process::id().to_string();
    for pid in pids.split_whitespace().filter(|pid| *pid != own) {
        let _ = Command::new("kill").args(["-KILL", pid]).output();
    }
    let _ = Command::new("ip").args(["netns", "del", ns]).output();
}

/// Takes the namespaces of runs down whose process is gone.
fn sweep() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.flatten().filter_map(|e| e.file_name().into_string().ok()) {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let pid = rest.split('-').next().unwrap_or_default();
        if !pid.is_empty() && !Path::new("/proc").join(pid).exists() {
            remove(&name);
        }
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    let said = |o: Output| String::from_utf8_lossy(&o.stderr).trim().to_owned();
    let (program, args) = words.split_first().ok_or("no command")?;
    match Command::new(program).args(args).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("`{}` fails: {}", words.join(" "), said(output))),
        Err(e) => Err(format!("`{program}` can not be run: {e}; it needs root and iproute2")),
    }
}
