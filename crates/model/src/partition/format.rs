//! Keys that are dates: the part of Python's `strptime` and `strftime` that such keys have. What is beyond it is left to
//! Python.

use jiff::civil;

use super::{MapError, quoted};

/// `datetime.strptime(text, format)`.
pub(crate) fn parse(text: &str, format: &str) -> Result<civil::DateTime, MapError> {
    let pieces = pieces(text, format)?;
    let mut found = Vec::new();
    let Some(rest) = matched(&pieces, text, &mut found) else {
        let (text, format) = (quoted(text), quoted(format));
        return Err(MapError::value(format!("time data {text} does not match format {format}")));
    };
    if !rest.is_empty() {
        return Err(MapError::value(format!("unconverted data remains: {rest}")));
    }
    let get = |directive: char, otherwise: i64| {
        found.iter().find(|(known, _)| *known == directive).map_or(otherwise, |(_, value)| *value)
    };
    let small = |value: i64| i8::try_from(value).unwrap_or(i8::MAX);
    let (year, month, day) = (get('Y', 1900), small(get('m', 1)), small(get('d', 1)));
    if year < 1 || get('S', 0) > 59 || !found.iter().any(|(known, _)| *known == 'Y') && (month, day) == (2, 29) {
        return Err(MapError::Python);
    }
    let date = civil::Date::new(i16::try_from(year).map_err(|_| MapError::Python)?, month, day)
        .map_err(|_| MapError::value("day is out of range for month"))?;
    let nanos = i32::try_from(get('f', 0) * 1000).map_err(|_| MapError::Python)?;
    let time = civil::Time::new(small(get('H', 0)), small(get('M', 0)), small(get('S', 0)), nanos);
    Ok(date.to_datetime(time.map_err(|_| MapError::Python)?))
}

enum Piece {
    Directive(char),
    Char(char),
}

fn pieces(text: &str, format: &str) -> Result<Vec<Piece>, MapError> {
    // White space in a format matches any amount of it.
    if !text.is_ascii() || !format.is_ascii() || format.contains(|c: char| c.is_ascii_whitespace() && c != ' ') {
        return Err(MapError::Python);
    }
    if format.contains("  ") || (format.contains(' ') && text.contains("  ")) {
        return Err(MapError::Python);
    }
    let mut seen = String::new();
    let mut pieces = Vec::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            pieces.push(Piece::Char(c));
            continue;
        }
        match chars.next() {
            Some('%') => pieces.push(Piece::Char('%')),
            Some(directive) if "YmdHMSf".contains(directive) && !seen.contains(directive) => {
                seen.push(directive);
                pieces.push(Piece::Directive(directive));
            }
            _ => return Err(MapError::Python),
        }
    }
    Ok(pieces)
}

/// What is left of the text when all pieces have matched, trying the ways to match in the order of Python's
/// alternatives.
fn matched<'a>(pieces: &[Piece], text: &'a str, found: &mut Vec<(char, i64)>) -> Option<&'a str> {
    let Some((piece, pieces)) = pieces.split_first() else { return Some(text) };
    match piece {
        Piece::Char(c) => {
            text.chars().next().filter(|first| first.eq_ignore_ascii_case(c))?;
            matched(pieces, &text[1..], found)
        }
        Piece::Directive(directive) => ways(*directive, text).into_iter().find_map(|(length, value)| {
            found.push((*directive, value));
            let rest = matched(pieces, &text[length..], found);
            if rest.is_none() {
                found.pop();
            }
            rest
        }),
    }
}

/// How many characters of a text a directive can match, and to which value.
fn ways(directive: char, text: &str) -> Vec<(usize, i64)> {
    let number = |length: usize| {
        let digits = text.get(..length).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some((length, digits.parse::<i64>().ok()?))
    };
    let short = |low: i64, high: i64| {
        let two = number(2).filter(|(_, value)| (low..=high).contains(value));
        two.into_iter().chain(number(1).filter(|(_, value)| *value >= low)).collect()
    };
    match directive {
        'Y' => number(4).into_iter().collect(),
        'm' => short(1, 12),
        'd' => {
            let mut ways: Vec<(usize, i64)> = short(1, 31);
            if let (Some(b' '), Some(digit @ b'1'..=b'9')) = (text.as_bytes().first(), text.as_bytes().get(1)) {
                ways.push((2, i64::from(digit - b'0')));
            }
            ways
        }
        'H' => short(0, 23),
        'M' => short(0, 59),
        'S' => short(0, 61),
        _ => {
            let in_micros = |(length, value)| (length, value * 10_i64.pow(6_u32.saturating_sub(length as u32)));
            (1..=6).rev().filter_map(|length| number(length).map(in_micros)).collect()
        }
    }
}

