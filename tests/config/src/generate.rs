//! Configurations as people write them, and some that no server takes.
//!
//! Guarantees: what is made differs in order, quoting, repetition, includes, and in what stands in
//! files and what on the command line; only directives are used that the server's version knows.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::fault::Fault;
use crate::server::Program;
use crate::tree::{DEPTH, Tree};

/// A configuration before it is written down: paths and ports are filled in then.
#[derive(Clone, Debug)]
pub struct Case {
    /// The lines of the main file; `None` where there is none.
    pub main: Option<Vec<Line>>,
    /// The lines of the files that the main file and the options may include.
    pub parts: Vec<Vec<Line>>,
    /// The command line's options.
    pub options: Vec<Line>,
    /// Where users and passwords come from.
    pub users: Vec<Line>,
    /// Something that no server takes.
    pub fault: Option<Fault>,
}

/// One directive and how it is written.
#[derive(Clone, Debug)]
pub struct Line {
    name: &'static str,
    values: Vec<String>,
    style: Style,
}

#[derive(Clone, Copy, Debug)]
struct Style {
    quotes: u8,
    capitals: bool,
    indented: bool,
    crlf: bool,
    /// On the command line: name and values in one argument.
    together: bool,
}

// === impl Case ===

impl Case {
    /// Any configuration for a program.
    pub fn any(program: &Program) -> impl Strategy<Value = Self> + use<> {
        let line = line(program).boxed();
        let include = include(program);
        let anywhere = prop_oneof![8 => line.clone(), 2 => include];
        let fault = Fault::any(program);
        let main = proptest::option::weighted(0.85, vec(anywhere.clone().boxed(), 0..10));
        let parts = vec(vec(line, 0..4), 3);
        (main, parts, vec(anywhere, 0..6), users(program), fault).prop_map(
            |(main, parts, options, users, fault)| {
                let mut case = Self { main, parts, options, users, fault };
                case.limit_directories();
                case
            },
        )
    }

    /// Only as many changes of the directory as the tree is deep.
    fn limit_directories(&mut self) {
        let mut left = DEPTH;
        let lists = self.main.iter_mut().chain([&mut self.options]);
        for lines in lists {
            lines.retain(|line| {
                let relative = line.name == "dir";
                left = left.saturating_sub(usize::from(relative && left > 0));
                !relative || left > 0
            });
        }
        // Included any number of times.
        self.parts.iter_mut().for_each(|lines| lines.retain(|line| line.name != "dir"));
    }

    /// Writes the files, and returns the server's arguments.
    ///
    /// # Errors
    /// Where a file can not be written.
    pub fn lay_out(&self, program: &Program, tree: &Tree) -> Result<Vec<String>, String> {
        let write = |name: &str, lines: &[Line], end: bool| {
            let mut text: String = lines.iter().map(|line| line.in_file(tree)).collect();
            if !end {
                text.truncate(text.trim_end().len());
            }
            std::fs::write(tree.conf(name), text).map_err(|e| e.to_string())
        };
        for (i, lines) in self.parts.iter().enumerate() {
            // The last one ends within its line.
            write(&format!("d/{i}.conf"), lines, i < 2)?;
        }
        let base = base(program, tree);
        let mut words = Vec::new();
        let mut options = self.options.clone();
        if let Some(lines) = &self.main {
            let mut lines = [base, lines.clone(), self.users.clone()].concat();
            if let Some(Fault::Line(text)) = self.fault {
                lines.insert(lines.len() / 2, Line::raw(text));
            }
            write("main.conf", &lines, true)?;
            words.push(tree.conf("main.conf").display().to_string());
        } else {
            options = [base, self.users.clone(), options].concat();
            if let Some(Fault::Line(text)) = self.fault {
                options.push(Line::raw(text));
            }
        }
        words.extend(options.iter().flat_map(|line| line.as_options(program, tree)));
        if let Some(Fault::Arguments(more)) = self.fault {
            words.extend(more.iter().map(|w| (*w).to_owned()));
        }
        Ok(words)
    }
}

// === impl Line ===

impl Line {
    fn raw(text: &'static str) -> Self {
        let style =
            Style { quotes: 0, capitals: false, indented: false, crlf: false, together: true };
        Self { name: text, values: Vec::new(), style }
    }

    fn plain(name: &'static str, values: &[&str]) -> Self {
        Self { values: values.iter().map(|v| (*v).to_owned()).collect(), ..Self::raw(name) }
    }

    fn name(&self) -> String {
        if self.style.capitals { self.name.to_ascii_uppercase() } else { self.name.to_owned() }
    }

    fn values(&self, tree: &Tree) -> Vec<String> {
        self.values.iter().map(|value| fill_in(value, tree)).collect()
    }

