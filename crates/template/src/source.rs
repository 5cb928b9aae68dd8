//! From the text of a template to minijinja's tree, with the places guarded where minijinja's lexer reads
//! something other than Jinja's (`jinja2/lexer.py`), and with bounds on what is parsed at all.

use std::borrow::Cow;

use minijinja::machinery::{Token, ast, parse, tokenize};

use crate::error::Unsupported;

/// The longest template that is parsed here: far beyond any shell command, small enough for 16-bit line counts.
const MAX_SOURCE_BYTES: usize = 256 * 1024;
/// The most tokens in one tag: bounds the depth of what the parser recurses into.
const MAX_TAG_TOKENS: usize = 400;
/// The most tags in a template.
const MAX_TAGS: usize = 5_000;
/// The most `elif`s in a template: the parser recurses on each.
const MAX_ELIFS: usize = 50;

/// Whether there is anything to render; without it the text stands for itself, but for [`unix_newlines`].
pub(crate) fn has_markup(source: &str) -> bool {
    source.contains("{{") || source.contains("{%") || source.contains("{#")
}

/// The text as Jinja's lexer reads it: `\n` for every line end, and without the last line end.
pub(crate) fn unix_newlines(source: &str) -> Cow<'_, str> {
    let text = if source.contains('\r') {
        Cow::Owned(source.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(source)
    };
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix('\n').unwrap_or(text)),
        Cow::Owned(mut text) => {
            if text.ends_with('\n') {
                text.pop();
            }
            Cow::Owned(text)
        }
    }
}

/// Parses what [`unix_newlines`] gave and calls `then` with the tree.
pub(crate) fn with_tree<T>(
    source: &str,
    then: impl FnOnce(&ast::Template<'_>) -> Result<T, Unsupported>,
) -> Result<T, Unsupported> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(unsupported("a template this long", 1));
    }
    if let Some(at) = source.find(|c: char| ('\x1c'..='\x1f').contains(&c)) {
        return Err(unsupported("a separator character", line_at(source, at)));
    }
    // minijinja takes one more line end away; this one it may have.
    let padded = format!("{source}\n");
    guard_tokens(&padded)?;
    match parse(&padded, "template", minijinja::syntax::SyntaxConfig::default()) {
        Ok(ast::Stmt::Template(template)) => then(&template),
        Ok(_) => Err(unsupported("this template", 1)),
        Err(error) => Err(syntax(&error)),
    }
}

pub(crate) fn unsupported(what: impl Into<String>, line: u32) -> Unsupported {
    Unsupported { what: what.into(), line }
}

fn syntax(error: &minijinja::Error) -> Unsupported {
    let line = error.line().unwrap_or(1).try_into().unwrap_or(u32::MAX);
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    unsupported(format!("syntax that only Jinja itself may know: {detail}:"), line)
}

fn line_at(source: &str, at: usize) -> u32 {
    let lines = source.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
    u32::try_from(lines + 1).unwrap_or(u32::MAX)
}

/// What the guard remembers of the tag it is in.
#[derive(Default)]
struct Tag {
    tokens: usize,
    /// How far into `is [not] name` the last tokens went: 1 after `is` or `not`, 2 after the name.
    test: u8,
    /// The offset where the last token ended.
    end: usize,
}

fn guard_tokens(source: &str) -> Result<(), Unsupported> {
    let (mut tags, mut elifs) = (0, 0);
    let mut tag = Tag::default();
    for token in tokenize(source, false, minijinja::syntax::SyntaxConfig::default()) {
        let (token, span) = token.map_err(|error| syntax(&error))?;
        let line = u32::from(span.start_line);
        let (start, end) = (span.start_offset as usize, span.end_offset as usize);
        let text = source.get(start..end).unwrap_or_default();
        match token {
            Token::VariableStart | Token::BlockStart => {
                tags += 1;
                tag = Tag::default();
            }
            Token::VariableEnd if text.starts_with('+') => return Err(unsupported("`+}}`", line)),
            Token::Int(_) | Token::Int128(_) | Token::Float(_) => {
                let is_float = matches!(token, Token::Float(_));
                if jinja_number(source, start) != Some((end - start, is_float)) {
                    return Err(unsupported(format!("the number `{text}`"), line));
                }
            }
            Token::Str(_) | Token::String(_) => {
                if let Some(escape) = doubtful_escape(text) {
                    return Err(unsupported(format!("the escape `\\{escape}` in a text"), line));
                }
            }
            // Only minijinja takes a sign for the argument of a test.
            Token::Plus | Token::Minus if tag.test == 2 => {
                return Err(unsupported("a sign right after a test", line));
            }
            // Only minijinja lets tests without arguments follow each other.
            Token::Ident("is") if tag.test == 2 => return Err(unsupported("a test right after a test", line)),
            Token::Ident("elif") if tag.tokens == 1 => elifs += 1,
            _ => {}
        }
        tag.test = match (&token, tag.test) {
            (Token::Ident("is"), _) => 1,
            (Token::Ident("not"), 1) => 1,
            (Token::Ident(_), 1) => 2,
            (Token::Dot, 2) => 1,
            _ => 0,
        };
        tag.tokens += 1;
        tag.end = end;
        if tag.tokens > MAX_TAG_TOKENS || tags > MAX_TAGS || elifs > MAX_ELIFS {
            return Err(unsupported("a template this large", line));
        }
    }
    Ok(())
}

