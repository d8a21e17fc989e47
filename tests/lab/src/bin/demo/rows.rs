//! Rows of the report: what a recovery took and lost, and what it may.

use mooring_lab::report::{Report, Rule};
use mooring_lab::scenario::Recovery;

/// The engine needs 2.0 to 2.1 s from its start until it takes writes.
const AFTER_LAST_START: f64 = 2.3;
/// More than the same pods need without a cluster.
const ABOVE_FLOOR: f64 = 3.5;

/// What an outage took, against the floor, and whether the cluster is back.
pub(crate) fn outage_rows(
    report: &mut Report,
    id: &str,
    what: &str,
    starts: &str,
    outage: &Recovery,
    floor: f64,
) {
    let row = |name: &str| format!("{id}.{name}");
    report.seconds(
        &row("seconds"),
        &format!("{what}, to writable for good"),
        outage.seconds,
        Rule::Told,
    );
    let above = outage.seconds - floor;
    report.seconds(
        &row("minus-floor.seconds"),
        "more than the floor",
        above,
        Rule::Within(ABOVE_FLOOR),
    );
    after_last_start(report, id, starts, outage);
    if let Some(ready) = outage.ready {
        report.seconds(&row("ready.seconds"), "all pods Ready", ready, Rule::Told);
    }
    report.count(
        &row("moved"),
        "pods with another address",
        outage.moved as u64,
        Rule::Exactly(6.0),
    );
    judge(report, id, what, outage);
}

/// From the last server's start to writable, which is the engine's part.
pub(crate) fn after_last_start(report: &mut Report, id: &str, starts: &str, recovery: &Recovery) {
    if let Some(seconds) = recovery.after_last_start {
        let what = format!("last server start to writable ({starts})");
        report.seconds(
            &format!("{id}.after-last-start.seconds"),
            &what,
            seconds,
            Rule::Within(AFTER_LAST_START),
        );
    }
}

/// Recovered, and nothing lost.
pub(crate) fn judge(report: &mut Report, id: &str, what: &str, recovery: &Recovery) {
    let recovered = u64::from(recovery.recovered);
    report.count(
        &format!("{id}.recovered"),
        &format!("{what}: recovered"),
        recovered,
        Rule::Exactly(1.0),
    );
    report.count(
        &format!("{id}.lost"),
        "acknowledged writes lost",
        recovery.lost,
        Rule::Exactly(0.0),
    );
}

/// The same for people who watch.
pub(crate) fn sentence(what: &str, recovery: &Recovery) -> String {
    if !recovery.recovered {
        return format!(
            "{what}: NOT recovered after {:.0} s: {}",
            recovery.seconds, recovery.last_error
        );
    }
    let after = recovery
        .after_last_start
        .map_or_else(String::new, |s| format!(" ({s:.2} s after the last server's start)"));
    format!(
        "{what}: writable after {:.1} s{after}, {} of {} acknowledged writes lost",
        recovery.seconds, recovery.lost, recovery.acknowledged
    )
}
