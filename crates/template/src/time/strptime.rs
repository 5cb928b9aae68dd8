//! `datetime.strptime`: matches as the regular expression does that Python makes of the format.

use jiff::civil;

use super::strftime::{DAYS, MONTHS};
use super::{DateTime, When};
use crate::error::{Outcome, needs_python, value_error};
use crate::value::{is_space, str_repr};

/// A piece of a format.
enum Piece {
    Directive(char),
    /// White space, any amount of it.
    Space,
    Char(char),
}

/// `datetime.strptime(text, format)`.
pub(crate) fn strptime(text: &str, format: &str) -> Outcome<DateTime> {
    if !text.is_ascii() || !format.is_ascii() {
        return needs_python("a date text beyond ASCII");
    }
    let pieces = pieces(format)?;
    let mut found = Vec::new();
    let Some(rest) = matched(&pieces, text, &mut found) else {
        return value_error(format!("time data {} does not match format {}", str_repr(text), str_repr(format)));
    };
    if !rest.is_empty() {
        return value_error(format!("unconverted data remains: {rest}"));
    }
    Ok(DateTime { when: When::Naive(assemble(&found)?), is_pendulum: false })
}

fn pieces(format: &str) -> Outcome<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut seen = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if is_space(c) {
            while chars.next_if(|c| is_space(*c)).is_some() {}
            pieces.push(Piece::Space);
        } else if c == '%' {
            match chars.next() {
                Some('%') => pieces.push(Piece::Char('%')),
                Some(directive) if "dfHImMpSyYbBaA".contains(directive) && !seen.contains(directive) => {
                    seen.push(directive);
                    pieces.push(Piece::Directive(directive));
                }
                _ => return needs_python(format!("the format {format:?}")),
            }
        } else {
            pieces.push(Piece::Char(c));
        }
    }
    Ok(pieces)
}

/// What is left of the text when all pieces have matched, trying the ways to match in the order of Python's
/// alternatives.
fn matched<'a>(pieces: &[Piece], text: &'a str, found: &mut Vec<(char, i64)>) -> Option<&'a str> {
    let Some((piece, pieces)) = pieces.split_first() else {
        return Some(text);
    };
    match piece {
        Piece::Char(c) => {
            let first = text.chars().next().filter(|first| first.eq_ignore_ascii_case(c))?;
            matched(pieces, &text[first.len_utf8()..], found)
        }
        Piece::Space => {
            let most = text.chars().take_while(|c| is_space(*c)).count();
            (1..=most).rev().find_map(|length| matched(pieces, &text[length..], found))
        }
        Piece::Directive(directive) => candidates(*directive, text).into_iter().find_map(|(length, value)| {
            found.push((*directive, value));
            let rest = matched(pieces, &text[length..], found);
            if rest.is_none() {
                found.pop();
            }
            rest
        }),
    }
}

/// The ways in which a directive matches the beginning of a text: how many bytes, and the value.
fn candidates(directive: char, text: &str) -> Vec<(usize, i64)> {
    let number = |length: usize| {
        text.get(..length).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<i64>().ok()
    };
    let fixed = |length: usize| number(length).map(|value| (length, value));
    let short = |low: i64, high: i64| {
        let two = fixed(2).filter(|(_, value)| (low..=high).contains(value));
        let one = fixed(1).filter(|(_, value)| *value >= low);
        two.into_iter().chain(one).collect::<Vec<_>>()
    };
    match directive {
        'd' => {
            let mut ways = short(1, 31);
            if let (Some(b' '), Some(digit @ b'1'..=b'9')) = (text.as_bytes().first(), text.as_bytes().get(1)) {
                ways.push((2, i64::from(digit - b'0')));
            }
            ways
        }
        'm' | 'I' => short(1, 12),
        'H' => short(0, 23),
        'M' => short(0, 59),
        'S' => short(0, 61),
        'y' => fixed(2).into_iter().collect(),
        'Y' => fixed(4).into_iter().collect(),
        'f' => {
            (1..=6).rev().filter_map(|length| Some((length, number(length)? * 10_i64.pow(6 - length as u32)))).collect()
        }
        'b' => names(text, MONTHS.iter().map(|name| &name[..3])),
        'B' => names(text, MONTHS.iter().copied()),
        'a' => names(text, DAYS.iter().map(|name| &name[..3])),
        'A' => names(text, DAYS.iter().copied()),
        _ => names(text, ["AM", "PM"].into_iter()),
    }
}

fn names<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Vec<(usize, i64)> {
    (1..)
        .zip(names)
        .filter(|(_, name)| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
        .map(|(value, name)| (name.len(), value))
        .collect()
}

fn assemble(found: &[(char, i64)]) -> Outcome<civil::DateTime> {
    let get = |directive: char| found.iter().find(|(known, _)| *known == directive).map(|(_, value)| *value);
    let two_digits = get('y').map(|year| if year <= 68 { 2000 + year } else { 1900 + year });
    if get('y').is_some() && get('Y').is_some() {
        return needs_python("a format with two years");
    }
    let year = get('Y').or(two_digits);
    let month = get('m').or(get('b')).or(get('B')).unwrap_or(1);
    let day = get('d').unwrap_or(1);
    if year.is_none() && day == 29 && month == 2 {
        return needs_python("a leap day without a year");
    }
    let year = year.unwrap_or(1900);
    let hour = match (get('I'), get('p')) {
        (Some(12), None | Some(1)) => 0,
        (Some(hour), Some(2)) if hour != 12 => hour + 12,
        (Some(hour), _) => hour,
        (None, _) => get('H').unwrap_or(0),
    };
    if get('I').is_some() && get('H').is_some() {
        return needs_python("a format with two hours");
    }
    let second = get('S').unwrap_or(0);
    if year < 1 || second > 59 {
        return needs_python("this date");
    }
    let small = |value: i64| i8::try_from(value).unwrap_or(i8::MAX);
    let micros = i32::try_from(get('f').unwrap_or(0)).unwrap_or(0);
    let Ok(date) = civil::Date::new(i16::try_from(year).unwrap_or(i16::MAX), small(month), small(day)) else {
        return value_error("day is out of range for month");
    };
    match civil::Time::new(small(hour), small(get('M').unwrap_or(0)), small(second), micros * 1000) {
        Ok(time) => Ok(date.to_datetime(time)),
        Err(_) => needs_python("this time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        let cases = [
            ("2024-01-02", "%Y-%m-%d", Ok("2024-01-02 00:00:00")),
            ("1/5/2015", "%m/%d/%Y", Ok("2015-01-05 00:00:00")),
            ("20240102T030405", "%Y%m%dT%H%M%S", Ok("2024-01-02 03:04:05")),
            ("11 pm", "%I %p", Ok("1900-01-01 23:00:00")),
            ("2024112", "%Y%m%d", Ok("2024-11-02 00:00:00")),
            ("1.5", "%S.%f", Ok("1900-01-01 00:00:01.500000")),
            ("Mar   3", "%b %d", Ok("1900-03-03 00:00:00")),
            ("2024-01-02x", "%Y-%m-%d", Err("unconverted data remains: x")),
            ("x", "%Y", Err("time data 'x' does not match format '%Y'")),
            ("2023-02-29", "%Y-%m-%d", Err("day is out of range for month")),
        ];
        for (text, format, want) in cases {
            let got = strptime(text, format).map(|moment| moment.text(' '));
            match (got, want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{text}"),
                (Err(crate::error::Failure::Raised { message, .. }), Err(want)) => assert_eq!(message, want),
                (got, want) => panic!("{text}: {got:?} instead of {want:?}"),
            }
        }
    }
}
