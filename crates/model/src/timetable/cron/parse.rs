//! From the text of a cron expression to the values that its fields allow.

use std::collections::BTreeSet;

use super::{CronError, CronExpression, CronField, FieldError, MonthDays, Week, WeekDays};

/// The presets that croniter knows itself, in any case.
const PRESETS: [(&str, &str); 7] = [
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

const MONTH_NAMES: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAY_NAMES: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Numbers beyond this are all equally wrong as a value, and all equally long as a step.
const HUGE: u32 = 1_000_000;

/// What one field allows, before its meaning together with the others is known.
#[derive(Default)]
struct FieldValues {
    any: bool,
    values: BTreeSet<u32>,
    last_day: bool,
    nearest_weekday: Option<u32>,
    weeks: Vec<(u32, Week)>,
}

/// The values of one field as bits.
fn bits(values: &FieldValues) -> u64 {
    if values.any { u64::MAX } else { values.values.iter().fold(0, |bits, value| bits | 1 << value) }
}

pub(super) fn parse(text: &str) -> Result<CronExpression, CronError> {
    let lower = text.to_lowercase();
    let meaning = PRESETS.iter().find(|(name, _)| *name == lower).map_or(lower.as_str(), |(_, meaning)| meaning);
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
    let texts: Vec<&str> = meaning.split(is_space).filter(|part| !part.is_empty()).collect();
    if !(5..=7).contains(&texts.len()) {
        return Err(CronError::FieldCount { expression: text.to_owned(), count: texts.len() });
    }
    let mut fields = Vec::with_capacity(texts.len());
    for (&field, field_text) in CronField::ALL.iter().zip(&texts) {
        let values = field_values(field, field_text).map(|values| collapse(field, values, &texts));
        fields.push(values.map_err(|reason| CronError::Field {
            expression: text.to_owned(),
            field,
            text: (*field_text).to_owned(),
            reason,
        })?);
    }
    let second = if fields.len() > 5 { bits(&fields[5]) } else { 1 };
    let years = fields.get(6).filter(|years| !years.any);
    Ok(CronExpression {
        text: text.to_owned(),
        seconds: second,
        minutes: bits(&fields[0]),
        hours: bits(&fields[1]),
        month_days: MonthDays {
            any: fields[2].any,
            days: bits(&fields[2]),
            last_day: fields[2].last_day,
            nearest_weekday: fields[2].nearest_weekday,
        },
        months: bits(&fields[3]),
        week_days: WeekDays { any: fields[4].any, days: bits(&fields[4]), weeks: fields[4].weeks.clone() },
        years: years.map(|years| years.values.iter().map(|year| *year as i16).collect()),
        field_count: fields.len(),
        covers_every_hour: fields[1].any && fields[1].values.is_empty(),
    })
}

/// A field that lists everything is an asterisk. Not so for the two day fields, unless the other one has an asterisk
/// somewhere: `1-31` beside a day of week means every day, where `*` would leave the choice to the day of week.
fn collapse(field: CronField, mut values: FieldValues, texts: &[&str]) -> FieldValues {
    let (min, max) = field.bounds();
    let count = values.values.len() + usize::from(values.any) + usize::from(values.last_day);
    let may_collapse = match field {
        CronField::DayOfMonth => texts[4].contains('*'),
        CronField::DayOfWeek => texts[2].contains('*'),
        _ => true,
    };
    if count == (max - min + 1) as usize && may_collapse {
        values.any = true;
        values.values.clear();
        values.last_day = false;
    }
    values
}

fn field_values(field: CronField, text: &str) -> Result<FieldValues, FieldError> {
    if is_hashed(text) {
        return Err(FieldError::Hashed);
    }
    let mut found = FieldValues::default();
    if text.contains('?') {
        let allowed = text == "?" && matches!(field, CronField::DayOfMonth | CronField::DayOfWeek);
        found.any = true;
        return if allowed { Ok(found) } else { Err(FieldError::QuestionMark) };
    }
    let items: Vec<&str> = text.split(',').collect();
    for item in &items {
        match (field, nearest_weekday(item)) {
            (CronField::DayOfMonth, Some(_)) if items.len() > 1 => return Err(FieldError::NearestWeekdayInList),
            (CronField::DayOfMonth, Some(day)) => {
                found.nearest_weekday = Some(within(field, day)?);
                found.values.insert(day);
            }
            _ => add_item(field, item, &mut found)?,
        }
    }
    let with_week: BTreeSet<u32> = found.weeks.iter().map(|(day, _)| *day).collect();
    let is_mixed = !with_week.is_empty() && found.values.iter().any(|day| !with_week.contains(day));
    // A list of all seven days passes, as it does in croniter; the weeks alone count then.
    if is_mixed && found.values.len() + usize::from(found.any) != 7 {
        return Err(FieldError::MixedWeeks);
    }
    Ok(found)
}

/// One element of a list.
fn add_item(field: CronField, item: &str, found: &mut FieldValues) -> Result<(), FieldError> {
    if field == CronField::DayOfWeek {
        if let Some((days, week)) = item.rsplit_once('#')
            && let Some(week) = number(week)
        {
            return add_weekdays(days, item, week, found);
        }
        if let Some(day) = item.strip_prefix('l').and_then(number) {
            let day = within(field, alias(field, day))?;
            found.values.insert(day);
            found.weeks.push((day, Week::Last));
            return Ok(());
        }
    }
    if let Some(values) = range(field, item)? {
        for value in values {
            found.values.insert(within(field, value)?);
        }
    } else if item == "*" {
        found.any = true;
    } else if item == "l" && field == CronField::DayOfMonth {
        found.last_day = true;
    } else {
        found.values.insert(within(field, alias(field, value(field, item, item)?))?);
    }
    Ok(())
}

/// `days#week`, where `days` is one day or a range of names.
fn add_weekdays(days: &str, item: &str, week: u32, found: &mut FieldValues) -> Result<(), FieldError> {
    let field = CronField::DayOfWeek;
    if !(1..=5).contains(&week) {
        return Err(FieldError::NoSuchWeek(week));
    }
    let days = match days.split_once('-') {
        // Croniter takes ranges of names here, but not of numbers.
        Some((first, last)) if DAY_NAMES.contains(&first) && DAY_NAMES.contains(&last) => {
            range(field, days)?.unwrap_or_default()
        }
        Some(_) => return Err(FieldError::NotUnderstood(item.to_owned())),
        None => vec![within(field, alias(field, value(field, days, item)?))?],
    };
    for day in days {
        found.values.insert(day);
        found.weeks.push((day, Week::Nth(week)));
    }
    Ok(())
}

/// The values of `low-high`, `low-high/step`, `*/step` and `low/step`; `None` where the item has none of these shapes.
fn range(field: CronField, item: &str) -> Result<Option<Vec<u32>>, FieldError> {
    let (min, max) = field.bounds();
    let (body, step) = match item.rsplit_once('/') {
        Some((body, step)) => match number(step) {
            Some(step) => (body, Some(step)),
            None => return Ok(None),
        },
        None => (item, None),
    };
    let (low, high, has_end) = match (body.split_once('-'), step) {
        (Some(("", _) | (_, "")), _) => return Ok(None),
        (Some((_, high)), _) if high.contains('-') => return Ok(None),
        (Some((low, "l")), _) if field == CronField::DayOfMonth => (value(field, low, item)?, 31, true),
        (Some((low, high)), _) => (value(field, low, item)?, value(field, high, item)?, true),
        (None, Some(_)) if body == "*" => (min, max, true),
        (None, Some(_)) => (value(field, body, item)?, max, false),
        (None, None) => return Ok(None),
    };
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(FieldError::ZeroStep);
    }
    let (low, high) = (alias(field, low), alias(field, high));
    if low.max(high) > max {
        return Err(FieldError::OutOfRange { value: low.max(high), min, max });
    }
    Ok(Some(match low.cmp(&high) {
        // `jan-jan` is once around the field, but `59/15` is only its start.
        std::cmp::Ordering::Equal if has_end => (min..=max).step_by(step as usize).collect(),
        std::cmp::Ordering::Equal | std::cmp::Ordering::Less => (low..=high).step_by(step as usize).collect(),
        std::cmp::Ordering::Greater => wrapped(low, high, step, (min, max)),
    }))
}