/// `datetime.strftime(format)` of a time on the clock; `offset` is that of its zone, in seconds.
pub(crate) fn write(clock: civil::DateTime, offset: i32, format: &str) -> Result<String, MapError> {
    let mut text = String::new();
    let mut chars = format.chars();
    let weekday = i64::from(clock.weekday().to_monday_zero_offset());
    let (week, day) = (clock.date().iso_week_date(), i64::from(clock.day_of_year()));
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let (value, width) = match chars.next() {
            Some('%') => {
                text.push('%');
                continue;
            }
            Some('z') => {
                let (sign, offset) = (if offset < 0 { '-' } else { '+' }, offset.abs());
                if offset % 60 != 0 {
                    return Err(MapError::Python);
                }
                text.push_str(&format!("{sign}{:02}{:02}", offset / 3600, offset / 60 % 60));
                continue;
            }
            // The C library does not fill up the years before.
            Some('Y') if clock.year() >= 1000 => (i64::from(clock.year()), 4),
            Some('G') if week.year() >= 1000 => (i64::from(week.year()), 4),
            Some('y') => (i64::from(clock.year() % 100), 2),
            Some('m') => (i64::from(clock.month()), 2),
            Some('d') => (i64::from(clock.day()), 2),
            Some('H') => (i64::from(clock.hour()), 2),
            Some('M') => (i64::from(clock.minute()), 2),
            Some('S') => (i64::from(clock.second()), 2),
            Some('f') => (i64::from(clock.subsec_nanosecond() / 1000), 6),
            Some('j') => (day, 3),
            Some('V') => (i64::from(week.week()), 2),
            Some('U') => ((day - 1 + 7 - (weekday + 1) % 7) / 7, 2),
            Some('W') => ((day - 1 + 7 - weekday) / 7, 2),
            Some('u') => (weekday + 1, 1),
            Some(c @ ('a' | 'A' | 'b' | 'B' | 'p' | 'I' | 'F' | 'T' | 'R')) => {
                text.push_str(&clock.strftime(&format!("%{c}")).to_string());
                continue;
            }
            _ => return Err(MapError::Python),
        };
        text.push_str(&format!("{value:0width$}"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_python_reads_them() {
        let cases = [
            ("2024-01-02", "%Y-%m-%d", Ok("2024-01-02T00:00:00")),
            ("2024-1-2T3", "%Y-%m-%dT%H", Ok("2024-01-02T03:00:00")),
            ("20241112", "%Y%m%d", Ok("2024-11-12T00:00:00")),
            ("2024112", "%Y%m%d", Ok("2024-11-02T00:00:00")),
            ("5.25", "%S.%f", Ok("1900-01-01T00:00:05.25")),
            ("2024-01-02x", "%Y-%m-%d", Err("ValueError: unconverted data remains: x")),
            ("x", "%Y", Err("ValueError: time data 'x' does not match format '%Y'")),
            ("2023-02-29", "%Y-%m-%d", Err("ValueError: day is out of range for month")),
            ("2023", "%G", Err("only Python can tell")),
            ("٢٠٢٤", "%Y", Err("only Python can tell")),
        ];
        for (text, format, want) in cases {
            let got = parse(text, format).map(|clock| clock.to_string()).map_err(|error| error.to_string());
            assert_eq!(got.as_deref().map_err(String::as_str), want, "{text} {format}");
        }
    }

    #[test]
    fn dates_are_written_as_python_writes_them() {
        let clock = civil::datetime(2024, 12, 30, 4, 5, 6, 7000);
        for (format, want) in [
            ("%Y-%m-%dT%H:%M:%S.%f", "2024-12-30T04:05:06.000007"),
            ("%j of %y, 100%%", "365 of 24, 100%"),
            ("%G W%V %U %W %u", "2025 W01 52 53 1"),
            ("%z", "-0330"),
            ("%a %d %b, %I %p, %F %T", "Mon 30 Dec, 04 AM, 2024-12-30 04:05:06"),
        ] {
            assert_eq!(write(clock, -12_600, format).unwrap(), want);
        }
        assert_eq!(write(clock, 0, "%c"), Err(MapError::Python));
    }
}