    fn in_file(&self, tree: &Tree) -> String {
        let Style { quotes, indented, crlf, .. } = self.style;
        let values = self.values(tree);
        let words: Vec<_> = values.iter().map(|v| quoted(v, quotes)).collect();
        let (before, blank) = if indented { ("\t ", "  ") } else { ("", " ") };
        let end = if crlf { "\r\n" } else { "\n" };
        let line = [vec![self.name()], words].concat().join(blank);
        format!("{before}{line}{end}")
    }

    fn as_options(&self, program: &Program, tree: &Tree) -> Vec<String> {
        let values = self.values(tree);
        // Valkey 8.1 puts an argument in quotes as it is, and then reads what it did not escape.
        let bare = program.valkey && program.version == (8, 1);
        let escapes = bare && values.iter().any(|v| v.contains(['"', '\\']));
        // What begins like an option is one up to 6.2, and a value later; Mooring refuses it.
        let dashes = values.iter().any(|v| v.starts_with("--"));
        if self.style.together || escapes || dashes {
            let words = values.iter().map(|v| quoted(v, self.style.quotes));
            let line: Vec<_> = std::iter::once(self.name()).chain(words).collect();
            return vec![format!("--{}", line.join(" "))];
        }
        std::iter::once(format!("--{}", self.name())).chain(values).collect()
    }
}

/// What every configuration has, so that a server with TLS starts.
fn base(program: &Program, tree: &Tree) -> Vec<Line> {
    let mut out = vec![Line::plain("port", &["{p0}"])];
    if program.tls {
        let file = |name: &str| tree.workdir.join(name).display().to_string();
        for (name, value) in [
            ("tls-cert-file", file("tls.crt")),
            ("tls-key-file", file("tls.key")),
            ("tls-ca-cert-file", file("tls.crt")),
        ] {
            out.push(Line { values: vec![value], ..Line::raw(name) });
        }
    }
    out
}

/// A value in quotes: none where it can do without, double ones, single ones, or a mixture.
fn quoted(value: &str, style: u8) -> String {
    let plain =
        !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && !b"\"'\\".contains(&b));
    let one = |b: u8| match b {
        b'"' | b'\\' => format!("\\{}", b as char),
        b'\t' => "\\t".to_owned(),
        0x20..=0x7e if style != 3 || !b.is_multiple_of(3) => (b as char).to_string(),
        _ => format!("\\x{b:02x}"),
    };
    match style {
        0 if plain => value.to_owned(),
        // A quote may begin within a word.
        1 if plain && value.len() > 2 => format!("{}'{}'", &value[..1], &value[1..]),
        2 if value.is_ascii() && !value.contains('\\') => {
            format!("'{}'", value.replace('\'', "\\'"))
        }
        _ => format!("\"{}\"", value.bytes().map(one).collect::<String>()),
    }
}

/// Fills in ports and paths.
fn fill_in(value: &str, tree: &Tree) -> String {
    let mut out = value.to_owned();
    for (i, port) in tree.ports.iter().enumerate() {
        out = out.replace(&format!("{{p{i}}}"), &port.to_string());
    }
    let path = |path: &Path| path.display().to_string();
    out.replace("{work}", &path(&tree.workdir)).replace("{conf}", &path(&tree.conf("")))
}

fn style() -> impl Strategy<Value = Style> + Clone {
    (
        0u8..4,
        proptest::bool::weighted(0.2),
        any::<bool>(),
        proptest::bool::weighted(0.2),
        any::<bool>(),
    )
        .prop_map(|(quotes, capitals, indented, crlf, together)| Style {
            quotes,
            capitals,
            indented,
            crlf,
            together,
        })
}

