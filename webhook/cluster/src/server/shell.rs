//! Shell scripts, as far as they are plain commands.
//!
//! Guarantees: what is read is read as a POSIX shell reads it: quotes, escapes, variables with their
//! defaults and alternatives, the script's own arguments, word splitting, redirections, `if` and
//! loops around commands. Whatever decides only when it runs (pipes, substitutions, functions,
//! here-documents) is refused as a whole, never guessed.

use std::collections::BTreeMap;

use super::words::WordsError;
use crate::launch::Environment;

mod parameter;

/// One command of a shell script.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ShellCommand {
    /// Its words, quotes removed and variables expanded.
    pub words: Vec<String>,
    /// Where its redirections write to.
    pub writes: Vec<String>,
    /// Whether `&` follows it.
    pub background: bool,
    /// Whether it is within `if`, `while`, `until` or `for`.
    pub conditional: bool,
    /// What its words depend on and nobody but the running container knows: variables that the
    /// image may set, and patterns of file names.
    pub unknown: Vec<String>,
}

/// Reads a script of plain commands, joined by newlines, `;`, `&&`, `||` or `&`.
///
/// `arguments` are `$1` and the following ones, if they are known.
pub fn shell_commands(
    script: &str,
    env: &Environment<'_>,
    arguments: Option<&[String]>,
) -> Result<Vec<ShellCommand>, WordsError> {
    let mut shell = Shell {
        env,
        arguments,
        variables: BTreeMap::new(),
        out: Vec::new(),
        command: ShellCommand::default(),
        word: None,
        redirect: false,
        depth: 0,
        chained: false,
        recording: Vec::new(),
        pattern: false,
    };
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some(next) => shell.push(next),
            },
            '\'' => {
                shell.touch();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(next) => shell.push(next),
                        None => return Err(WordsError::UnbalancedQuotes),
                    }
                }
            }
            '"' => shell.double_quoted(&mut chars)?,
            '$' => shell.parameter(&mut chars, false)?,
            '#' if shell.word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' | '\n' => shell.end_command(false, false)?,
            '&' if chars.next_if_eq(&'&').is_some() => shell.end_command(false, true)?,
            '&' if chars.next_if_eq(&'>').is_some() => shell.redirect(&mut chars),
            '&' => shell.end_command(true, false)?,
            '|' if chars.next_if_eq(&'|').is_some() => shell.end_command(false, true)?,
            '>' => shell.redirect(&mut chars),
            '|' | '`' | '(' | ')' | '<' => return Err(WordsError::NotPlain(c)),
            '~' if shell.word.is_none() => return Err(WordsError::NotPlain(c)),
            c if c.is_whitespace() => shell.end_word(),
            c => {
                shell.pattern |= matches!(c, '*' | '?' | '[');
                shell.push(c);
            }
        }
    }
    shell.end_command(false, false)?;
    Ok(shell.out)
}

/// Whether a word is `NAME=value`.
pub fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| is_name(name))
}

struct Shell<'a> {
    env: &'a Environment<'a>,
    arguments: Option<&'a [String]>,
    /// Those that the script itself has set, and what their values depend on.
    variables: BTreeMap<String, (String, Vec<String>)>,
    out: Vec<ShellCommand>,
    command: ShellCommand,
    word: Option<String>,
    /// Whether the next word is where a redirection goes.
    redirect: bool,
    /// How many `if` and loops are open.
    depth: usize,
    /// Whether `&&` or `||` precedes the command.
    chained: bool,
    /// The texts of open defaults, innermost last, and whether each part is quoted.
    recording: Vec<Vec<(String, bool)>>,
    /// Whether the word holds a pattern of file names.
    pattern: bool,
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

// === impl Shell ===

