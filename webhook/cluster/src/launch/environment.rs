//! A container's environment, as far as it is known.
//!
//! Guarantees: what is not known is never taken for unset.

/// Looks a variable of the container's environment up.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is known of a container's environment.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    known: Env<'a>,
    others: Others,
}

/// Variables that are not among the known ones.
#[derive(Clone, Copy, Debug)]
enum Others {
    Unknown,
    Unset,
    PerhapsOfTheImage,
}

/// A variable in a script.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Variable {
    /// Its value, and what that value depends on and nobody knows.
    Set(String, Vec<String>),
    /// It is not set.
    Unset,
    /// It may be anything.
    Unknown,
    /// The pod does not set it. The image may.
    PerhapsOfTheImage,
}

// === impl Environment ===

impl<'a> Environment<'a> {
    /// There may be other variables, of which nothing is known.
    pub fn part(known: Env<'a>) -> Self {
        Self { known, others: Others::Unknown }
    }

    /// There are no others.
    pub fn whole(known: Env<'a>) -> Self {
        Self { known, others: Others::Unset }
    }

    /// There are no others but those that the image sets.
    pub fn without_the_images(known: Env<'a>) -> Self {
        Self { known, others: Others::PerhapsOfTheImage }
    }

    /// The variables that are known.
    pub fn known(&self) -> Env<'a> {
        self.known
    }

    /// A variable by its name.
    pub fn get(&self, name: &str) -> Variable {
        match ((self.known)(name), self.others) {
            (Some(value), _) => Variable::Set(value, Vec::new()),
            (None, Others::Unknown) => Variable::Unknown,
            (None, Others::Unset) => Variable::Unset,
            (None, Others::PerhapsOfTheImage) => Variable::PerhapsOfTheImage,
        }
    }
}

/// Expands `$(NAME)` as the kubelet does in `command`, `args` and `env`: `$$` is a `$`, and what
/// is not defined stays as it is (`third_party/forked/golang/expansion`).
pub fn expand_kubelet(text: &str, env: Env<'_>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) =
            after.strip_prefix('(').and_then(|inner| inner.split_once(')'))
        {
            match env(name) {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}
