//! `step post-start`: once the server runs. Holds the pod un-Ready until the member is in its
//! cluster, so that a rolling restart takes the next pod only then.
//!
//! Guarantees: it ends in time, whatever happens, and never fails on its own account, since
//! a failing hook kills the container. It holds nothing up while another member is missing: then
//! there is no rolling restart to hold up, and waiting could be for ever. A replica with data whose
//! master has no pod that runs is the exception: it may have to take over ([`crate::succeed`]).

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cluster::protocol::{Report, ServerSeen, View};
use cluster::server::ServerConfig;
use cluster::upkeep::Health;

use crate::disk::age;
use crate::guard::{self, Left};
use crate::hook::{self, Arguments};
use crate::join;
use crate::redis::{Client, field};
use crate::registry::Registry;
use crate::secret;
use crate::settings::{self, Settings};
use crate::succeed::{self, Told};

const PAUSE: Duration = Duration::from_millis(100);

/// Runs the user's hook, then the gate.
pub(crate) fn run(user: &Arguments) -> Result<(), String> {
    // A hook of the user's may take its time, and until the secret is set nobody copies this server.
    let beside = *user != Arguments::default();
    if beside {
        guard::later();
    }
    user.run()?;
    let left = gate().unwrap_or_else(|why| {
        eprintln!("mooring: post-start: {why}");
        Left::Something
    });
    if left == Left::Something && !beside {
        guard::later();
    }
    Ok(())
}

fn gate() -> Result<Left, String> {
    let deadline = Instant::now() + settings::seconds("MOORING_READY_TIMEOUT", 30);
    let settings = Settings::from_tools()?;
    let config = settings.container.server_config()?;
    let registry = Registry::new(&settings, settings.hook_token.clone())?;
    let mut server = wait_for_server(&config, deadline, || {
        let report = Report::normal("Loading", "the server runs and is loading its data");
        if let Err(e) = registry.report(&report) {
            eprintln!("mooring: post-start: {e}");
        }
    })?;
    let (look, looked) = secret::look(&mut server, &config, deadline);
    let settle = |server: &mut Client| {
        let newest = || registry.view().ok().and_then(|view| view.secret);
        let kept = settings.secret.as_ref();
        if let Err(why) = secret::settle(server, &config, kept, look, newest) {
            eprintln!("mooring: post-start: {why}");
        }
    };
    settle(&mut server);
    age::set_aside(&config);
    let pod = std::env::var("POD_NAME").unwrap_or_default();
    compare(&mut server, &config, &registry, looked.as_ref().or(settings.report.as_ref()));
    if guard::standing(&mut server)?.is_guest() {
        let view = registry.view().map_err(|e| e.to_string())?;
        join::leave_mark(&mut server, &config, &view)?;
        let report = match join::join(&mut server, &config, &view, deadline) {
            Ok(Some((me, master))) => Report {
                node_id: Some(me),
                ..Report::normal("Joined", &format!("joined as a replica of {master}"))
            },
            Ok(None) => Report::warning("NotJoined", "no other member runs that could be met"),
            Err(why) => Report::warning("NotJoined", &why),
        };
        registry.report(&report).map_err(|e| e.to_string())?;
        settle(&mut server);
    }
    succeed::run(&mut server, &config, &registry, deadline, &mut Told::default());
    hold(&mut server, &registry, &pod, deadline)?;
    Ok(match guard::standing(&mut server)?.is_settled() {
        true => Left::Nothing,
        false => Left::Something,
    })
}

/// Until the member is in its cluster, as long as all others run.
fn hold(
    server: &mut Client,
    registry: &Registry,
    pod: &str,
    deadline: Instant,
) -> Result<(), String> {
    let mut nudged = None;
    loop {
        let health = guard::health(server)?;
        if health.is_in_cluster() {
            return Ok(());
        }
        let view = registry.view().map_err(|e| e.to_string())?;
        if !all_others_run(&view, pod) {
            return Ok(());
        }
        if nudged.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(2)) {
            nudged = Some(Instant::now());
            let standing = guard::standing(server)?;
            guard::redial(server, &standing)?;
        }
        if Instant::now() >= deadline {
            let Health { ok, link } = health;
            return Err(format!(
                "the member is not in its cluster yet: its state is {}, its link {link:?}",
                if ok { "ok" } else { "fail" }
            ));
        }
        // The server is asked often, the registry seldom.
        for _ in 0..5 {
            thread::sleep(PAUSE);
            if guard::health(server)?.is_in_cluster() {
                return Ok(());
            }
        }
    }
}