impl Shell<'_> {
    fn touch(&mut self) -> &mut String {
        self.word.get_or_insert_default()
    }

    fn push(&mut self, c: char) {
        self.touch().push(c);
    }

    fn end_word(&mut self) {
        let pattern = std::mem::take(&mut self.pattern);
        let Some(word) = self.word.take() else { return };
        if std::mem::take(&mut self.redirect) {
            self.command.writes.push(word);
        } else {
            if pattern && word != "[" && word != "[[" {
                self.command.unknown.push(format!("the files that match `{word}`"));
            }
            self.command.words.push(word);
        }
    }

    /// `>`, `>>`, `>|`, `>&` and `&>`, with or without a number in front.
    fn redirect(&mut self, chars: &mut Chars<'_>) {
        match &self.word {
            Some(number) if number.bytes().all(|b| b.is_ascii_digit()) => self.word = None,
            _ => self.end_word(),
        }
        chars.next_if(|c| matches!(c, '>' | '|' | '&'));
        self.redirect = true;
    }

    fn end_command(&mut self, background: bool, chains: bool) -> Result<(), WordsError> {
        self.end_word();
        self.redirect = false;
        let chained = std::mem::replace(&mut self.chained, chains);
        let mut command = std::mem::take(&mut self.command);
        while let Some(first) = command.words.first() {
            match first.as_str() {
                "if" | "while" | "until" => self.depth += 1,
                "fi" | "done" => self.depth = self.depth.saturating_sub(1),
                "then" | "else" | "elif" | "do" | "!" => {}
                "case" | "for" | "function" | "{" | "}" => {
                    return Err(WordsError::NotPlain(first.chars().next().unwrap_or(' ')));
                }
                _ => break,
            }
            command.words.remove(0);
        }
        command.background = background;
        command.conditional = self.depth > 0;
        let skip = usize::from(command.words.first().is_some_and(|w| w == "export"));
        let set = &command.words[skip..];
        if set.iter().any(|w| is_assignment(w)) && set.iter().all(|w| is_assignment(w)) {
            if command.conditional || chained {
                return Err(WordsError::NotPlain('='));
            }
            for (name, value) in set.iter().filter_map(|w| w.split_once('=')) {
                let value = (value.to_owned(), command.unknown.clone());
                self.variables.insert(name.to_owned(), value);
            }
        } else if !command.words.is_empty() || !command.writes.is_empty() {
            self.out.push(command);
        }
        Ok(())
    }

    fn double_quoted(&mut self, chars: &mut Chars<'_>) -> Result<(), WordsError> {
        self.touch_quoted();
        loop {
            match chars.next() {
                Some('"') => return Ok(()),
                Some('\\') => match chars.next() {
                    Some(next @ ('"' | '\\' | '$' | '`')) => self.add_char(next, true),
                    Some('\n') | None => {}
                    Some(next) => {
                        self.add_char('\\', true);
                        self.add_char(next, true);
                    }
                },
                Some('$') => self.parameter(chars, true)?,
                Some('`') => return Err(WordsError::NotPlain('`')),
                Some(next) => self.add_char(next, true),
                None => return Err(WordsError::UnbalancedQuotes),
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    text.bytes().next().is_some_and(letter) && text.bytes().all(|b| letter(b) || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(script: &str) -> Result<Vec<String>, WordsError> {
        let env = Environment::whole(&|name| match name {
            "A" => Some("one two".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        });
        let arguments = ["1 st", "2nd"].map(str::to_owned);
        let commands = shell_commands(script, &env, Some(&arguments))?;
        Ok(commands.iter().map(|c| c.words.join("|")).collect())
    }

    fn some(script: &str) -> Result<Vec<ShellCommand>, WordsError> {
        shell_commands(script, &Environment::part(&|_| None), None)
    }

    #[test]
    fn variables_are_expanded_as_a_shell_does() {
        for (script, words) in [
            ("x $A", "x|one|two"),
            ("x \"$A\"", "x|one two"),
            ("x p$A", "x|pone|two"),
            ("x $EMPTY y", "x|y"),
            ("x \"$EMPTY\" y", "x||y"),
            ("x ${NO:-6379} ${EMPTY:-7} ${EMPTY-7} ${A:-7}", "x|6379|7|one|two"),
            ("x $NO ${NO} '$A' \"$NO\"", "x|$A|"),
            ("B=3; export C=4 D=5; x $B$C", "x|34"),
            ("B=$A; x $B \"$B\"", "x|one|two|one two"),
            ("x a$ $", "x|a$|$"),
            ("x ${NO:-a b} \"${NO:-a b}\" ${NO:-\"a b\"} ${NO:-'a b'}", "x|a|b|a b|a b|a b"),
            ("x ${NO:-} y \"${NO:-}\"", "x|y|"),
            ("x ${NO:-$A} ${NO:-${NO:-7}} \"${NO:-\"$A\"}\"", "x|one|two|7|one two"),
            ("x ${NO:=7} $NO; y $NO ${EMPTY:=8} ${EMPTY=9}", "x|7|7"),
            ("x ${A:+b} ${NO:+c} ${EMPTY:+d} ${EMPTY+e} ${NO+f}", "x|b|e"),
            ("x ${A:?not set} ${EMPTY?}", "x|one|two"),
            ("x ${NO:-a\\}b}", "x|a}b"),
            ("x \"$@\" \"$1\" $2 ${2} $3", "x|1 st|2nd|1 st|2nd|2nd"),
            ("x $@ a\"$@\"b", "x|1|st|2nd|a1 st|2ndb"),
        ] {
            assert_eq!(commands(script).unwrap()[0], words, "{script}");
        }
        assert_eq!(commands(": ${NO:=7}; y $NO ${EMPTY:=8}").unwrap()[1], "y|7|8");
    }

    #[test]
    fn what_is_not_known_is_left_or_named() {
        let left = &some("x $NO \"${NO}\" ${NO:-6} ${NO:?why}").unwrap()[0].words;
        assert_eq!(left.join("|"), "x|$NO|${NO}|6|${NO}");
        let env = Environment::without_the_images(&|_| None);
        let script = "mkdir $A; P=${B}1; x $P ${C:-2}; y /a/*.conf";
        let commands = shell_commands(script, &env, None).unwrap();
        let unknown: Vec<_> = commands.iter().map(|c| c.unknown.join("|")).collect();
        assert_eq!(
            unknown,
            ["the variable `A`", "the variable `B`", "the files that match `/a/*.conf`"]
        );
    }

    #[test]
    fn redirections_are_no_words() {
        for script in ["x y >/a 2>&1", "x > /a y 2>> /b", "x y &>/a"] {
            assert_eq!(commands(script).unwrap(), ["x|y"], "{script}");
        }
        let echo = &some("echo port 1 2 >> /c").unwrap()[0];
        assert_eq!(
            (&echo.words[..], &echo.writes[..]),
            (&["echo", "port", "1", "2"].map(str::to_owned)[..], &["/c".to_owned()][..])
        );
    }

    #[test]
    fn conditions_are_marked() {
        let script = "if [ -f /a ]; then\n rm /a\nelse :; fi\nwhile ! x; do sleep 1; done; y";
        let inside = |c: &ShellCommand| (c.words.join(" "), c.conditional);
        let commands: Vec<_> = some(script).unwrap().iter().map(inside).collect();
        let expected = [
            ("[ -f /a ]", true),
            ("rm /a", true),
            (":", true),
            ("x", true),
            ("sleep 1", true),
            ("y", false),
        ];
        assert_eq!(commands, expected.map(|(c, within)| (c.to_owned(), within)));
    }

    #[test]
    fn what_decides_when_it_runs_is_refused() {
        for script in [
            "x $*",
            "x $#",
            "x $(y)",
            "x ~/a",
            "x \"${NO:-'a'}\"",
            "if a; then x ${B:=1}; fi",
            "a && x ${B:=1}",
            "x `y`",
            "x | y",
            "f() { x; }",
            "cat <<END",
            "x ${A%.*}",
            "if a; then B=1; fi",
            "a && B=1",
            "for i in a; do x; done",
            "{ x; }",
            "x ${#A}",
        ] {
            assert!(matches!(commands(script), Err(WordsError::NotPlain(_))), "{script}");
        }
        for script in ["x 'y", "x \"y", "x ${A:-b", "x ${NO:-\"b}"] {
            assert_eq!(commands(script), Err(WordsError::UnbalancedQuotes), "{script}");
        }
        for script in ["x ${NO:?}", "x ${EMPTY:?set it}", "x ${NO?}"] {
            assert!(matches!(commands(script), Err(WordsError::Stops(_))), "{script}");
        }
        for script in ["x \"$@\"", "x $1"] {
            assert!(matches!(some(script), Err(WordsError::NotPlain(_))), "{script}");
        }
    }
}
