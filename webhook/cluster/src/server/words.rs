//! Words as the server and a shell split them.
//!
//! Guarantees: [`split`] splits a line as `sdssplitargs` (`sds.c`) does, quotes and escapes
//! included; [`lines`] are the directives of a text; [`options`] reads the command line as `main`
//! (`server.c`) makes a text of it, and refuses what only some versions take.

use std::fmt;

pub use super::shell::{ShellCommand, is_assignment, shell_commands};

/// A directive of the configuration: its name as written and its values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Directive {
    /// As written; names are case-insensitive.
    pub name: String,
    /// What follows it.
    pub values: Vec<String>,
}

/// Why words could not be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WordsError {
    /// A quote is not closed, or text follows a closing quote without a blank.
    UnbalancedQuotes,
    /// The server would refuse this argument.
    NotAnOption(String),
    /// An option without a value, which takes the next option for one or is refused.
    NoValue(String),
    /// Shell syntax beyond plain commands.
    NotPlain(char),
    /// A script that stops because this variable is not set.
    Stops(String),
}

/// Splits a line into words as `sdssplitargs` does.
pub fn split(line: &str) -> Result<Vec<String>, WordsError> {
    let bytes = line.as_bytes();
    let mut words = Vec::new();
    let mut i = 0;
    loop {
        while bytes.get(i).is_some_and(|b| is_space(*b)) {
            i += 1;
        }
        if i >= bytes.len() {
            return Ok(words);
        }
        let mut word = Vec::new();
        while let Some(&b) = bytes.get(i) {
            match b {
                _ if is_space(b) => break,
                b'"' => {
                    i = double_quoted(bytes, i + 1, &mut word)?;
                    continue;
                }
                b'\'' => {
                    i = single_quoted(bytes, i + 1, &mut word)?;
                    continue;
                }
                _ => word.push(b),
            }
            i += 1;
        }
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
}

/// A line of a configuration: its number, from 1, and its directive.
pub(super) type Line = (usize, Result<Directive, WordsError>);

/// The directives of a text, line by line, without blank lines and comments.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line> {
    text.split('\n').enumerate().filter_map(|(i, line)| {
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let directive = split(line).map(|words| {
            let mut words = words.into_iter();
            words.next().map(|name| Directive { name, values: words.collect() })
        });
        Some((i + 1, directive.transpose()?))
    })
}

/// The directives that command-line options come to.
///
/// The server makes configuration lines of its arguments: one that begins with `--` starts a line
/// (and is itself split at blanks), every other one becomes a quoted value. `--save` and
/// `--sentinel` may go without; where another option does, 7.0 and later take the next option for
/// its value and earlier ones stop. The configuration file, if any, has to be the first argument
/// and is skipped here.
pub fn options(words: &[String]) -> Result<Vec<Directive>, WordsError> {
    let mut text = String::new();
    let mut waits: Option<&str> = None;
    let skip = usize::from(words.first().is_some_and(|w| !w.starts_with('-')));
    for word in &words[skip.min(words.len())..] {
        if let Some(option) = word.strip_prefix("--") {
            complete(waits, &mut text)?;
            if option.trim().is_empty() {
                return Err(WordsError::NotAnOption(word.clone()));
            }
            text.push('\n');
            text.push_str(option);
            waits = split(option).is_ok_and(|parts| parts.len() == 1).then_some(option);
        } else if text.is_empty() {
            return Err(WordsError::NotAnOption(word.clone()));
        } else {
            quote(word, &mut text);
            waits = None;
        }
    }
    complete(waits, &mut text)?;
    lines(&text).map(|(_, directive)| directive).collect()
}

fn complete(option: Option<&str>, text: &mut String) -> Result<(), WordsError> {
    match option.map(str::trim) {
        Some(name) if name.eq_ignore_ascii_case("save") => quote("", text),
        Some(name) if !name.eq_ignore_ascii_case("sentinel") => {
            return Err(WordsError::NoValue(name.to_owned()));
        }
        _ => {}
    }
    Ok(())
}

/// Adds a value in quotes, so that [`split`] gives it back as it is.
fn quote(value: &str, text: &mut String) {
    text.push_str(" \"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            c => text.push(c),
        }
    }
    text.push('"');
}

// === impl WordsError ===

impl fmt::Display for WordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnbalancedQuotes => f.write_str("quotes are not balanced"),
            Self::NotAnOption(word) => write!(
                f,
                "`{word}` is neither the first argument nor an option that begins with --"
            ),
            Self::NoValue(name) => write!(f, "`--{name}` has no value"),
            Self::NotPlain(c) => write!(f, "`{c}` is more than plain commands"),
            Self::Stops(name) => write!(f, "it stops, since `{name}` is not set"),
        }
    }
}

