//! Values of directives, as the server takes them.
//!
//! Guarantees: a value that the server refuses is refused, in a sentence that names the directive
//! and never the value, which may be a password.

use super::Secret;

pub(super) fn on(port: u16) -> Option<u16> {
    (port != 0).then_some(port)
}

pub(super) fn one<'a>(name: &str, values: &'a [String]) -> Result<&'a str, String> {
    match values {
        // What bytes they were can not be told any more, and a password is bytes.
        [value] if value.contains('\u{fffd}') => {
            Err(format!("`{name}` holds bytes that are no UTF-8 text, which Mooring can not use"))
        }
        [value] => Ok(value),
        _ => {
            let comment = values.iter().any(|v| v.starts_with('#'));
            let hint = if comment { ": a comment needs a line of its own" } else { "" };
            Err(format!("`{name}` takes one value and has {}{hint}", values.len()))
        }
    }
}

pub(super) fn filled<'a>(name: &str, value: &'a str) -> Result<&'a str, String> {
    if value.is_empty() { Err(format!("`{name}` is empty")) } else { Ok(value) }
}

pub(super) fn flag(name: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("`{name}` must be yes or no")),
    }
}

pub(super) fn port(name: &str, value: &str) -> Result<u16, String> {
    let number = number(value).and_then(|n| u16::try_from(n).ok());
    number.ok_or_else(|| format!("`{name}` must be a number from 0 to 65535"))
}

/// As `string2ll` reads it: digits only, none of them a leading zero.
pub(super) fn number(value: &str) -> Option<u64> {
    let plain =
        value.bytes().all(|b| b.is_ascii_digit()) && (value == "0" || !value.starts_with('0'));
    value.parse().ok().filter(|n| plain && *n <= i64::MAX as u64)
}

pub(super) fn base_name<'a>(name: &str, value: &'a str) -> Result<&'a str, String> {
    if value.contains(['/', '\\']) {
        return Err(format!("`{name}` is a file's name without a folder: `dir` says where it is"));
    }
    Ok(value)
}

pub(super) fn hostname(name: &str, value: &str) -> Result<Option<String>, String> {
    if value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        return Ok(text(value));
    }
    Err(format!(
        "`{name}` may hold letters, digits, dots and hyphens only, and nobody expands variables in \
         a configuration file"
    ))
}

pub(super) fn secret(value: &str) -> Option<Secret> {
    text(value).map(Secret)
}

pub(super) fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}
