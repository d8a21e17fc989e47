//! Reading directives in their order, as `loadServerConfigFromString` (`config.c`) does.
//!
//! Guarantees: directives are taken in the server's order, and refused with their place
//! ([`super::raw`]). Reading ends.

use std::path::{Path, PathBuf};

use super::acl::Users;
use super::persist::Save;
use super::raw::Raw;
use super::values::one;
use super::words::{self, Directive};
use super::{ConfigError, Files, MAX_DEPTH, MAX_FILE, MAX_FILES, ServerConfig};

const COMMAND_LINE: &str = "command line";

/// How many bytes the server reads of a line at once (`CONFIG_READ_LEN`).
const READ_AT_ONCE: usize = 1024;

/// How far the configuration has been read.
pub(super) struct Reader<'a> {
    files: &'a dyn Files,
    raw: Raw,
    opened: usize,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(files: &'a dyn Files, workdir: &Path, save: Save) -> Self {
        Self { files, raw: Raw::at(workdir, save), opened: 0 }
    }

    /// Reads a file, or all files that match where it is a pattern; none is none (since 7.0).
    pub(super) fn files(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        if depth > MAX_DEPTH {
            return Err(ConfigError::TooLarge);
        }
        // The server joins all that match into one text: a last line without its end goes on in
        // the next file.
        let mut text = String::new();
        let mut begins: Vec<(usize, PathBuf)> = Vec::new();
        let paths = if is_pattern(path) {
            self.raw.patterns.push(path.display().to_string());
            self.files.glob(path)
        } else {
            vec![path.to_owned()]
        };
        for path in paths {
            begins.push((text.matches('\n').count() + 1, path.clone()));
            text.push_str(&self.text(&path)?);
        }
        for (number, directive) in words::lines(&text) {
            let begin = begins.iter().rev().find(|(first, _)| *first <= number);
            let (first, path) = begin.map_or((1, path), |(first, path)| (*first, path.as_path()));
            let (place, line) = (path.display().to_string(), number - first + 1);
            let failed = |why: String| ConfigError::Line { place: place.clone(), line, why };
            let directive = directive.map_err(|e| failed(e.to_string()))?;
            self.directive(&directive, &place, line, depth)?;
        }
        Ok(())
    }

    fn text(&mut self, path: &Path) -> Result<String, ConfigError> {
        self.opened += 1;
        if self.opened > MAX_FILES {
            return Err(ConfigError::TooLarge);
        }
        let bytes = self
            .files
            .read(path, MAX_FILE + 1)
            .map_err(|why| ConfigError::File { path: path.to_owned(), why })?;
        if bytes.len() > MAX_FILE {
            return Err(ConfigError::TooLarge);
        }
        Ok(String::from_utf8_lossy(&as_read_by_the_server(&bytes)).into_owned())
    }

    pub(super) fn option(&mut self, directive: &Directive) -> Result<(), ConfigError> {
        let Directive { name, values } = directive;
        // Whatever the option is: the server takes no file there, and the file was meant.
        if let [_, .., last] = values.as_slice()
            && last.ends_with(".conf")
            && !name.eq_ignore_ascii_case("loadmodule")
        {
            return Err(ConfigError::Line {
                place: COMMAND_LINE.to_owned(),
                line: 0,
                why: format!(
                    "`{last}` is taken for a value of `--{name}`: the configuration file has to be \
                     the first argument"
                ),
            });
        }
        self.directive(directive, COMMAND_LINE, 0, 0)
    }

    fn directive(
        &mut self,
        directive: &Directive,
        place: &str,
        line: usize,
        depth: usize,
    ) -> Result<(), ConfigError> {
        let name = directive.name.to_ascii_lowercase();
        let failed = |why| ConfigError::Line { place: place.to_owned(), line, why };
        if name == "include" {
            let pattern = one(&name, &directive.values).map_err(failed)?;
            let path = self.raw.dir.join(pattern);
            self.raw.after_include = false;
            self.files(&path, depth + 1)?;
            self.raw.after_include = true;
            return Ok(());
        }
        self.raw.set(&name, &directive.values).map_err(failed)
    }

    pub(super) fn finish(mut self) -> Result<ServerConfig, ConfigError> {
        let mut warnings = Vec::new();
        if !self.raw.acl_file.is_empty() {
            self.read_users(&mut warnings);
        }
        self.raw.finish(warnings)
    }

    /// Takes users from the ACL file. Whatever is wrong with it concerns the log-in only, and
    /// nodes.conf needs none: hence warnings.
    fn read_users(&mut self, warnings: &mut Vec<String>) {
        let path = self.raw.dir.join(&self.raw.acl_file);
        if !self.raw.users.is_empty() {
            warnings.push(format!(
                "users are defined by `user` and by `aclfile` ({}), at which the server stops: move \
                 all of them into that file",
                path.display()
            ));
        }
        match self.files.read(&path, MAX_FILE) {
            Ok(bytes) => {
                let users = Users::of_file(&String::from_utf8_lossy(&bytes));
                if self.raw.passwords.required.is_some() && users.is_open(&self.raw.passwords) {
                    warnings.push(format!(
                        "requirepass has no effect, and the server is open to anybody: the ACL file \
                         {} replaces it, and gives the user `default` no password",
                        path.display()
                    ));
                }
                self.raw.users = users;
            }
            Err(why) => warnings.push(format!(
                "the ACL file {} can not be read ({why}), at which the server stops, so how to log \
                 in is taken from the rest of the configuration",
                path.display()
            )),
        }
    }
}

/// Options that contradict each other, and a file that is read twice, as far as the arguments show
/// it. What can not be read is said when all is read.
pub(super) fn warnings_of_arguments(words: &[String]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut raw = Raw::at(Path::new("/"), Save::Unsaid);
    let file = words.first().filter(|w| !w.starts_with('-'));
    for Directive { name, values } in words::options(words).unwrap_or_default() {
        let name = name.to_ascii_lowercase();
        if name == "include" && file.is_some() && values.first() == file {
            warnings.push(format!(
                "{} is read twice, as the first argument and by --include: if it defines users, \
                 Redis 7.0 and later and Valkey stop at the second time",
                values.concat()
            ));
        }
        let _ = raw.set(&name, &values);
    }
    raw.warn_of_doubles(&mut warnings);
    warnings
}

pub(super) fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// Of each piece that the server reads at once it takes what is before a zero byte, so that such a
/// line goes on in the next.
fn as_read_by_the_server(bytes: &[u8]) -> Vec<u8> {
    let pieces = bytes.split_inclusive(|b| *b == b'\n').flat_map(|line| line.chunks(READ_AT_ONCE));
    pieces.flat_map(|piece| piece.split(|b| *b == 0).next().unwrap_or_default()).copied().collect()
}
