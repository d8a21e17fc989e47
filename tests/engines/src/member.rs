//! A member: its disk, and its life as a pod, from the step's planner to a real server.
//!
//! Guarantees: this shell decides nothing; what the planner asks for is done on real files and
//! asked of real servers, and the server starts on the planner's word only. A server is ended by
//! SIGKILL, and with the member.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use cluster::nodes::Target;
use cluster::planner::{Action, Fact, HoldBack, Millis, PROBE_PATIENCE, Planner, Setup};
use cluster::protocol::Report;
use cluster::server::ServerConfig;

use crate::client::{self, Client};
use crate::registry::{Registry, SET};
use crate::{disk, ground};

mod door;

pub(crate) use door::Door;

/// Where a new member's server listens.
const PORT: u16 = 6379;
/// A planner that has not ended by then hangs.
const PLANNER_PATIENCE: Duration = Duration::from_secs(90);

/// A member of the set.
pub(crate) struct Member {
    /// Its pod's name.
    pub(crate) pod: String,
    /// Its disk.
    pub(crate) dir: PathBuf,
    /// Which namespace it runs in now.
    pub(crate) at: u8,
    /// Where its server listens from its next start on.
    pub(crate) port: u16,
    pub(crate) door: Door,
    pub(crate) keeps: Keeps,
    server: Option<Child>,
}

/// What a server writes to its disk, beside nodes.conf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keeps {
    /// A log of all that it was told.
    Log,
    /// Nothing, so that it is empty after every start.
    Nothing,
}

/// What all members have in common.
#[derive(Clone)]
pub(crate) struct Common {
    /// The run's id.
    pub(crate) id: String,
    /// What starts the server.
    pub(crate) program: PathBuf,
    /// What it is.
    pub(crate) target: Target,
    /// Where all register.
    pub(crate) registry: Arc<Registry>,
}

/// How a step ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What it reported, each with its reason and sentence.
    pub(crate) reports: Vec<(String, String)>,
    /// Of how many peers the file did not say the address when the server was started.
    pub(crate) unknown: usize,
    /// Why the server was not started.
    pub(crate) refused: Option<String>,
    /// When the server was started.
    pub(crate) started: Option<Instant>,
}

/// How a planner ends.
enum End {
    Start(Option<Report>),
    Refuse(String),
}

// === impl Member ===

impl Member {
    /// A member with an empty disk.
    pub(crate) fn new(home: &Path, n: u8) -> Result<Self, String> {
        let pod = format!("{SET}-{n}");
        let dir = home.join(&pod);
        fs::create_dir_all(&dir).map_err(|e| format!("{} can not be made: {e}", dir.display()))?;
        Ok(Self {
            pod,
            dir,
            at: n,
            port: PORT,
            door: Door::Locked,
            keeps: Keeps::Log,
            server: None,
        })
    }

