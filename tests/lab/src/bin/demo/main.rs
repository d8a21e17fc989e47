//! `demo`: the main job, once, for real, on a test Kubernetes of its own or on the user's cluster.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use lexopt::prelude::*;
use mooring_lab::clock;
use mooring_lab::ground::{Engine, Ground};
use mooring_lab::probe::Probe;
use mooring_lab::report::{Report, Rule};
use mooring_lab::scenario;
use mooring_lab::set::{How, Kind, Policy, Set};
use mooring_lab::stage::{self, Teller};

use rows::{after_last_start, judge, outage_rows, sentence};

mod rows;

const USAGE: &str = "usage: demo [--instance NAME] [--as-is | --shell | --down]";
/// The control is looked at this long after the loss of its pods: restarted masters take writes for
/// about one node timeout before they notice that they are alone.
const CONTROL: Duration = Duration::from_secs(25);

/// Plain pods are ready by then, or something is wrong.
const READY: Duration = Duration::from_secs(180);

/// All that is played with.
struct Stage<'a> {
    /// Labelled from the start.
    main: Set<'a>,
    /// Made by hand, then labelled.
    adopt: Set<'a>,
    /// Made by hand, never labelled.
    control: Set<'a>,
    /// Single servers.
    floor: Set<'a>,
    tell: &'a Teller,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let mut instance = "demo".to_owned();
    let (mut as_is, mut shell, mut down) = (false, false, false);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("instance") => instance = args.value()?.string()?,
            Long("as-is") => as_is = true,
            Long("shell") => shell = true,
            Long("down") => down = true,
            Short('h') | Long("help") => {
                println!("{USAGE}");
                return Ok(true);
            }
            _ => bail!("{}; {USAGE}", arg.unexpected()),
        }
    }
    let mut ground = Ground::find(&instance)?;
    if down {
        return take_down(&ground);
    }
    if shell {
        let Some(instance) = &ground.instance else { bail!("use your own kubectl") };
        let exec = ground.root.join("tests/kube/exec");
        return Err(anyhow!(Command::new(exec).args([instance, "bash"]).exec()));
    }
    let tell = Teller::new();
    if as_is {
        ground.learn_servers()?;
    } else {
        stage::bring(&mut ground, &[Engine::Redis70], &tell)?;
    }
    let mut report = Report::new("demo");
    let outcome = Stage::set(&ground, &tell, as_is).and_then(|stage| play(&stage, &mut report));
    report.seconds("run.seconds", "the whole run", tell.seconds(), Rule::Within(180.0));
    let path = report.write(&ground.root)?;
    println!("\n{}\n{} has the same.", report.table(), path.display());
    outcome?;
    look_around(&ground);
    let failures = report.failures();
    if !failures.is_empty() {
        println!("\nNot as it should be: {}", failures.join(", "));
    }
    Ok(failures.is_empty())
}

// === impl Stage ===

impl<'a> Stage<'a> {
    /// Applies the pods of the floor, which need no Mooring, and installs it meanwhile.
    fn set(ground: &'a Ground, tell: &'a Teller, as_is: bool) -> Result<Self> {
        let set = |namespace, policy| Set::new(ground, namespace, Engine::Redis70, policy);
        let stage = Self {
            main: set("demo", Policy::Parallel),
            adopt: set("demo-adopt", Policy::Parallel).of_kind(Kind::Plain),
            control: set("demo-control", Policy::Parallel).of_kind(Kind::Plain),
            floor: set("demo-floor", Policy::Parallel).of_kind(Kind::Floor),
            tell,
        };
        for set in [&stage.floor, &stage.main, &stage.adopt, &stage.control] {
            set.prepare()?;
        }
        stage.floor.apply()?;
        if as_is {
            stage::wait_for_mooring(ground)?
        } else {
            stage::install(ground, tell)?
        }
        Ok(stage)
    }
}