/// How long the number at `start` is for Jinja, and whether it is a float.
fn jinja_number(source: &str, start: usize) -> Option<(usize, bool)> {
    let bytes = source.as_bytes();
    let after_dot = start > 0 && bytes[start - 1] == b'.';
    let rest = &bytes[start..];
    if !after_dot && let Some(length) = jinja_float(rest) {
        return Some((length, true));
    }
    let radix = match rest {
        [b'0', b'b' | b'B', ..] => 2,
        [b'0', b'o' | b'O', ..] => 8,
        [b'0', b'x' | b'X', ..] => 16,
        _ => 10,
    };
    if radix != 10 {
        let digits = digits(&rest[2..], |byte| (byte as char).is_digit(radix), true);
        return (digits > 0).then_some((2 + digits, false));
    }
    match rest.first()? {
        b'0' => Some((1 + digits(&rest[1..], |byte| byte == b'0', true), false)),
        byte if byte.is_ascii_digit() => Some((digits(rest, |byte| byte.is_ascii_digit(), false), false)),
        _ => None,
    }
}

fn jinja_float(rest: &[u8]) -> Option<usize> {
    let digit = |byte: u8| byte.is_ascii_digit();
    let mut length = digits(rest, digit, false);
    if length == 0 {
        return None;
    }
    let mut is_float = false;
    if rest.get(length) == Some(&b'.') {
        let fraction = digits(&rest[length + 1..], digit, false);
        if fraction > 0 {
            length += 1 + fraction;
            is_float = true;
        }
    }
    if matches!(rest.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(&rest[length + 1 + sign..], digit, false);
        if exponent > 0 {
            length += 1 + sign + exponent;
            is_float = true;
        }
    }
    is_float.then_some(length)
}

/// How many bytes of digits there are, with single underscores between them, or also before them.
fn digits(bytes: &[u8], is_digit: impl Fn(u8) -> bool, leading_underscore: bool) -> usize {
    let mut length = 0;
    loop {
        let underscore = usize::from(bytes.get(length) == Some(&b'_') && (length > 0 || leading_underscore));
        match bytes.get(length + underscore) {
            Some(byte) if is_digit(*byte) => length += underscore + 1,
            _ => return length,
        }
    }
}

/// The first escape of a quoted text that minijinja may read otherwise than Python. An escape that neither knows
/// stays in the text in both.
fn doubtful_escape(quoted: &str) -> Option<char> {
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            continue;
        }
        let escaped = chars.next()?;
        let fine = match escaped {
            '\\' | '\'' | '"' | 'b' | 'f' | 'n' | 'r' | 't' => true,
            'x' => chars.as_str().bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2,
            'u' => {
                let hex = chars.as_str().get(..4).unwrap_or_default();
                hex.bytes().all(|byte| byte.is_ascii_hexdigit())
                    && u32::from_str_radix(hex, 16).is_ok_and(|code| char::from_u32(code).is_some())
            }
            'a' | 'v' | 'N' | 'U' | '/' | '\n' | '0'..='7' => false,
            _ => true,
        };
        if !fine {
            return Some(escaped);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_jinja_reads_them() {
        let cases = [
            ("1", Some((1, false))),
            ("012", Some((1, false))),
            ("00_0", Some((4, false))),
            ("1_000", Some((5, false))),
            ("1__0", Some((1, false))),
            ("1.", Some((1, false))),
            ("1.5", Some((3, true))),
            ("1e3", Some((3, true))),
            ("1.e3", Some((1, false))),
            ("1e", Some((1, false))),
            ("1.5e-3x", Some((6, true))),
            ("0x1F", Some((4, false))),
            ("0x", None),
        ];
        for (text, want) in cases {
            assert_eq!(jinja_number(text, 0), want, "{text}");
        }
        assert_eq!(jinja_number(".1.2", 1), Some((1, false)));
    }

    #[test]
    fn one_line_end_is_taken_away() {
        assert_eq!(unix_newlines("a\r\nb\rc\n\n"), "a\nb\nc\n");
        assert_eq!(unix_newlines("a\n"), "a");
        assert_eq!(unix_newlines("\r"), "");
    }
}
