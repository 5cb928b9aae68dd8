//! `strftime`: Python's, on top of that of the GNU C library in the C locale.

use super::{DateTime, micros_of, offset_text};
use crate::error::{Outcome, needs_python};

pub(crate) const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// How a number is padded: as its directive has it, or as a flag says.
#[derive(Clone, Copy, PartialEq)]
enum Pad {
    Default,
    None,
    Space,
    Zero,
}

/// Checks that every directive of a format is known.
pub(crate) fn check_format(format: &str) -> Result<(), String> {
    let moment = DateTime::standard(jiff::Timestamp::UNIX_EPOCH);
    match strftime(&moment, format) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("the format {format:?}")),
    }
}

/// `moment.strftime(format)`.
pub(crate) fn strftime(moment: &DateTime, format: &str) -> Outcome<String> {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            if c == '\0' {
                return needs_python("a null character in a format");
            }
            out.push(c);
            continue;
        }
        let Some(mut directive) = chars.next() else {
            return needs_python("a format that ends with `%`");
        };
        let mut pad = Pad::Default;
        let mut upper = false;
        match directive {
            '-' => pad = Pad::None,
            '_' => pad = Pad::Space,
            '0' => pad = Pad::Zero,
            '^' => upper = true,
            _ => {}
        }
        if pad != Pad::Default || upper {
            directive = chars.next().unwrap_or('\0');
        }
        match directive_text(moment, directive, pad)? {
            Some(text) if upper && "aAbBh".contains(directive) => out.push_str(&text.to_uppercase()),
            Some(text) if !upper => out.push_str(&text),
            _ => return needs_python(format!("`%{directive}` in the format {format:?}")),
        }
    }
    Ok(out)
}

fn directive_text(moment: &DateTime, directive: char, pad: Pad) -> Outcome<Option<String>> {
    let clock = moment.clock();
    let weekday = i64::from(clock.weekday().to_monday_zero_offset());
    let hour = i64::from(clock.hour());
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let week = clock.date().iso_week_date();
    let day_of_year = i64::from(clock.day_of_year());
    let number = |value: i64, width: usize| Some((value, width, Pad::Zero));
    let spaced = |value: i64, width: usize| Some((value, width, Pad::Space));
    let numeric = match directive {
        'd' => number(clock.day().into(), 2),
        'm' => number(clock.month().into(), 2),
        'y' => number((clock.year() % 100).into(), 2),
        'C' => number((clock.year() / 100).into(), 2),
        'H' => number(hour, 2),
        'I' => number(twelve, 2),
        'M' => number(clock.minute().into(), 2),
        'S' => number(clock.second().into(), 2),
        'j' => number(day_of_year, 3),
        'V' => number(week.week().into(), 2),
        'g' => number((week.year() % 100).into(), 2),
        'U' => number((day_of_year - 1 + 7 - (weekday + 1) % 7) / 7, 2),
        'W' => number((day_of_year - 1 + 7 - weekday) / 7, 2),
        'u' => number(weekday + 1, 1),
        'w' => number((weekday + 1) % 7, 1),
        'e' => spaced(clock.day().into(), 2),
        'k' => spaced(hour, 2),
        'l' => spaced(twelve, 2),
        _ => None,
    };
    if let Some((value, width, padding)) = numeric {
        return Ok(Some(padded(value, width, if pad == Pad::Default { padding } else { pad })));
    }
    if pad != Pad::Default {
        return Ok(None);
    }
    if clock.year() < 1000 && "YGFcD".contains(directive) {
        return needs_python("the text of a year before 1000");
    }
    let joined = |parts: &str| strftime(moment, parts).map(Some);
    let day = DAYS[weekday.unsigned_abs() as usize % 7];
    let month = MONTHS[(clock.month().unsigned_abs() as usize + 11) % 12];
    Ok(Some(match directive {
        'Y' => clock.year().to_string(),
        'G' => week.year().to_string(),
        'a' => day[..3].to_owned(),
        'A' => day.to_owned(),
        'b' | 'h' => month[..3].to_owned(),
        'B' => month.to_owned(),
        'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
        'f' => format!("{:06}", micros_of(clock)),
        'z' => moment.zoned().map_or_else(String::new, |zoned| offset_text(zoned.offset().seconds(), "")),
        'Z' => zone_name(moment),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        '%' => "%".to_owned(),
        'F' => return joined("%Y-%m-%d"),
        'T' | 'X' => return joined("%H:%M:%S"),
        'R' => return joined("%H:%M"),
        'r' => return joined("%I:%M:%S %p"),
        'D' | 'x' => return joined("%m/%d/%y"),
        'c' => return joined("%a %b %e %H:%M:%S %Y"),
        _ => return Ok(None),
    }))
}

fn padded(value: i64, width: usize, pad: Pad) -> String {
    match pad {
        Pad::None => value.to_string(),
        Pad::Space => format!("{value:width$}"),
        Pad::Zero | Pad::Default => format!("{value:0width$}"),
    }
}

/// `tzname()`, empty without a zone.
pub(super) fn zone_name(moment: &DateTime) -> String {
    moment
        .zoned()
        .map_or_else(String::new, |zoned| zoned.time_zone().to_offset_info(zoned.timestamp()).abbreviation().to_owned())
}
