//! When a pod's server started.
//!
//! Guarantees: where the node is this machine, [`of_runtime`] reads the time at which its containerd
//! had started the container, to the microsecond; the API rounds it to seconds. Where that is not to
//! be had, [`of_process`] takes the start of the container's first process: earlier by what runc needs
//! to set up the container. On other machines [`of_log`] takes the time at which the node's runtime
//! read the first line of the container's log, or the API's start time.

use std::fs;

use crate::clock;
use crate::kubectl::Kubectl;
use crate::pods::Pod;
use crate::timeline::At;

/// Ticks of /proc/PID/stat in a second: USER_HZ, 100 on every architecture that Linux has left.
const TICKS: u64 = 100;

/// When containerd had started the container, by its log.
pub fn of_runtime(log: &str, container_id: &str) -> Option<At> {
    let said = format!("StartContainer for \\\"{container_id}\\\" returns successfully");
    let line = log.lines().rfind(|line| line.contains(&said))?;
    let (time, _) = line.strip_prefix("time=\"")?.split_once('"')?;
    clock::parse_rfc3339(time)
}

/// When the container's first process started, if it runs on this machine.
pub fn of_process(container_id: &str) -> Option<At> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let now = clock::now();
    let uptime = seconds(uptime.split(' ').next()?)?;
    let ticks = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|entry| {
            let cgroup = fs::read_to_string(entry.path().join("cgroup")).ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            cgroup.contains(container_id).then(|| started(&stat)).flatten()
        })
        .min()?;
    let age = uptime.checked_sub(ticks * (1_000_000 / TICKS))?;
    Some(At(now.0.saturating_sub(age)))
}

/// When the runtime read the first line of the container's log, or the API's start time.
pub fn of_log(kubectl: &Kubectl, namespace: &str, pod: &Pod) -> Option<At> {
    let args = ["logs", "-n", namespace, &pod.name, "-c", "redis", "--timestamps"];
    let log = kubectl.run(&[&args[..], &["--limit-bytes=200"]].concat()).unwrap_or_default();
    log.split(' ').next().and_then(clock::parse_rfc3339).or(pod.started_at)
}

/// Field 22 of /proc/PID/stat, counted after the name, which may hold anything.
fn started(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// `12.34` as microseconds.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let micros: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    Some(whole.parse::<u64>().ok()? * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_says_when() {
        let log = r#"
time="1970-01-01T00:00:01.5Z" level=info msg="StartContainer for \"abc\""
time="1970-01-01T00:00:02.25Z" level=info msg="StartContainer for \"abc\" returns successfully"
"#;
        assert_eq!(of_runtime(log, "abc"), Some(At(2_250_000)));
        assert_eq!(of_runtime(log, "abcd"), None);
    }

    #[test]
    fn fields_are_counted_after_the_name() {
        let stat = "42 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(started(stat), Some(4711));
        assert_eq!(started("42 (x"), None);
        assert_eq!(seconds("12.34"), Some(12_340_000));
    }

    #[test]
    fn this_process_started_before_now() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let uptime = seconds(uptime.split(' ').next().unwrap()).unwrap();
        assert!(started(&stat).unwrap() * (1_000_000 / TICKS) <= uptime);
    }
}