/// A range that runs over the end of its field, such as `fri-mon` or `22-2/2`, in croniter's way: the step goes on
/// counting over the end, unless it would land exactly behind it.
fn wrapped(low: u32, high: u32, step: u32, (min, max): (u32, u32)) -> Vec<u32> {
    let mut values: Vec<u32> = (low..=max).step_by(step as usize).collect();
    let last = values.last().copied().unwrap_or(low);
    let behind = max - last;
    let runs_over = last + step > max + 1;
    let skip = if runs_over && behind < step { step - behind } else { 0 };
    values.extend((min + skip..=high).step_by(step as usize));
    values
}

/// A number or a name.
fn value(field: CronField, text: &str, item: &str) -> Result<u32, FieldError> {
    let named = |names: &[&str], first: u32| names.iter().position(|name| *name == text).map(|at| at as u32 + first);
    let value = number(text).or_else(|| match field {
        CronField::Month => named(&MONTH_NAMES, 1),
        CronField::DayOfWeek => named(&DAY_NAMES, 0),
        _ => None,
    });
    value.ok_or_else(|| FieldError::NotUnderstood(item.to_owned()))
}

fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(HUGE).min(HUGE))
}

fn alias(field: CronField, value: u32) -> u32 {
    if field == CronField::DayOfWeek && value == 7 { 0 } else { value }
}

fn within(field: CronField, value: u32) -> Result<u32, FieldError> {
    let (min, max) = field.bounds();
    if (min..=max).contains(&value) { Ok(value) } else { Err(FieldError::OutOfRange { value, min, max }) }
}

/// `15w` or `w15`.
fn nearest_weekday(item: &str) -> Option<u32> {
    item.strip_suffix('w').or_else(|| item.strip_prefix('w')).and_then(number)
}

/// `h`, `r`, `h(1-5)`, `h/3`, `h(1-5)/3`.
fn is_hashed(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['h', 'r']) else { return false };
    let (bounds, step) = rest.split_once('/').map_or((rest, None), |(bounds, step)| (bounds, Some(step)));
    let bounds_fit = bounds.is_empty()
        || bounds
            .strip_prefix('(')
            .and_then(|inner| inner.strip_suffix(')'))
            .and_then(|inner| inner.split_once('-'))
            .is_some_and(|(low, high)| number(low).is_some() && number(high).is_some());
    bounds_fit && step.is_none_or(|step| number(step).is_some())
}
