//! Measures what reading and repairing the nodes.conf of a large cluster costs.
//!
//! `mooring-bench` prints a table and puts its rows into `out/core.json` of the folder it is
//! started in. Peak memory is that of a process that does nothing else: this one, started again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use bench::{Row, Rule, kib, record, table};
use cluster::id::NodeId;
use cluster::launch::Engine;
use cluster::net::{Address, Ports};
use cluster::nodes::{NodesConf, Target};

/// Nodes of the large cluster: 250 shards of a master and three replicas.
const NODES: u16 = 1000;
const SHARDS: u16 = 250;
/// How often everything is measured; the median counts.
const RUNS: usize = 101;
/// Schedules of the simulator.
const SCHEDULES: u64 = 2000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => measure(),
        ["child", what, file] => child(what, Path::new(file)).map(|()| true),
        _ => Err("usage: mooring-bench".to_owned()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("mooring-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<bool, String> {
    let mut rows = Vec::new();
    let peers = peers();
    for (prefix, slots, spread) in [
        ("", "", Spread::Ranges),
        (".scattered", ", every slot a range of its own", Spread::Scattered),
    ] {
        let text = large(spread);
        let row = |id: &str, what: &str, value: f64, unit, rule| Row {
            id: format!("{id}.{NODES}{prefix}.{}", if unit == "KiB" { "peak_kib" } else { unit }),
            what: format!("{what} {NODES} nodes{slots}"),
            value: (value * 1000.0).round() / 1000.0,
            unit,
            rule,
        };
        let parse = median(|| drop(black_box(NodesConf::parse(black_box(text.as_bytes())))));
        rows.push(row("parse", "read the file of", parse, "ms", Rule::Told));
        let repair = median(|| drop(black_box(repaired(black_box(text.as_bytes()), &peers))));
        rows.push(row("repair", "read, repair and write that of", repair, "ms", Rule::Told));
        let peak = peak(&text, "repair")?;
        rows.push(row("repair", "memory of that for", peak, "KiB", Rule::Told));
        let conf = NodesConf::parse(repaired(text.as_bytes(), &peers)?.as_bytes());
        let moved = conf.map_err(|e| e.to_string())?;
        let moved = moved.nodes().filter(|n| n.endpoint.host.starts_with("10.201.")).count();
        rows.push(Row {
            id: format!("repair.{NODES}{prefix}.moved"),
            what: format!("addresses set{slots}"),
            value: moved as f64,
            unit: "",
            rule: Rule::Exactly(f64::from(NODES)),
        });
    }
    rows.extend(size_of_step());
    rows.push(simulated());
    rows.push(Row {
        id: "repair.0.peak_kib".to_owned(),
        what: "memory of a process that repairs nothing".to_owned(),
        value: peak("", "nothing")?,
        unit: "KiB",
        rule: Rule::Told,
    });
    print!("{}", table(&rows));
    let path = record(Path::new("."), "core", &rows)?;
    println!("  in {}", path.display());
    Ok(!rows.iter().any(Row::fails))
}

/// The median of many runs, in milliseconds; the first one, which warms up, is not counted.
fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    times[RUNS / 2]
}

/// How many simulated clusters a second go through their accidents, on all processors.
fn simulated() -> Row {
    let soaked = sim::soak::soak(sim::soak::Asked::schedules(0, SCHEDULES), |_| ());
    Row {
        id: "simulator.schedules_per_second".to_owned(),
        what: "simulated schedules a second".to_owned(),
        value: soaked.rate().round(),
        unit: "",
        rule: Rule::Told,
    }
}

// --- the work ---

fn id(n: u16) -> String {
    format!("{n:04x}").repeat(10)
}

fn address(n: u16) -> Address {
    let [high, low] = n.to_be_bytes();
    Address { ip: [10, 201, high, low].into(), ports: Ports::plain(6379) }
}

#[derive(Clone, Copy)]
enum Spread {
    /// One range for each master, as after a first start.
    Ranges,
    /// No two neighbours with one master, as after many reshardings.
    Scattered,
}

/// A file of Redis 7.2: all nodes at old addresses, some flagged as failing.
fn large(spread: Spread) -> String {
    let mut text = String::new();
    for n in 0..NODES {
        let shard = n % SHARDS;
        let [high, low] = n.to_be_bytes();
        let role = match (n, n < SHARDS) {
            (0, _) => "myself,master -".to_owned(),
            (_, true) => "master -".to_owned(),
            (_, false) if n % 7 == 0 => format!("slave,fail {}", id(shard)),
            (_, false) => format!("slave {}", id(shard)),
        };
        let _ = write!(
            text,
            "{} 10.200.{high}.{low}:6379@16379,,tls-port=0,shard-id={} {role} 0 1700000000000 {} \
             connected",
            id(n),
            id(shard),
            shard + 1,
        );
        match spread {
            _ if n >= SHARDS => {}
            Spread::Ranges => {
                let at = |shard: u16| u32::from(shard) * 16384 / u32::from(SHARDS);
                let _ = write!(text, " {}-{}", at(n), at(n + 1) - 1);
            }
            Spread::Scattered => {
                for slot in (n..16384).step_by(usize::from(SHARDS)) {
                    let _ = write!(text, " {slot}");
                }
            }
        }
        text.push('\n');
    }
    let _ = writeln!(text, "vars currentEpoch {SHARDS} lastVoteEpoch 0");
    text
}

fn peers() -> BTreeMap<NodeId, Address> {
    (1..NODES).filter_map(|n| Some((id(n).parse().ok()?, address(n)))).collect()
}

/// What a step does with the bytes of a file, and the text that it writes.
fn repaired(bytes: &[u8], peers: &BTreeMap<NodeId, Address>) -> Result<String, String> {
    let mut conf = NodesConf::parse(bytes).map_err(|e| e.to_string())?;
    conf.repair(address(0), peers);
    conf.adapt(Target::parse(Engine::Redis, "8.2"));
    Ok(conf.to_string())
}

// --- the process that does nothing else ---

/// The most memory that a process of its own ever had, in KiB.
fn peak(text: &str, what: &str) -> Result<f64, String> {
    let file = std::env::temp_dir().join(format!("mooring-bench-{}.conf", std::process::id()));
    let failed = |e: std::io::Error| format!("the process that is measured: {e}");
    std::fs::write(&file, text).map_err(failed)?;
    let own: PathBuf = std::env::current_exe().map_err(failed)?;
    let output = Command::new(own).arg("child").arg(what).arg(&file).output().map_err(failed)?;
    std::fs::remove_file(&file).map_err(failed)?;
    let told = String::from_utf8_lossy(&output.stdout);
    told.trim().parse().map_err(|_| {
        format!("the process that is measured: {}", String::from_utf8_lossy(&output.stderr))
    })
}

/// The size of the static binary that every pod gets, where it has been built.
fn size_of_step() -> Option<Row> {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let size = Path::new(&target).join(triple).join("step/step").metadata().ok()?.len();
    Some(Row {
        id: "step.kib".to_owned(),
        what: "the step, a static binary".to_owned(),
        value: (size as f64 / 1024.0).round(),
        unit: "KiB",
        rule: Rule::Told,
    })
}

fn child(what: &str, file: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{e}");
    if what == "repair" {
        black_box(repaired(&std::fs::read(file).map_err(failed)?, &peers())?);
    }
    let status = std::fs::read_to_string("/proc/self/status").map_err(failed)?;
    println!("{}", kib(&status, "VmHWM:").ok_or("the kernel tells no peak of memory")?);
    Ok(())
}
