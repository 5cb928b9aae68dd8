//! A cron expression in English, word for word as Airflow shows it (cron-descriptor, `en_US`, 24 hours).

const DAY_NAMES: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const DAY_CODES: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const MONTH_NAMES: [&str; 12] = [
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
const ORDINALS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

/// The expression in words; empty where Airflow has none either: more than five fields, or a text beyond the describer.
/// With both day fields restricted the two are told apart, since a run needs only one of them.
pub(super) fn describe(expression: &str) -> String {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let &[minute, hour, month_day, month, week_day] = fields.as_slice() else { return String::new() };
    let text = if month_day != "*" && week_day != "*" {
        let by_month_day = Fields::normalized(minute, hour, month_day, month, "*").describe();
        let by_week_day = Fields::normalized(minute, hour, "*", month, week_day).describe();
        by_month_day.zip(by_week_day).map(|(one, other)| format!("{one} (or) {other}"))
    } else {
        Fields::normalized(minute, hour, month_day, month, week_day).describe()
    };
    text.unwrap_or_default()
}

/// The fields in the spelling that the wording goes by.
struct Fields {
    minute: String,
    hour: String,
    month_day: String,
    month: String,
    week_day: String,
}

/// How one field is put into words. `None` where a value has none.
struct Wording<'a> {
    /// What `*` is called.
    all: &'a str,
    item: &'a dyn Fn(&str) -> Option<String>,
    /// What a step is called.
    every: &'a dyn Fn(&str) -> String,
    /// Before, between and after the ends of a range.
    between: (&'a str, &'a str, &'a str),
    /// Around one value or a list of them, given as the field has it.
    only: &'a dyn Fn(&str) -> (String, String),
}

fn has_any(text: &str, characters: &[char]) -> bool {
    text.contains(characters)
}

const SPECIAL: [char; 4] = ['/', '-', ',', '*'];

/// `0/5` means `*/5`, in a field whose first value is 0.
fn step_from_start(field: &str, first: &str) -> String {
    let start = format!("{first}/");
    if field.starts_with(&start) { field.replace(&start, "*/") } else { field.to_owned() }
}

/// `3/2` means `3-12/2`, in a field whose last value is 12.
fn step_to_end(field: String, last: &str) -> String {
    match field.split_once('/') {
        Some((start, step)) if !has_any(&field, &['*', '-', ',']) => {
            format!("{start}-{last}/{}", step.split('/').next().unwrap_or(step))
        }
        _ => field,
    }
}

/// Sunday is 0 where it is written as 7, unless the digit is part of a step or of a week.
fn sunday_is_zero(field: &str) -> String {
    let mut text = String::new();
    let mut characters = field.chars().peekable();
    while let Some(character) = characters.next() {
        let at_start = text.is_empty();
        let follows = characters.peek().is_some_and(char::is_ascii_digit);
        if at_start && character.is_ascii_digit() {
            text.push(if character == '7' { '0' } else { character });
        } else if !matches!(character, '#' | '/') && follows {
            let digit = characters.next().unwrap_or_default();
            text.push(character);
            text.push(if digit == '7' && !character.is_ascii_digit() { '0' } else { digit });
        } else {
            text.push(character);
        }
    }
    text
}

impl Fields {
    fn normalized(minute: &str, hour: &str, month_day: &str, month: &str, week_day: &str) -> Self {
        let minute = step_from_start(minute, "0");
        let mut hour = step_from_start(hour, "0");
        let month_day = step_from_start(&month_day.replace('?', "*"), "1");
        let mut month = step_from_start(month, "1").to_uppercase();
        let week_day = step_from_start(&week_day.replace('?', "*"), "1");
        let mut week_day = sunday_is_zero(&week_day).to_uppercase();
        for (number, code) in DAY_CODES.iter().enumerate() {
            week_day = week_day.replace(code, &number.to_string());
        }
        for (number, name) in (1..).zip(MONTH_NAMES) {
            month = month.replace(&name[..3].to_uppercase(), &number.to_string());
        }
        // Several minutes of one hour are told as a span of that hour.
        if !has_any(&hour, &SPECIAL) && has_any(&minute, &['*', '/']) {
            hour = format!("{hour}-{hour}");
        }
        let every_one = |field: String| if field == "*/1" { "*".to_owned() } else { field };
        Self {
            minute: every_one(minute),
            hour: every_one(hour),
            month_day: every_one(month_day),
            month: step_to_end(every_one(month), "12"),
            week_day: step_to_end(every_one(week_day), "6"),
        }
    }

    fn describe(&self) -> Option<String> {
        let mut text = format!(
            "{}{}{}{}",
            self.time_of_day()?,
            self.month_days_text()?,
            self.week_days_text()?,
            self.months_text()?
        );
        for obvious in [", every minute", ", every hour", ", every day"] {
            text = text.replace(obvious, "");
        }
        let text = text.strip_suffix(' ').unwrap_or(&text);
        let text = text.strip_suffix(',').unwrap_or(text);
        let first = text.chars().next()?;
        Some(format!("{}{}", first.to_uppercase(), &text[first.len_utf8()..]))
    }

    fn time_of_day(&self) -> Option<String> {
        let (minute, hour) = (self.minute.as_str(), self.hour.as_str());
        let one_hour = !has_any(hour, &SPECIAL);
        let one_minute = !has_any(minute, &SPECIAL);
        if one_minute && one_hour {
            return Some(format!("At {}", clock(hour, minute)?));
        }
        if one_hour && minute.contains('-') && !minute.contains(',') {
            let (first, last) = ends(minute)?;
            return Some(format!("Every minute between {} and {}", clock(hour, first)?, clock(hour, last)?));
        }
        if one_minute && hour.contains(',') && !hour.contains('-') {
            let times = hour.split(',').map(|hour| clock(hour, minute)).collect::<Option<Vec<_>>>()?;
            let (last, others) = times.split_last()?;
            return Some(format!("At {} and {last}", others.join(", ")));
        }
        let minutes = self.minutes_text()?;
        let hours = self.hours_text()?;
        let separator = if minutes.is_empty() || hours.is_empty() { "" } else { ", " };
        Some(format!("{minutes}{separator}{hours}"))
    }

    fn minutes_text(&self) -> Option<String> {
        let is_hour_range = self.hour.contains('-') && !has_any(&self.hour, &['/', ',']);
        Wording {
            all: "every minute",
            item: &|minute| Some(minute.to_owned()),
            every: &|step| format!("every {step} minutes"),
            between: ("minutes ", " through ", " past the hour"),
            only: &|_| ("at ".to_owned(), " minutes past the hour".to_owned()),
        }
        .describe_unless(&self.minute, |field| field == "0" && !is_hour_range)
    }

    fn hours_text(&self) -> Option<String> {
        Wording {
            all: "every hour",
            item: &|hour| clock(hour, "0"),
            every: &|step| format!("every {step} hours"),
            between: ("between ", " and ", ""),
            only: &|_| ("at ".to_owned(), String::new()),
        }
        .describe(&self.hour)
    }

    fn months_text(&self) -> Option<String> {
        Wording {
            all: "",
            item: &|month| MONTH_NAMES.get(month.parse::<usize>().ok()?.checked_sub(1)?).map(|name| (*name).to_owned()),
            every: &|step| format!(", every {step} months"),
            between: (", ", " through ", ""),
            only: &|_| (", only in ".to_owned(), String::new()),
        }
        .describe(&self.month)
    }

    fn month_days_text(&self) -> Option<String> {
        let field = self.month_day.as_str();
        if field == "L" {
            return Some(", on the last day of the month".to_owned());
        }
        if let Some(day) = field.strip_suffix('W').or_else(|| field.strip_prefix('W'))
            && matches!(day.len(), 1 | 2)
            && let Ok(day) = day.parse::<u32>()
        {
            let which = if day == 1 { "first weekday".to_owned() } else { format!("weekday nearest day {day}") };
            return Some(format!(", on the {which} of the month"));
        }
        if field == "*" && self.week_day != "*" {
            return Some(String::new());
        }
        Wording {
            all: ", every day",
            item: &|day| Some(day.to_owned()),
            every: &|step| match step {
                "1" => ", every day".to_owned(),
                step => format!(", every {step} days"),
            },
            between: (", between day ", " and ", " of the month"),
            only: &|_| (", on day ".to_owned(), " of the month".to_owned()),
        }
        .describe(field)
    }

    fn week_days_text(&self) -> Option<String> {
        let field = self.week_day.as_str();
        if field == "*" {
            return Some(String::new());
        }
        let only_on = if self.month_day == "*" { ", only on " } else { ", or on " };
        let wording = Wording {
            all: ", every day",
            item: &day_name,
            every: &|step| format!(", every {step} days of the week"),
            between: (", ", " through ", ""),
            only: &|field| match field.split_once('#') {
                Some((_, week)) => {
                    let week = week.parse::<usize>().ok().and_then(|week| ORDINALS.get(week.checked_sub(1)?));
                    (format!(", on the {}", week.unwrap_or(&"")) + " ", " of the month".to_owned())
                }
                None if field.contains('L') => (", on the last ".to_owned(), " of the month".to_owned()),
                None => (only_on.to_owned(), String::new()),
            },
        };
        match self.weeks_apart(&wording)? {
            Some(text) => Some(text),
            None => wording.describe(field),
        }
    }

    /// A step that lets at most one day of each range through is told as weeks between runs.
    fn weeks_apart(&self, wording: &Wording<'_>) -> Option<Option<String>> {
        let Some((base, step)) = self.week_day.split_once('/') else { return Some(None) };
        if step.is_empty() || !step.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(None);
        }
        let every = format!(", every {step} weeks");
        if base.contains(',') {
            let only = |_: &str| (", only on ".to_owned(), String::new());
            let days = Wording { all: "", only: &only, ..*wording }.describe(base)?;
            return Some(Some(every + &days));
        }
        if !base.contains('-') {
            return Some(None);
        }
        let (first, last) = ends(base)?;
        let (first_day, last_day): (i64, i64) = (first.parse().ok()?, last.parse().ok()?);
        let size = if last_day == 0 { 7 } else { last_day } - first_day + 1;
        if step.parse::<i64>().ok()? < size {
            return Some(None);
        }
        // An end on Saturday comes from a single day: `FRI/2` is read as `5-6/2`.
        let days = if last_day == 6 { format!(", only on {}", day_name(first)?) } else { wording.span(base)? };
        Some(Some(every + &days))
    }
}