impl std::error::Error for WordsError {}

/// `isspace` of the C locale, and NUL, which ends a word in `sdssplitargs` too.
fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0)
}

fn closed(bytes: &[u8], next: usize) -> Result<usize, WordsError> {
    match bytes.get(next) {
        Some(b) if !is_space(*b) => Err(WordsError::UnbalancedQuotes),
        _ => Ok(next),
    }
}

fn double_quoted(bytes: &[u8], mut i: usize, word: &mut Vec<u8>) -> Result<usize, WordsError> {
    loop {
        match (bytes.get(i), bytes.get(i + 1)) {
            (Some(b'\\'), Some(b'x'))
                if let Some(byte) = bytes.get(i + 2..i + 4).and_then(hex_byte) =>
            {
                word.push(byte);
                i += 4;
            }
            (Some(b'\\'), Some(escaped)) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                i += 2;
            }
            (Some(b'"'), _) => return closed(bytes, i + 1),
            (Some(b), _) => {
                word.push(*b);
                i += 1;
            }
            (None, _) => return Err(WordsError::UnbalancedQuotes),
        }
    }
}

fn single_quoted(bytes: &[u8], mut i: usize, word: &mut Vec<u8>) -> Result<usize, WordsError> {
    loop {
        match (bytes.get(i), bytes.get(i + 1)) {
            (Some(b'\\'), Some(b'\'')) => {
                word.push(b'\'');
                i += 2;
            }
            (Some(b'\''), _) => return closed(bytes, i + 1),
            (Some(b), _) => {
                word.push(*b);
                i += 1;
            }
            (None, _) => return Err(WordsError::UnbalancedQuotes),
        }
    }
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    (text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| u8::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_are_the_servers() {
        let ok = |line: &str| split(line).unwrap();
        assert_eq!(ok(r#"a "b c" 'd e' f"#), ["a", "b c", "d e", "f"]);
        assert_eq!(ok(r#"requirepass "a\"b\x41\n""#), ["requirepass", "a\"bA\n"]);
        assert_eq!(ok(r"x 'it\'s'"), ["x", "it's"]);
        assert_eq!(ok("save \"\""), ["save", ""]);
        assert_eq!(ok("\tport 1\r"), ["port", "1"]);
        for bad in ["\"a", "'a", "\"a\"b", "'a'b"] {
            assert_eq!(split(bad), Err(WordsError::UnbalancedQuotes), "{bad}");
        }
    }

    #[test]
    fn a_word_before_the_first_option_is_refused() {
        let words = ["/c", "x", "--port", "1"].map(str::to_owned);
        assert_eq!(options(&words), Err(WordsError::NotAnOption("x".to_owned())));
    }

    #[test]
    fn an_option_needs_a_value_unless_the_server_does_without() {
        let read = |line: &str| options(&split(line).unwrap());
        let save = read("--save --port 1 --save").unwrap();
        assert_eq!(save.iter().map(|d| d.values.join(",")).collect::<Vec<_>>(), ["", "1", ""]);
        assert_eq!(save[0].values.len(), 1);
        assert_eq!(read("--requirepass --port 1"), Err(WordsError::NoValue("requirepass".into())));
        assert_eq!(read("--port"), Err(WordsError::NoValue("port".into())));
        assert_eq!(read("-- port 1"), Err(WordsError::NotAnOption("--".into())));
    }

    #[test]
    fn an_argument_may_hold_lines() {
        let words = ["--port 1\n dir /a \n# x", "lost", "--dir\t/b"].map(str::to_owned);
        let read = options(&words).unwrap();
        let read: Vec<_> = read.iter().map(|d| (d.name.as_str(), d.values.join(","))).collect();
        assert_eq!(read, [("port", "1".into()), ("dir", "/a".into()), ("dir", "/b".into())]);
    }

    proptest! {
        #[test]
        fn a_quoted_value_is_given_back(value in "\\PC*[\\n\\r\\t\"'\\\\]*\\PC*") {
            let mut text = String::new();
            quote(&value, &mut text);
            prop_assert_eq!(split(&text).unwrap(), [value]);
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,200}") {
            let _ = split(&text);
            let env = crate::launch::Environment::whole(&|_| None);
            let _ = shell_commands(&text, &env, Some(std::slice::from_ref(&text)));
            let _ = options(&[text]);
        }
    }
}
