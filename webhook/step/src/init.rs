//! `step init`: before the server starts. Drives the planner; decides nothing.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use cluster::planner::{Action, Fact, HoldBack, Millis, PROBE_PATIENCE, Planner, Setup};
use cluster::server::ServerConfig;

use crate::registry::Registry;
use crate::settings::{self, Settings};
use crate::{address, disk, inspect, redis};

/// Runs it; an error is the sentence to show.
pub(crate) fn run() -> Result<(), String> {
    let began = Instant::now();
    let mut settings = Settings::from_env()?;
    install()?;
    let config = settings.container.server_config();
    let target = settings.container.target();
    for warning in config.iter().flat_map(|c| c.warnings_for(target)) {
        println!("mooring: {warning}");
    }
    let token = std::fs::read_to_string(settings::TOKEN)
        .map_err(|e| format!("the pod's token can not be read ({}): {e}", settings::TOKEN))?;
    let shell = Shell {
        registry: Registry::new(&settings, token.trim().to_owned())?,
        config: config.clone().ok(),
        service: settings.service_name(),
    };
    let mut planner = Planner::new(Setup {
        step: env!("CARGO_PKG_VERSION").to_owned(),
        namespace: settings.namespace.clone(),
        set: settings.set.clone(),
        ips: settings::pod_ips()?,
        config,
        target,
        hold_back: match std::env::var("MOORING_HOLD_BACK").as_deref() {
            Ok("allowed") => HoldBack::Allowed,
            _ => HoldBack::Forbidden,
        },
    });
    let (send, receive) = mpsc::channel();
    let now = || Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    let mut waited_for = None;
    let result = loop {
        let poll = planner.poll(now());
        if planner.waits_for() != waited_for.as_deref() {
            waited_for = planner.waits_for().map(str::to_owned);
            let what = waited_for.as_deref().unwrap_or_default();
            println!("mooring: {} ms: waiting for {what}", began.elapsed().as_millis());
        }
        if poll.actions.is_empty() {
            let wake = poll.wake.map_or(1000, |at| at.0.saturating_sub(now().0));
            match receive.recv_timeout(Duration::from_millis(wake.clamp(1, 60_000))) {
                Ok(fact) => planner.observe(now(), fact),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break Err("no more facts".to_owned()),
            }
            continue;
        }
        let mut end = None;
        for action in poll.actions {
            log(began, &action);
            match action {
                Action::Start(report) => end = Some(Ok(report)),
                Action::Refuse(why) => end = Some(Err(why)),
                other => shell.carry_out(other, &send),
            }
        }
        if let Some(end) = end {
            break end;
        }
    };
    match planner.view() {
        Some(view) => {
            settings.hook_token.clone_from(&view.hook_token);
            settings.secret.clone_from(&view.secret);
        }
        // An init container that runs again while the registry is away has what it left before.
        None => {
            if let Ok(before) = Settings::from_tools() {
                (settings.secret, settings.hook_token) = (before.secret, before.hook_token);
            }
            if settings.hook_token.is_empty() && result.is_ok() {
                println!(
                    "mooring: it starts without the registry, and its hooks will know nothing of the record: \
                     should the cluster not be whole when Mooring is back, delete this pod"
                );
            }
        }
    }
    settings.report = result?;
    settings.leave()?;
    println!("mooring: done after {} ms; the server starts", began.elapsed().as_millis());
    Ok(())
}

/// What actions are carried out with.
struct Shell {
    registry: Registry,
    config: Option<ServerConfig>,
    service: Option<String>,
}

// === impl Shell ===