/// What is not measured is done beside: while a set that is back has to prove that it stays so, what
/// comes later is made.
fn play(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    let Stage { main, adopt, control, floor, tell } = stage;
    let floor = measure_floor(floor, report, tell)?;

    let probe = Probe::start(main)?;
    tell.say("a cluster client waits in the namespace; a labelled StatefulSet of six is applied");
    formation(main, &probe, report, tell, || {
        [adopt, control].into_iter().try_for_each(|set| set.apply().map(drop))?;
        [adopt, control].into_iter().try_for_each(|set| set.wait_ready(READY).map(drop))
    })?;

    // Deletion by force, sets in order, and other engines are cases of `e2e`: this run is to take
    // 3 minutes.
    let what = "all six pods deleted";
    let starts = main.ground.clock_of_starts();
    let mut by_hand = Err(anyhow!("they were not made"));
    let outage = scenario::lose_beside(main, &probe, None, How::Graceful, || {
        by_hand = thread::scope(|scope| {
            let other = scope.spawn(|| plain_cluster(control));
            let one = plain_cluster(adopt);
            Ok((one?, other.join().map_err(|_| anyhow!("a thread broke"))??))
        });
        Ok(())
    })
    .context(what)?;
    outage_rows(report, "outage", what, starts, &outage, floor);
    tell.say(&sentence(what, &outage));
    let (adopted, controlled) = by_hand?;

    one_pod(main, &probe, report, tell)?;
    probe.pause()?;
    tell.say("two plain clusters were made with redis-cli --cluster create; one is labelled now, one stays as it is");
    adoption((adopt, &adopted), (control, &controlled), report, tell)?;

    let what = "all pods of the adopted set deleted";
    let outage = scenario::lose(adopt, &adopted, None, How::Graceful).context(what)?;
    outage_rows(report, "adopt.outage", what, starts, &outage, floor);
    tell.say(&sentence(what, &outage));
    adopted.pause()
}

/// How fast six pods are ready again, with an init container that does nothing and servers that form
/// no cluster; in seconds.
fn measure_floor(set: &Set<'_>, report: &mut Report, tell: &Teller) -> Result<f64> {
    set.wait_ready(READY)?;
    tell.say("six plain pods are ready: how fast can pods be?");
    let seconds = scenario::floor(set, How::Graceful)?;
    // Gone before anything else is timed.
    set.vanish()?;
    let what = "floor: six plain pods deleted, Ready again";
    report.seconds("floor.seconds", what, seconds, Rule::Told);
    tell.say(&format!("the floor: six plain pods deleted and Ready again in {seconds:.1} s"));
    Ok(seconds)
}

/// A labelled StatefulSet becomes a cluster.
fn formation(
    set: &Set<'_>,
    probe: &Probe<'_>,
    report: &mut Report,
    tell: &Teller,
    beside: impl FnOnce() -> Result<()> + Send,
) -> Result<()> {
    let formed = scenario::form_beside(set, probe, beside).context("formation")?;
    report.seconds(
        "formation.seconds",
        "kubectl apply to all slots writable",
        formed.seconds,
        Rule::Told,
    );
    after_last_start(report, "formation", set.ground.clock_of_starts(), &formed);
    judge(report, "formation", "formation", &formed);
    report.count(
        "formation.slots",
        "slots that took a write",
        probe.sweep()?.written,
        Rule::Exactly(16384.0),
    );
    tell.say(&sentence("the cluster has formed by itself", &formed));
    Ok(())
}

/// A master's pod is deleted.
fn one_pod(set: &Set<'_>, probe: &Probe<'_>, report: &mut Report, tell: &Teller) -> Result<()> {
    let master = set.a_master()?;
    let pod = scenario::lose(set, probe, Some(&master), How::Graceful).context("one pod")?;
    report.seconds("pod.seconds", "one master's pod deleted, to writable", pod.seconds, Rule::Told);
    report.seconds(
        "pod.gap.seconds",
        "longest gap of a slot meanwhile",
        pod.longest_gap,
        Rule::Told,
    );
    judge(report, "pod", "one pod deleted", &pod);
    tell.say(&sentence(&format!("a master's pod deleted ({master})"), &pod));
    report.count(
        "acknowledged",
        "acknowledged writes behind these figures",
        pod.acknowledged,
        Rule::AtLeast(10_001.0),
    );
    Ok(())
}

/// A cluster made without Mooring, and a client that writes to it.
fn plain_cluster<'a>(set: &'a Set<'_>) -> Result<Probe<'a>> {
    set.create_by_hand()?;
    let probe = Probe::start(set)?;
    let status = probe.wait_calm(clock::now(), Duration::from_secs(2), Duration::from_secs(30))?;
    if !status.recovered(2_000_000) {
        let name = &set.namespace;
        bail!("{name} is no cluster after redis-cli --cluster create: {}", status.last_error);
    }
    Ok(probe)
}

