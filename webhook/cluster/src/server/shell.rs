//! Shell scripts, as far as they are plain commands.
//!
//! Guarantees: what is read is read as a POSIX shell reads it: quotes, escapes, variables with
//! defaults and word splitting, redirections, `if` and loops around commands. Whatever decides only
//! when it runs (pipes, substitutions, functions, positional parameters, here-documents) is refused
//! as a whole, never guessed. A variable that is not known stays as it is written.

use std::collections::BTreeMap;

use super::words::WordsError;
use crate::launch::Env;

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
}

/// Reads a script of plain commands, joined by newlines, `;`, `&&`, `||` or `&`.
pub fn shell_commands(script: &str, env: Env<'_>) -> Result<Vec<ShellCommand>, WordsError> {
    let mut shell = Shell {
        env,
        variables: BTreeMap::new(),
        out: Vec::new(),
        command: ShellCommand::default(),
        word: None,
        redirect: false,
        depth: 0,
        chained: false,
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
            '$' => shell.variable(&mut chars, false)?,
            '#' if shell.word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' | '\n' => shell.end_command(false, false)?,
            '&' if chars.next_if_eq(&'&').is_some() => shell.end_command(false, true)?,
            '&' if chars.next_if_eq(&'>').is_some() => shell.redirect(&mut chars),
            '&' => shell.end_command(true, false)?,
            '|' if chars.next_if_eq(&'|').is_some() => shell.end_command(false, true)?,
            '>' => shell.redirect(&mut chars),
            '|' | '`' | '(' | ')' | '<' => return Err(WordsError::NotPlain(c)),
            c if c.is_whitespace() => shell.end_word(),
            c => shell.push(c),
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
    env: Env<'a>,
    /// Those that the script itself has set.
    variables: BTreeMap<String, String>,
    out: Vec<ShellCommand>,
    command: ShellCommand,
    word: Option<String>,
    /// Whether the next word is where a redirection goes.
    redirect: bool,
    /// How many `if` and loops are open.
    depth: usize,
    /// Whether `&&` or `||` precedes the command.
    chained: bool,
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
        let Some(word) = self.word.take() else { return };
        if std::mem::take(&mut self.redirect) {
            self.command.writes.push(word);
        } else {
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
            let pairs = set.iter().filter_map(|w| w.split_once('='));
            self.variables.extend(pairs.map(|(n, v)| (n.to_owned(), v.to_owned())));
        } else if !command.words.is_empty() || !command.writes.is_empty() {
            self.out.push(command);
        }
        Ok(())
    }

    fn double_quoted(&mut self, chars: &mut Chars<'_>) -> Result<(), WordsError> {
        self.touch();
        loop {
            match chars.next() {
                Some('"') => return Ok(()),
                Some('\\') => match chars.next() {
                    Some(next @ ('"' | '\\' | '$' | '`')) => self.push(next),
                    Some('\n') | None => {}
                    Some(next) => {
                        self.push('\\');
                        self.push(next);
                    }
                },
                Some('$') => self.variable(chars, true)?,
                Some('`') => return Err(WordsError::NotPlain('`')),
                Some(next) => self.push(next),
                None => return Err(WordsError::UnbalancedQuotes),
            }
        }
    }

    /// `$NAME`, `${NAME}`, `${NAME:-text}` and `${NAME-text}`.
    fn variable(&mut self, chars: &mut Chars<'_>, quoted: bool) -> Result<(), WordsError> {
        let braced = chars.next_if_eq(&'{').is_some();
        if let Some(c @ ('(' | '@' | '*' | '#' | '?' | '$' | '!' | '-' | '0'..='9')) = chars.peek()
        {
            return Err(WordsError::NotPlain(*c));
        }
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        let mut value = self.variables.get(&name).cloned().or_else(|| (self.env)(&name));
        if braced {
            if chars.next_if_eq(&':').is_some() {
                value = value.filter(|v| !v.is_empty());
                if chars.peek() != Some(&'-') {
                    return Err(WordsError::NotPlain(':'));
                }
            }
            if chars.next_if_eq(&'-').is_some() {
                let text = plain_until_brace(chars);
                value = value.or(Some(text));
            }
            if name.is_empty() || chars.next_if_eq(&'}').is_none() {
                return Err(WordsError::NotPlain('{'));
            }
        }
        match value.filter(|_| !name.is_empty()) {
            Some(value) if quoted => self.touch().push_str(&value),
            Some(value) => {
                for (i, piece) in value.split([' ', '\t', '\n']).enumerate() {
                    if i > 0 {
                        self.end_word();
                    }
                    if !piece.is_empty() {
                        self.touch().push_str(piece);
                    }
                }
            }
            None if braced => self.touch().push_str(&format!("${{{name}}}")),
            None => self.touch().push_str(&format!("${name}")),
        }
        Ok(())
    }
}

/// The default of a variable, where it is a plain text.
fn plain_until_brace(chars: &mut Chars<'_>) -> String {
    let mut text = String::new();
    while let Some(c) =
        chars.next_if(|c| !matches!(c, '}' | '$' | '`' | '"' | '\'' | '\\') && !c.is_whitespace())
    {
        text.push(c);
    }
    text
}

fn is_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    text.bytes().next().is_some_and(letter) && text.bytes().all(|b| letter(b) || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(script: &str) -> Result<Vec<String>, WordsError> {
        let env = |name: &str| match name {
            "A" => Some("one two".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        Ok(shell_commands(script, &env)?.iter().map(|c| c.words.join("|")).collect())
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
            ("x $NO ${NO} '$A'", "x|$NO|${NO}|$A"),
            ("B=3; export C=4 D=5; x $B$C", "x|34"),
            ("x a$ $", "x|a$|$"),
        ] {
            assert_eq!(commands(script).unwrap(), [words], "{script}");
        }
    }

    #[test]
    fn redirections_are_no_words() {
        for script in ["x y >/a 2>&1", "x > /a y 2>> /b", "x y &>/a"] {
            assert_eq!(commands(script).unwrap(), ["x|y"], "{script}");
        }
        let echo = &shell_commands("echo port 1 2 >> /c", &|_| None).unwrap()[0];
        assert_eq!(
            (&echo.words[..], &echo.writes[..]),
            (&["echo", "port", "1", "2"].map(str::to_owned)[..], &["/c".to_owned()][..])
        );
    }

    #[test]
    fn conditions_are_marked() {
        let script = "if [ -f /a ]; then\n rm /a\nelse :; fi\nwhile ! x; do sleep 1; done; y";
        let inside = |c: &ShellCommand| (c.words.join(" "), c.conditional);
        let commands: Vec<_> =
            shell_commands(script, &|_| None).unwrap().iter().map(inside).collect();
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
            "x \"$@\"",
            "x $1",
            "x $(y)",
            "x `y`",
            "x | y",
            "f() { x; }",
            "cat <<END",
            "x ${A%.*}",
            "x ${A:+b}",
            "x ${A:-$B}",
            "if a; then B=1; fi",
            "a && B=1",
            "for i in a; do x; done",
            "{ x; }",
            "x ${#A}",
        ] {
            assert!(matches!(commands(script), Err(WordsError::NotPlain(_))), "{script}");
        }
        assert_eq!(commands("x 'y"), Err(WordsError::UnbalancedQuotes));
    }
}
