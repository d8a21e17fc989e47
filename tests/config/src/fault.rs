//! Mistakes at which a server stops.
//!
//! Guarantees: only those at which the program's version does stop; earlier ones were more lenient.

use proptest::prelude::*;
use proptest::sample::select;

use crate::server::Program;

/// A mistake, and where it is made.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A line of the main file, or the last option.
    Line(&'static str),
    /// Arguments at the end.
    Arguments(&'static [&'static str]),
}

// === impl Fault ===

impl Fault {
    /// None, or one at which the program stops.
    pub fn any(program: &Program) -> impl Strategy<Value = Option<Self>> + use<> {
        prop_oneof![
            6 => Just(None),
            1 => select(lines(program)).prop_map(|l| Some(Self::Line(l))),
            1 => select(arguments(program)).prop_map(|a| Some(Self::Arguments(a))),
        ]
    }
}

fn lines(program: &Program) -> Vec<&'static str> {
    let mut all = vec![
        "port 7000 # a comment",
        "port 70000",
        "cluster-enabled maybe",
        "cluster-enabled",
        "requirepass \"open",
        "dir \"\"",
        "dbfilename a/b",
        "include /no/such/file.conf",
        "include a.conf b.conf",
        "port=7000",
    ];
    // Before that, a number ends where its digits do.
    if program.since(6, 0) {
        all.extend(["port seven", "port 07000", "cluster-node-timeout 5s"]);
    }
    if program.since(7, 0) {
        all.push("save 900");
    }
    // Valkey 9 goes on after the quote; Mooring refuses it for all.
    if !program.since(9, 0) {
        all.push("requirepass \"a\"b");
    }
    all
}

fn arguments(program: &Program) -> Vec<&'static [&'static str]> {
    let mut all: Vec<&[&str]> = vec![
        &["--port"],
        &["--port=7000"],
        &["--cluster-enabled", "--port", "7000"],
        &["--port", "7000", "/etc/redis.conf"],
        &["--masterauth", "a", "b"],
        &["--dir", ""],
        &["--requirepass 'a"],
    ];
    if program.since(6, 0) {
        all.push(&["--port", "seven"]);
    }
    all
}