/// A directive that the program knows, with values that it takes.
fn line(program: &Program) -> impl Strategy<Value = Line> + use<> {
    let flag = || select(&["yes", "no", "YES", "No"]).prop_map(one);
    let port = |name, none: bool| {
        let ports = if none { 0..5usize } else { 0..4 };
        (
            Just(name),
            ports.prop_map(|i| vec![if i == 4 { "0".into() } else { format!("{{p{i}}}") }]),
        )
    };
    // Of no folder's name.
    let word = || "w[a-z0-9-]{1,8}".prop_map(|w| vec![w]);
    let number = |from: u32, to: u32| (from..to).prop_map(|n| vec![n.to_string()]);
    let secret = || "[ -~\u{e9}\t]{0,12}".prop_map(|w| vec![w]);
    let mut files =
        vec!["n.conf", "n.conf", "sub/n.conf", "../n.conf", "./n2.conf", "{work}/n3.conf"];
    // Valkey refuses an empty name also where there is no cluster.
    if !program.valkey {
        files.push("");
    }
    let files = select(files);
    let dirs = select(&["sub", "..", ".", "./sub/", "sub/../sub", "{work}", "{work}/sub"]);
    let mut all = vec![
        port("port", true).boxed(),
        (Just("cluster-enabled"), flag()).boxed(),
        (Just("cluster-config-file"), files.prop_map(one)).boxed(),
        (Just("dir"), dirs.prop_map(one)).boxed(),
        (Just("cluster-announce-ip"), select(&["10.0.0.5", "fd00::5", ""]).prop_map(one)).boxed(),
        (Just("cluster-announce-port"), number(0, 60000)).boxed(),
        (Just("cluster-announce-bus-port"), number(0, 60000)).boxed(),
        (Just("masterauth"), secret()).boxed(),
        (Just("cluster-node-timeout"), number(500, 90_000)).boxed(),
        (Just("appendonly"), flag()).boxed(),
        (Just("dbfilename"), word()).boxed(),
        (Just("appendfilename"), word()).boxed(),
        (Just("save"), (1u32..999, 0u32..99).prop_map(|(s, c)| vec![s.to_string(), c.to_string()]))
            .boxed(),
        (Just("save"), Just(one(""))).boxed(),
        (Just("maxmemory"), Just(one("100mb"))).boxed(),
        (
            Just("client-output-buffer-limit"),
            Just(["normal", "0", "0", "0"].map(str::to_owned).into()),
        )
            .boxed(),
        (Just("# cluster-enabled"), secret()).boxed(),
    ];
    if program.since(6, 0) {
        all.push((Just("masteruser"), word()).boxed());
    }
    if program.since(6, 2) {
        all.push((Just("cluster-announce-tls-port"), number(0, 60000)).boxed());
    }
    if program.since(7, 0) {
        all.push((Just("cluster-port"), select(&["0", "{p5}", "{p6}"]).prop_map(one)).boxed());
        all.push((Just("appenddirname"), word()).boxed());
        all.push((Just("cluster-announce-hostname"), "[a-z.-]{0,9}".prop_map(|w| vec![w])).boxed());
        all.push((Just("save"), Just(one("30 4 5 6"))).boxed());
        all.push((Just("save"), Just(["7", "8", "9", "9"].map(str::to_owned).into())).boxed());
        all.push((Just("save"), Just(Vec::new())).boxed());
    }
    if program.valkey {
        all.push((Just("primaryauth"), secret()).boxed());
        all.push((Just("primaryuser"), word()).boxed());
    }
    if program.tls {
        all.push((Just("tls-port"), select(&["0", "{p4}"]).prop_map(one)).boxed());
        all.push((Just("tls-cluster"), flag()).boxed());
        all.push((Just("tls-replication"), flag()).boxed());
        all.push(
            (Just("tls-auth-clients"), select(&["yes", "no", "optional"]).prop_map(one)).boxed(),
        );
        all.push((Just("tls-cert-file"), Just(one("tls.crt"))).boxed());
        all.push((Just("tls-key-file"), Just(one("./tls.key"))).boxed());
    }
    (proptest::strategy::Union::new(all), style()).prop_map(|((name, values), style)| Line {
        name,
        values,
        style,
    })
}

/// An `include` in the main file or among the options.
fn include(program: &Program) -> BoxedStrategy<Line> {
    let mut targets = vec!["extra.conf", "./sub/extra.conf", "{conf}d/0.conf", "{conf}d/1.conf"];
    if program.since(7, 0) {
        targets.extend(["{conf}d/*.conf", "{conf}d/[02].conf", "{conf}d/?.none", "extra.c?nf"]);
    }
    (select(targets), style())
        .prop_map(|(target, style)| Line { name: "include", values: one(target), style })
        .boxed()
}

/// How one logs in: not at all, by a password, by users of the configuration or of a file.
fn users(program: &Program) -> BoxedStrategy<Vec<Line>> {
    let secret = || "[!-~]{1,8}";
    let required = ("[ -~]{0,9}", style())
        .prop_map(|(p, style)| vec![Line { name: "requirepass", values: vec![p], style }]);
    if !program.since(6, 0) {
        return prop_oneof![Just(Vec::new()), required].boxed();
    }
    let user = |rules: Vec<String>, style| Line {
        name: "user",
        values: [rules, vec!["~*".to_owned(), "+@all".to_owned()]].concat(),
        style: Style { together: false, ..style },
    };
    let default = (secret(), secret(), select(&["", "nopass", "resetpass", "off"]), style())
        .prop_map(move |(a, b, last, style)| {
            let rules = ["default", "on", &format!(">{a}"), &format!(">{b}"), last];
            vec![user(
                rules.iter().filter(|r| !r.is_empty()).map(|r| (*r).to_owned()).collect(),
                style,
            )]
        });
    let other = (secret(), style(), default.clone()).prop_map(move |(a, style, default)| {
        let rules = ["keeper".to_owned(), "on".to_owned(), format!(">{a}")];
        [default, vec![user(rules.into(), style)]].concat()
    });
    let of_file = (style(), required.clone()).prop_map(|(style, required)| {
        [vec![Line { name: "aclfile", values: one("users.acl"), style }], required].concat()
    });
    prop_oneof![Just(Vec::new()), required, default, other, of_file].boxed()
}

fn one(value: &str) -> Vec<String> {
    vec![value.to_owned()]
}