    /// Where its server is.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(ground::address(self.at), self.port)
    }

    /// Its nodes.conf.
    pub(crate) fn nodes_conf(&self) -> PathBuf {
        self.dir.join("nodes.conf")
    }

    /// The end of what its server has said.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(self.dir.join("server.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        // What it failed on, before the pages of a crash report.
        let failed = log.lines().rev().find(|l| l.contains("# ==>") || l.contains("crashed by"));
        let last = log.lines().rev().take(3).collect::<Vec<_>>();
        let lines = failed.into_iter().chain(last.into_iter().rev().filter(|_| failed.is_none()));
        lines.map(str::trim).collect::<Vec<_>>().join(" | ")
    }

    /// SIGKILL, if it runs; the end is waited for.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Whether it has a server.
    pub(crate) fn is_there(&self) -> bool {
        self.server.is_some()
    }

    /// Sends its server a signal, if it has one.
    pub(crate) fn signal(&self, signal: &str) -> Result<(), String> {
        let Some(server) = &self.server else { return Ok(()) };
        let sent = Command::new("kill").args([signal, &server.id().to_string()]).status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("kill {signal}: {other:?}")),
        }
    }

    /// Whether its server has ended by itself.
    pub(crate) fn has_died(&mut self) -> bool {
        self.server.as_mut().is_some_and(|s| !matches!(s.try_wait(), Ok(None)))
    }

    /// Takes its data files away: what is left is nodes.conf and what Mooring wrote.
    pub(crate) fn lose_data(&self) -> Result<(), String> {
        for name in ["dump.rdb", "appendonly.aof", "appendonlydir"] {
            let path = self.dir.join(name);
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(format!("{} can not be removed: {e}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Empties its disk.
    pub(crate) fn wipe(&self) -> Result<(), String> {
        let again = || {
            fs::remove_dir_all(&self.dir)?;
            fs::create_dir_all(&self.dir)
        };
        again().map_err(|e| format!("{} can not be emptied: {e}", self.dir.display()))
    }

    /// What a pod does: the step, then the server, unless the step refuses.
    pub(crate) fn start(&mut self, common: &Common) -> Result<Outcome, String> {
        let words = self.words();
        let config = ServerConfig::read(&words, &self.dir, &disk::RealFiles);
        let config = config.map_err(|e| e.to_string())?;
        let step = Step { pod: self.pod.clone(), config, registry: common.registry.clone() };
        let (mut reports, end) = step.run(Setup {
            step: env!("CARGO_PKG_VERSION").to_owned(),
            namespace: step.registry.namespace().to_owned(),
            set: SET.to_owned(),
            ips: vec![ground::address(self.at)],
            config: Ok(step.config.clone()),
            target: common.target,
            hold_back: HoldBack::Forbidden,
        })?;
        let later = match end {
            End::Refuse(why) => {
                return Ok(Outcome { reports, unknown: 0, refused: Some(why), started: None });
            }
            End::Start(later) => later,
        };
        let unknown = disk::unknown(&step.config.nodes_conf)?;
        let started = self.launch(common)?;
        common.registry.pod_runs(&self.pod);
        if let Some(report) = later {
            common.registry.report(&self.pod, &report);
            reports.push((report.reason, report.message));
        }
        Ok(Outcome { reports, unknown, refused: None, started: Some(started) })
    }

    /// Its server, with the files as they are; when it was started.
    pub(crate) fn launch(&mut self, common: &Common) -> Result<Instant, String> {
        let log = File::options().create(true).append(true).open(self.dir.join("server.log"));
        let log = log.map_err(|e| format!("the server's log can not be written: {e}"))?;
        let again = log.try_clone().map_err(|e| e.to_string())?;
        let started = Instant::now();
        let server = ground::node_command(&common.id, self.at, &common.program)
            .args(self.words())
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(again)
            .spawn();
        self.server = Some(server.map_err(|e| format!("the server can not be started: {e}"))?);
        Ok(started)
    }

    /// Waits until its server answers, or has died.
    pub(crate) fn wait_for_answer(&mut self, patience: Duration) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let answer = Client::connect(self.address(), Duration::from_millis(500))
                .and_then(|mut client| client.text(&["PING"]));
            if answer.is_ok() {
                return Ok(());
            }
            if self.has_died() {
                let words = self.last_words();
                return Err(format!("the server of {} has ended by itself: {words}", self.pod));
            }
            if began.elapsed() > patience {
                return Err(format!("the server of {} does not answer: {answer:?}", self.pod));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn words(&self) -> Vec<String> {
        let dir = self.dir.to_string_lossy().into_owned();
        let port = self.port.to_string();
        let options = [
            ("--port", port.as_str()),
            ("--dir", dir.as_str()),
            ("--cluster-enabled", "yes"),
            ("--cluster-config-file", "nodes.conf"),
            ("--cluster-node-timeout", "5000"),
            ("--protected-mode", "no"),
            // Replicas stay in their shards.
            ("--cluster-migration-barrier", "9"),
            // By default a replica waits 5 s for others to come before it is given anything: that
            // is no part of what is measured, and six cases wait for their replicas.
            ("--repl-diskless-sync-delay", "0"),
        ];
        let keeps: &[_] = match self.keeps {
            Keeps::Log => &[("--appendonly", "yes")],
            Keeps::Nothing => &[("--appendonly", "no"), ("--save", "")],
        };
        let plain = options.into_iter().chain(keeps.iter().copied());
        let plain = plain.flat_map(|(name, value)| [name.to_owned(), value.to_owned()]);
        plain.chain(self.door.words()).collect()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One run of the step.
struct Step {
    pod: String,
    config: ServerConfig,
    registry: Arc<Registry>,
}

// === impl Step ===

impl Step {
    fn run(&self, setup: Setup) -> Result<(Vec<(String, String)>, End), String> {
        let began = Instant::now();
        let now = || Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let mut planner = Planner::new(setup);
        let (send, receive) = mpsc::channel();
        let mut reports = Vec::new();
        loop {
            if began.elapsed() > PLANNER_PATIENCE {
                let what = planner.waits_for().unwrap_or("nothing that it says");
                return Err(format!("the step of {} waits and waits, for {what}", self.pod));
            }
            let poll = planner.poll(now());
            if poll.actions.is_empty() {
                let wake = poll.wake.map_or(1000, |at| at.0.saturating_sub(now().0));
                match receive.recv_timeout(Duration::from_millis(wake.clamp(1, 1000))) {
                    Ok(fact) => planner.observe(now(), fact),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Err("no more facts".to_owned()),
                }
                continue;
            }
            for action in poll.actions {
                match action {
                    Action::Start(report) => return Ok((reports, End::Start(report))),
                    Action::Refuse(why) => return Ok((reports, End::Refuse(why))),
                    Action::Report(report) => {
                        self.registry.report(&self.pod, &report);
                        reports.push((report.reason, report.message));
                        let _ = send.send(Fact::Reported(Ok(())));
                    }
                    other => self.carry_out(other, &send)?,
                }
            }
        }
    }

    /// Carries an action out; what waits for the network runs in a thread of its own.
    fn carry_out(&self, action: Action, facts: &Sender<Fact>) -> Result<(), String> {
        let facts = facts.clone();
        let timeout = Duration::from_millis(PROBE_PATIENCE.0 - 50);
        match action {
            Action::ReadDisk => {
                let _ = facts.send(Fact::Disk(disk::look(&self.config)?));
            }
            Action::Write { nodes_conf, mark, .. } => {
                let written = disk::write(&self.config, &nodes_conf, mark.as_ref());
                let failed = written.is_err();
                let _ = facts.send(Fact::Written(written));
                if !failed {
                    disk::check_round_trip(&self.config.nodes_conf)?;
                }
            }
            Action::Register(body) => {
                let _ = facts.send(match self.registry.register(&self.pod, &body) {
                    Ok(view) => Fact::Registered(Box::new(view)),
                    Err(why) => Fact::RegistryFailed { why, retry: true },
                });
            }
            Action::Propose(proposal) => {
                let view = self.registry.propose(&self.pod, &proposal).map(Box::new);
                let _ = facts.send(Fact::Proposed(view));
            }
            Action::Inspect(at) => {
                thread::spawn(move || {
                    let answer = client::inspect(at, timeout);
                    let _ = facts.send(Fact::Inspected { at, answer });
                });
            }
            Action::Force { at, id, how } => {
                thread::spawn(move || {
                    let result = client::force(at, id, how);
                    let _ = facts.send(Fact::Forced { at, result });
                });
            }
            Action::Probe(at) => {
                thread::spawn(move || {
                    let answer = client::probe(at, timeout);
                    let _ = facts.send(Fact::Probed { at, answer });
                });
            }
            // The registry is always there, and there is no name service.
            Action::Resolve => {
                let _ = facts.send(Fact::Resolved(Vec::new()));
            }
            Action::Report(_) | Action::Refuse(_) | Action::Start(_) => {}
        }
        Ok(())
    }
}
