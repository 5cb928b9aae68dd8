//! What Python does with texts. Where letters beyond ASCII would need tables of their own, Python is needed.

use crate::error::{Outcome, needs_python};
use crate::value::{bounded, is_space};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Side {
    Both,
    Left,
    Right,
}

fn ascii(text: &str) -> Outcome<&str> {
    if text.is_ascii() { Ok(text) } else { needs_python("the case of letters beyond ASCII") }
}

pub(super) fn capitalize(text: &str) -> Outcome<String> {
    let mut lower = ascii(text)?.to_ascii_lowercase();
    if let Some(first) = lower.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Ok(lower)
}

/// `str.title()`: a letter is upper case unless it follows another.
pub(super) fn title(text: &str) -> Outcome<String> {
    let mut after_letter = false;
    Ok(ascii(text)?
        .chars()
        .map(|c| {
            let changed = if after_letter { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
            after_letter = c.is_ascii_alphabetic();
            changed
        })
        .collect())
}

pub(super) fn swapcase(text: &str) -> Outcome<String> {
    Ok(ascii(text)?
        .chars()
        .map(|c| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() })
        .collect())
}

/// `str.isdigit()` and its like.
pub(super) fn is(text: &str, name: &str) -> Outcome<bool> {
    if name == "isascii" {
        return Ok(text.is_ascii());
    }
    let text = ascii(text)?;
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    let has = |test: fn(&char) -> bool| text.chars().any(|c| test(&c));
    Ok(match name {
        "isalpha" => all(|c| c.is_ascii_alphabetic()),
        "isalnum" => all(|c| c.is_ascii_alphanumeric()),
        "isspace" => all(is_space),
        "isupper" => has(char::is_ascii_uppercase) && !has(char::is_ascii_lowercase),
        "islower" => has(char::is_ascii_lowercase) && !has(char::is_ascii_uppercase),
        "isidentifier" => {
            all(|c| c.is_ascii_alphanumeric() || c == '_') && !text.starts_with(|c: char| c.is_ascii_digit())
        }
        _ => all(|c| c.is_ascii_digit()),
    })
}

/// `str.strip()`: of white space, or of any of `chars`.
pub(super) fn strip<'a>(text: &'a str, chars: Option<&str>, side: Side) -> &'a str {
    let goes = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if side == Side::Right { text } else { text.trim_start_matches(goes) };
    if side == Side::Left { text } else { text.trim_end_matches(goes) }
}

/// `str.split()` without a separator.
pub(super) fn split_space(text: &str, most: usize, from_right: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = strip(text, None, if from_right { Side::Right } else { Side::Left });
    while !rest.is_empty() && parts.len() < most {
        let (part, left) = if from_right {
            let at = rest.char_indices().rev().find(|(_, c)| is_space(*c)).map_or(0, |(at, c)| at + c.len_utf8());
            (&rest[at..], strip(&rest[..at], None, Side::Right))
        } else {
            let at = rest.find(is_space).unwrap_or(rest.len());
            (&rest[..at], strip(&rest[at..], None, Side::Left))
        };
        parts.push(part);
        rest = left;
    }
    if !rest.is_empty() {
        // What is over keeps the space at its outer end.
        parts.push(rest);
    }
    if from_right {
        parts.reverse();
    }
    parts
}

/// `str.splitlines()`.
pub(super) fn split_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let is_end = |c: char| {
            matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c' | '\x1d' | '\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
        };
        let Some(at) = rest.find(is_end) else {
            lines.push(rest);
            break;
        };
        lines.push(&rest[..at]);
        let end = &rest[at..];
        let length = if end.starts_with("\r\n") { 2 } else { end.chars().next().map_or(0, char::len_utf8) };
        rest = &end[length..];
    }
    lines
}

/// `str.replace()`; a negative count replaces all.
pub(super) fn replace(text: &str, old: &str, new: &str, count: i128) -> Outcome<String> {
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    if old.is_empty() {
        let places = (text.chars().count() + 1).min(most);
        bounded(text.len() + places.saturating_mul(new.len()))?;
        let mut out = String::new();
        let mut chars = text.chars();
        for _ in 0..places {
            out.push_str(new);
            out.extend(chars.next());
        }
        out.extend(chars);
        return Ok(out);
    }
    let found = text.matches(old).count().min(most);
    bounded(text.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, most))
}

pub(super) fn zfill(text: &str, width: usize) -> Outcome<String> {
    let missing = bounded(width)?.saturating_sub(text.chars().count());
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'+' | b'-') => text.split_at(1),
        _ => ("", text),
    };
    Ok(format!("{sign}{}{digits}", "0".repeat(missing)))
}

/// `str.ljust()`, `str.rjust()` and `str.center()`.
pub(super) fn justified(text: &str, width: usize, fill: char, name: &str) -> Outcome<String> {
    let missing = bounded(width)?.saturating_sub(text.chars().count());
    let before = match name {
        "ljust" => 0,
        "rjust" => missing,
        // The odd one goes to the left where the width is odd.
        _ => missing / 2 + (missing & width & 1),
    };
    let filled = |count: usize| String::from(fill).repeat(count);
    Ok(format!("{}{text}{}", filled(before), filled(missing - before)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_at_space() {
        assert_eq!(split_space("  a b  c ", usize::MAX, false), ["a", "b", "c"]);
        assert_eq!(split_space("  a b  c ", 1, false), ["a", "b  c "]);
        assert_eq!(split_space("  a b  c ", 1, true), ["  a b", "c"]);
        assert_eq!(split_space(" a ", 0, false), ["a "]);
        assert_eq!(split_space("   ", 5, true), Vec::<&str>::new());
    }

    #[test]
    fn centring() {
        assert_eq!(justified("a", 4, '-', "center").unwrap(), "-a--");
        assert_eq!(justified("ab", 5, '-', "center").unwrap(), "--ab-");
    }
}