/// Waits until the server answers. That it is loading its data is told once: then somebody can see
/// why it takes its time. Probes are not held up by this: kubelets start them when the hook has
/// ended, and it ends at the deadline.
fn wait_for_server(
    config: &ServerConfig,
    deadline: Instant,
    tell_loading: impl FnOnce(),
) -> Result<Client, String> {
    let mut tell_loading = Some(tell_loading);
    loop {
        let answer = hook::local(config, Duration::from_secs(1))
            .and_then(|mut server| server.text(&["PING"]).map(|_| server));
        match answer {
            Ok(server) => return Ok(server),
            Err(why) if hook::is_for_good(&why) => return Err(why),
            Err(why) if Instant::now() >= deadline => {
                return Err(if is_loading(&why) {
                    format!("the server is still loading its data: {why}")
                } else {
                    format!("the server does not answer: {why}")
                });
            }
            Err(why) => {
                if is_loading(&why)
                    && let Some(tell) = tell_loading.take()
                {
                    tell();
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn is_loading(why: &str) -> bool {
    why.contains("LOADING")
}

/// Compares what the step read with what the server says, and tells the registry both: a repair
/// of a file that the server does not read is worse than none.
fn compare(
    server: &mut Client,
    config: &ServerConfig,
    registry: &Registry,
    decided: Option<&Report>,
) {
    let info = server.text(&["INFO", "server"]).unwrap_or_default();
    let valkey = field(&info, "valkey_version");
    let mut option = |name: &str| match server.ask(&["CONFIG", "GET", name]) {
        Ok(cluster::resp::Reply::Array(Some(pair))) => pair.get(1).and_then(|v| v.text()),
        _ => None,
    };
    let dir = option("dir");
    let file = option("cluster-config-file");
    let seen = ServerSeen {
        engine: if valkey.is_some() { "valkey" } else { "redis" }.to_owned(),
        version: valkey.or(field(&info, "redis_version")).unwrap_or_default().to_owned(),
        dir: dir.clone().unwrap_or_default(),
    };
    let real = dir.zip(file).map(|(dir, file)| Path::new(&dir).join(file));
    let report = real.and_then(|real| wrong_file(&config.nodes_conf, &real)).unwrap_or_else(|| {
        let runs = format!("{} {} runs", seen.engine, seen.version);
        match decided {
            Some(r) => Report { message: format!("{}; {runs}", r.message), ..r.clone() },
            None => Report::normal("Started", &runs),
        }
    });
    if let Err(e) = registry.report(&Report { server: Some(seen), ..report }) {
        eprintln!("mooring: post-start: {e}");
    }
}

/// The difference between the file that the step repaired and the server's own.
fn wrong_file(repaired: &Path, real: &Path) -> Option<Report> {
    (repaired != real).then(|| {
        Report::warning(
            "WrongFile",
            &format!(
                "the step repairs {}, but the server keeps its cluster in {}: set the annotation \
                 mooring.dev/dir to the server's directory",
                repaired.display(),
                real.display()
            ),
        )
    })
}

fn all_others_run(view: &View, pod: &str) -> bool {
    let others = view.pods.iter().filter(|(name, _)| *name != pod);
    let running = others.filter(|(_, p)| p.running && !p.deleting).count();
    u32::try_from(running + 1).is_ok_and(|n| n >= view.replicas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn a_server_that_loads_is_waited_for_within_the_bound_and_told_once() {
        let at = fake::server(|_| "-LOADING Redis is loading the dataset in memory\r\n".to_owned());
        let began = Instant::now();
        let mut told = 0;
        let end =
            wait_for_server(&fake::config(at), began + Duration::from_millis(300), || told += 1);
        assert!(end.is_err_and(|why| why.contains("still loading its data")));
        assert_eq!(told, 1);
        assert!(began.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_file_that_the_server_does_not_read_is_reported() {
        let file = Path::new("/data/nodes.conf");
        assert_eq!(wrong_file(file, file), None);
        let report = wrong_file(file, Path::new("/work/nodes.conf")).unwrap();
        assert_eq!(report.reason, "WrongFile");
        assert!(report.message.contains("in /work/nodes.conf: set the annotation mooring.dev/dir"));
    }
}
