//! What `$` stands for.
//!
//! Guarantees: `$NAME`, `${NAME}`, the forms with `-`, `=`, `?` and `+`, with and without a colon,
//! whose texts may hold quotes and variables again, `$1` to `${9}` and `$@`. What is not quoted is
//! split at blanks, except in an assignment.

use super::{Chars, Shell, is_assignment, is_name};
use crate::launch::Variable;
use crate::server::words::WordsError;

impl Shell<'_> {
    /// Reads what follows a `$`.
    pub(super) fn parameter(
        &mut self,
        chars: &mut Chars<'_>,
        quoted: bool,
    ) -> Result<(), WordsError> {
        if chars.next_if_eq(&'{').is_some() {
            return self.braced(chars, quoted);
        }
        match chars.peek().copied() {
            Some('@') => {
                chars.next();
                self.all_arguments(quoted)
            }
            Some(c) if c.is_ascii_digit() => {
                chars.next();
                let value = self.value(&c.to_string())?;
                self.use_value(&c.to_string(), value, quoted, false);
                Ok(())
            }
            Some(c @ ('(' | '*' | '#' | '?' | '$' | '!' | '-')) => Err(WordsError::NotPlain(c)),
            Some(c) if is_name_char(c) => {
                let name = take_name(chars);
                let value = self.value(&name)?;
                self.use_value(&name, value, quoted, false);
                Ok(())
            }
            _ => {
                self.add_char('$', true);
                Ok(())
            }
        }
    }

    fn braced(&mut self, chars: &mut Chars<'_>, quoted: bool) -> Result<(), WordsError> {
        let name = take_name(chars);
        if name.is_empty() {
            return Err(WordsError::NotPlain('{'));
        }
        let mut value = self.value(&name)?;
        if chars.next_if_eq(&'}').is_some() {
            self.use_value(&name, value, quoted, true);
            return Ok(());
        }
        if chars.next_if_eq(&':').is_some()
            && matches!(&value, Variable::Set(text, _) if text.is_empty())
        {
            value = Variable::Unset;
        }
        let Some(form) = chars.next_if(|c| matches!(c, '-' | '=' | '?' | '+')) else {
            let c = chars.peek().copied();
            return c.map_or(Err(WordsError::UnbalancedQuotes), |c| Err(WordsError::NotPlain(c)));
        };
        let text = self.text_until_brace(chars, quoted)?;
        match (form, value) {
            ('-' | '=' | '?', value @ Variable::Set(..)) => {
                self.use_value(&name, value, quoted, true);
            }
            ('?', Variable::Unset) => return Err(WordsError::Stops(name)),
            // The pod sets it, or the image does, or the script stops.
            ('?', value) => self.use_value(&name, value, quoted, true),
            ('-', _) => self.add_text(&text, quoted),
            ('=', _) => {
                if self.depth > 0 || self.chained || !is_name(&name) {
                    return Err(WordsError::NotPlain('='));
                }
                let value = text.iter().map(|(part, _)| part.as_str()).collect();
                self.variables.insert(name, (value, Vec::new()));
                self.add_text(&text, quoted);
            }
            (_, Variable::Set(..)) => self.add_text(&text, quoted),
            (_, Variable::Unset) => {}
            (_, _) => return Err(WordsError::NotPlain('+')),
        }
        Ok(())
    }

    /// The text of a default or an alternative, up to the brace that ends it.
    fn text_until_brace(
        &mut self,
        chars: &mut Chars<'_>,
        quoted: bool,
    ) -> Result<Vec<(String, bool)>, WordsError> {
        self.recording.push(Vec::new());
        loop {
            match chars.next() {
                Some('}') => return Ok(self.recording.pop().unwrap_or_default()),
                Some('\\') => match chars.next() {
                    Some('\n') | None => {}
                    Some(next) => {
                        if quoted && !matches!(next, '"' | '\\' | '$' | '`' | '}') {
                            self.add_char('\\', true);
                        }
                        self.add_char(next, true);
                    }
                },
                Some('"') => self.double_quoted(chars)?,
                // Shells differ in whether it quotes there.
                Some('\'') if quoted => return Err(WordsError::NotPlain('\'')),
                Some('\'') => {
                    self.touch_quoted();
                    loop {
                        match chars.next() {
                            Some('\'') => break,
                            Some(next) => self.add_char(next, true),
                            None => return Err(WordsError::UnbalancedQuotes),
                        }
                    }
                }
                Some('$') => self.parameter(chars, false)?,
                Some('`') => return Err(WordsError::NotPlain('`')),
                Some(c) => self.add_char(c, false),
                None => return Err(WordsError::UnbalancedQuotes),
            }
        }
    }

    fn all_arguments(&mut self, quoted: bool) -> Result<(), WordsError> {
        let Some(arguments) = self.arguments else { return Err(WordsError::NotPlain('@')) };
        if !self.recording.is_empty() {
            return Err(WordsError::NotPlain('@'));
        }
        // Without arguments, `"$@"` alone is no word at all.
        if arguments.is_empty() && quoted && self.word.as_deref() == Some("") {
            self.word = None;
        }
        for (i, argument) in arguments.iter().enumerate() {
            if i > 0 {
                self.end_word();
            }
            self.add(argument, quoted);
        }
        Ok(())
    }

    fn value(&mut self, name: &str) -> Result<Variable, WordsError> {
        if let Ok(number) = name.parse::<usize>() {
            let arguments = self.arguments.ok_or(WordsError::NotPlain('$'))?;
            let at = number.checked_sub(1).ok_or(WordsError::NotPlain('0'))?;
            let argument = arguments.get(at).cloned();
            return Ok(argument.map_or(Variable::Unset, |a| Variable::Set(a, Vec::new())));
        }
        match self.variables.get(name) {
            Some((value, unknown)) => Ok(Variable::Set(value.clone(), unknown.clone())),
            None => Ok(self.env.get(name)),
        }
    }

    fn use_value(&mut self, name: &str, value: Variable, quoted: bool, braced: bool) {
        match value {
            Variable::Set(value, unknown) => {
                self.command.unknown.extend(unknown);
                self.add(&value, quoted);
            }
            Variable::Unset => {}
            Variable::Unknown if braced => self.add(&format!("${{{name}}}"), true),
            Variable::Unknown => self.add(&format!("${name}"), true),
            Variable::PerhapsOfTheImage => {
                self.command.unknown.push(format!("the variable `{name}`"));
            }
        }
    }

    fn add_text(&mut self, text: &[(String, bool)], quoted: bool) {
        for (part, own) in text {
            self.add(part, quoted || *own);
        }
    }

    pub(super) fn add_char(&mut self, c: char, quoted: bool) {
        self.add(c.encode_utf8(&mut [0; 4]), quoted);
    }

    /// Begins a word even if it stays empty, as quotes do.
    pub(super) fn touch_quoted(&mut self) {
        self.add("", true);
    }

    /// Adds a text to the word, or to the default that is being read.
    fn add(&mut self, text: &str, quoted: bool) {
        if let Some(open) = self.recording.last_mut() {
            open.push((text.to_owned(), quoted));
            return;
        }
        let assigns = |word: &String| is_assignment(word);
        if quoted
            || self.word.as_ref().is_some_and(assigns) && self.command.words.iter().all(assigns)
        {
            self.touch().push_str(text);
            return;
        }
        self.pattern |= text.contains(['*', '?', '[']);
        for (i, piece) in text.split([' ', '\t', '\n']).enumerate() {
            if i > 0 {
                self.end_word();
            }
            if !piece.is_empty() {
                self.touch().push_str(piece);
            }
        }
    }
}

/// A name, or the number of an argument.
fn take_name(chars: &mut Chars<'_>) -> String {
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| is_name_char(*c)) {
        name.push(c);
    }
    name
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