impl Wording<'_> {
    fn describe(&self, field: &str) -> Option<String> {
        self.describe_unless(field, |_| false)
    }

    /// `is_silent` names the values that are not told.
    fn describe_unless(&self, field: &str, is_silent: impl Fn(&str) -> bool) -> Option<String> {
        let only = |field: &str, text: &str| {
            let (before, after) = (self.only)(field);
            if is_silent(field) { String::new() } else { format!("{before}{text}{after}") }
        };
        if field == "*" {
            return Some(self.all.to_owned());
        }
        if field.contains(',') {
            return Some(only(field, &self.list(field)?));
        }
        if let Some((range, step)) = field.split_once('/') {
            let every = (self.every)(step);
            if range.contains('-') {
                let span = self.span(range)?;
                let separator = if span.starts_with(", ") { "" } else { ", " };
                return Some(format!("{every}{separator}{span}"));
            }
            if range == "*" {
                return Some(every);
            }
            return Some(format!("{every}, starting {}", only(range, &(self.item)(range)?).replace(", ", "")));
        }
        if field.contains('-') {
            return self.span(field);
        }
        Some(only(field, &(self.item)(field)?))
    }

    fn span(&self, range: &str) -> Option<String> {
        let (first, last) = self.ends(range)?;
        let (before, through, after) = self.between;
        Some(format!("{before}{first}{through}{last}{after}"))
    }

    /// The two ends of a range in words. A span of hours lasts until its last hour is over.
    fn ends(&self, range: &str) -> Option<(String, String)> {
        let (first, last) = ends(range)?;
        Some(((self.item)(first)?, (self.item)(last)?.replace(":00", ":59")))
    }

    fn list(&self, field: &str) -> Option<String> {
        let segments: Vec<&str> = field.split(',').collect();
        let mut text = String::new();
        for (position, segment) in segments.iter().enumerate() {
            let is_last = position + 1 == segments.len();
            if position > 0 && segments.len() > 2 {
                text.push_str(if is_last { "," } else { ", " });
            }
            if position > 0 && is_last {
                text.push_str(" and ");
            }
            text.push_str(&self.list_item(segment)?);
        }
        Some(text)
    }

    fn list_item(&self, segment: &str) -> Option<String> {
        let through = |range: &str| self.ends(range).map(|(first, last)| format!("{first} through {last}"));
        let Some((range, step)) = segment.split_once('/') else {
            return if segment.contains('-') { through(segment) } else { (self.item)(segment) };
        };
        let every = (self.every)(step);
        let every = every.strip_prefix(", ").unwrap_or(&every);
        Some(match range {
            "*" => every.to_owned(),
            range if range.contains('-') => format!("{every}, {}", through(range)?),
            // The original has no English text for where such a step starts, and leaves a gap.
            range => (self.item)(range).map(|_| format!("{every}, "))?,
        })
    }
}

/// Both ends of `a-b`.
fn ends(range: &str) -> Option<(&str, &str)> {
    let mut parts = range.split('-');
    Some((parts.next()?, parts.next()?))
}

fn clock(hour: &str, minute: &str) -> Option<String> {
    Some(format!("{:02}:{:02}", hour.parse::<u32>().ok()?, minute.parse::<u32>().ok()?))
}

/// The name of a day as a field has it: a number, maybe with `#n` or `L`.
fn day_name(day: &str) -> Option<String> {
    let number = day.split_once('#').map_or_else(|| day.replace('L', ""), |(number, _)| number.to_owned());
    DAY_NAMES.get(number.parse::<usize>().ok()?).map(|name| (*name).to_owned())
}