/// A running cluster is labelled; meanwhile the control loses its pods.
fn adoption(
    (set, probe): (&Set<'_>, &Probe<'_>),
    (control, control_probe): (&Set<'_>, &Probe<'_>),
    report: &mut Report,
    tell: &Teller,
) -> Result<()> {
    let before = set.topology()?;
    let begin = clock::now();
    let (rolled, controlled) = thread::scope(|scope| {
        let controlled = scope.spawn(|| scenario::control(control, control_probe, CONTROL));
        let rolled = roll(set, probe);
        (rolled, controlled.join())
    });
    let controlled =
        controlled.map_err(|_| anyhow!("the control's thread broke"))?.context("control")?;
    report.count(
        "control.recovered",
        "the same without Mooring recovers (1) or stays broken (0)",
        u64::from(controlled),
        Rule::Exactly(0.0),
    );
    tell.say(if controlled {
        "the control recovered, which it should not"
    } else {
        "the control, all six pods deleted: broken for good"
    });
    rolled.context("adoption")?;
    let status = probe.wait_calm(begin, Duration::from_secs(3), scenario::LIMIT)?;
    let verified = probe.verify()?;
    let after = set.topology()?;
    let injected = set.pods()?;
    let injected = injected.values().filter(|pod| !pod.init_containers.is_empty()).count() as u64;
    let gap = clock::micros(status.gaps.longest);
    report.seconds(
        "adopt.seconds",
        "adoption: label to last pod Ready",
        clock::now().since(begin),
        Rule::Told,
    );
    report.seconds("adopt.gap.seconds", "longest gap of a slot meanwhile", gap, Rule::Told);
    report.count(
        "adopt.injected",
        "pods that Mooring has taken over",
        injected,
        Rule::Exactly(6.0),
    );
    report.count(
        "adopt.ids-gone",
        "node ids that changed",
        before.ids_gone(&after) as u64,
        Rule::Exactly(0.0),
    );
    report.count(
        "adopt.shards-changed",
        "shards whose slots or members changed",
        before.shards_changed(&after) as u64,
        Rule::Exactly(0.0),
    );
    report.count("adopt.lost", "acknowledged writes lost", verified.lost, Rule::Exactly(0.0));
    tell.say(&format!(
        "adopted by one kubectl label: {injected} of 6 pods rolled in {:.1} s, longest gap {gap:.2} s, {} of {} \
         writes lost",
        clock::now().since(begin),
        verified.lost,
        verified.acknowledged
    ));
    Ok(())
}

/// Labels the set and waits until all pods are rolled.
fn roll(set: &Set<'_>, probe: &Probe<'_>) -> Result<()> {
    let before = set.pods()?;
    let watch = set.watch()?;
    set.label()?;
    let limit = Duration::from_secs(180);
    watch.wait(before.len(), limit, |now| {
        let same = before.get(&now.name).is_some_and(|old| old.uid == now.uid);
        now.ready && !now.deleting && !same
    })?;
    let status = probe.wait_calm(clock::now(), Duration::from_secs(1), scenario::LIMIT)?;
    if !status.recovered(1_000_000) {
        bail!("some slots take no writes after the roll: {}", status.last_error);
    }
    Ok(())
}

fn look_around(ground: &Ground) {
    if ground.instance.is_some() {
        println!(
            "\nLook around:  make demo-shell    a shell with kubectl: kubectl get pods -A, kubectl get clusterrecords -A\n\
             Take it down: make demo-down"
        );
    } else {
        println!(
            "\nLook around:  kubectl get pods -n demo; kubectl get clusterrecords -A\n\
             Take it down: kubectl delete namespace -l mooring-lab; kubectl delete -k manifests/base"
        );
    }
}

fn take_down(ground: &Ground) -> Result<bool> {
    let Some(instance) = &ground.instance else {
        let delete = ["delete", "namespace", "-l", "mooring-lab", "--ignore-not-found"];
        print!("{}", ground.kubectl.run(&delete)?);
        return Ok(true);
    };
    print!("{}", ground.script("tests/kube/down", &[instance])?);
    Ok(true)
}