impl Shell {
    /// Carries an action out; what it brings comes back as a fact. What waits for the network
    /// runs in a thread of its own, so that nothing waits for anything else.
    fn carry_out(&self, action: Action, facts: &Sender<Fact>) {
        let facts = facts.clone();
        let Some(config) = self.config.clone() else { return };
        let registry = self.registry.clone();
        match action {
            Action::ReadDisk => {
                let seen = disk::look(&config).unwrap_or_else(|why| {
                    // Unreadable is not empty: the planner has to see damage.
                    eprintln!("mooring: {why}");
                    cluster::planner::DiskSeen {
                        nodes_conf: Some(Vec::new()),
                        data: true,
                        files: true,
                        ..cluster::planner::DiskSeen::default()
                    }
                });
                for doubt in disk::doubts(&config) {
                    let _ = facts.send(Fact::Doubt(doubt));
                }
                let _ = facts.send(Fact::Disk(seen));
            }
            Action::Write { nodes_conf, mark, stays } => {
                let stays = Duration::from_millis(stays.0);
                let written = disk::write_nodes_conf(&config, &nodes_conf)
                    .and_then(|()| disk::stays(&config, &nodes_conf, stays))
                    .and_then(|()| mark.map_or(Ok(()), |mark| disk::write_mark(&config, &mark)));
                let _ = facts.send(Fact::Written(written.map_err(|e| e.to_string())));
            }
            Action::Inspect(at) => {
                thread::spawn(move || {
                    let timeout = Duration::from_millis(PROBE_PATIENCE.0 - 50);
                    let answer = inspect::inspect(at, &config.credentials, timeout);
                    let _ = facts.send(Fact::Inspected { at, answer });
                });
            }
            Action::Force { at, id, how } => {
                thread::spawn(move || {
                    let result = inspect::force(at, id, how, &config.credentials);
                    let _ = facts.send(Fact::Forced { at, result });
                });
            }
            Action::Propose(proposal) => {
                thread::spawn(move || {
                    let result = registry.propose(&proposal);
                    let result = result.map(Box::new).map_err(|e| e.why);
                    let _ = facts.send(Fact::Proposed(result));
                });
            }
            Action::Probe(at) => {
                thread::spawn(move || {
                    let timeout = Duration::from_millis(PROBE_PATIENCE.0 - 50);
                    let answer = redis::probe(at, &config.credentials, timeout);
                    let _ = facts.send(Fact::Probed { at, answer });
                });
            }
            Action::Register(body) => {
                thread::spawn(move || {
                    let _ = facts.send(match registry.register(&body) {
                        Ok(view) => Fact::Registered(Box::new(view)),
                        Err(e) => Fact::RegistryFailed { why: e.why, retry: e.retry },
                    });
                });
            }
            Action::Report(report) => {
                thread::spawn(move || {
                    let result = registry.report(&report).map_err(|e| e.to_string());
                    let _ = facts.send(Fact::Reported(result));
                });
            }
            Action::Resolve => {
                let service = self.service.clone();
                thread::spawn(move || {
                    let found = service
                        .map(|name| address::resolve(&name, Duration::from_millis(500)))
                        .unwrap_or_default();
                    let _ = facts.send(Fact::Resolved(found));
                });
            }
            Action::Refuse(_) | Action::Start(_) => {}
        }
    }
}

/// Puts this very binary where the hooks of the redis container find it.
fn install() -> Result<(), String> {
    let to = Path::new(settings::TOOLS).join("step");
    let copy = || {
        let bytes = std::fs::read("/proc/self/exe")?;
        disk::put(&to, &bytes, 0o755)
    };
    copy().map_err(|e| format!("{} can not be written: {e}", to.display()))
}

fn log(began: Instant, action: &Action) {
    let ms = began.elapsed().as_millis();
    match action {
        Action::ReadDisk => println!("mooring: {ms} ms: reading the disk"),
        Action::Register(_) => println!("mooring: {ms} ms: registering"),
        Action::Probe(at) => println!("mooring: {ms} ms: asking {at} for its node id"),
        Action::Resolve => println!("mooring: {ms} ms: looking the service's addresses up"),
        Action::Write { .. } => println!("mooring: {ms} ms: writing nodes.conf"),
        Action::Inspect(at) => println!("mooring: {ms} ms: asking {at} what it knows"),
        Action::Force { at, id, how } => {
            println!("mooring: {ms} ms: making {id} at {at} a master, by {how:?}");
        }
        Action::Propose(proposal) => println!("mooring: {ms} ms: proposing {proposal:?}"),
        Action::Report(r) => println!("mooring: {ms} ms: {}: {}", r.reason, r.message),
        Action::Start(Some(r)) => println!("mooring: {ms} ms: {}: {}", r.reason, r.message),
        Action::Refuse(_) | Action::Start(None) => {}
    }
}
