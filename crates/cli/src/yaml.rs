//! YAML as Python's `yaml` package reads and writes it: version 1.1, in which `yes` and `on` are truth values.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};

/// Values that a document may have in all, aliases written out: a short text can stand for any number of them.
const MAX_VALUES: usize = 1_000_000;
/// How deep values may be nested.
const MAX_DEPTH: usize = 200;

/// A text that is no YAML, or more than data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// Reads the one document of a text; null where there is none.
pub(crate) fn read(text: &str) -> Result<Value, YamlError> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), values: 0, line: 1 };
    let mut document = None;
    while let Some(event) = reader.next()? {
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            Event::StreamEnd => break,
            _ if document.is_some() => return Err(reader.error("expected a single document in the stream")),
            event => document = Some(reader.value(event, 0)?),
        }
    }
    Ok(document.unwrap_or_default())
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, (Value, usize)>,
    values: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, message: &str) -> YamlError {
        YamlError { line: self.line, message: message.to_owned() }
    }

    fn next(&mut self) -> Result<Option<Event<'a>>, YamlError> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(Some(event))
            }
            Some(Err(error)) => Err(YamlError { line: error.marker().line(), message: error.info().to_owned() }),
        }
    }

    fn must_have(&mut self) -> Result<Event<'a>, YamlError> {
        self.next()?.ok_or_else(|| self.error("the document ends in the middle of a value"))
    }

    fn value(&mut self, event: Event<'a>, depth: usize) -> Result<Value, YamlError> {
        let before = self.values;
        self.count(1)?;
        if depth > MAX_DEPTH {
            return Err(self.error("values are nested too deeply"));
        }
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                let (value, size) = self.anchors.get(&anchor).cloned().ok_or_else(|| self.error("an unknown alias"))?;
                self.count(size)?;
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => (self.scalar(&text, style, tag.as_deref())?, anchor),
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag, "seq")?;
                let mut items = Vec::new();
                loop {
                    match self.must_have()? {
                        Event::SequenceEnd => break,
                        event => items.push(self.value(event, depth + 1)?),
                    }
                }
                (Value::Array(items), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag, "map")?;
                (Value::Object(self.mapping(depth)?), anchor)
            }
            _ => return Err(self.error("a value is missing")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), self.values - before));
        }
        Ok(value)
    }

    fn count(&mut self, more: usize) -> Result<(), YamlError> {
        self.values += more;
        if self.values > MAX_VALUES { Err(self.error("the document has too many values")) } else { Ok(()) }
    }

    fn mapping(&mut self, depth: usize) -> Result<Map<String, Value>, YamlError> {
        let (mut fields, mut merged) = (Map::new(), Map::new());
        loop {
            let key = match self.must_have()? {
                Event::MappingEnd => break,
                event => event,
            };
            let is_merge = matches!(&key, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = match self.value(key, depth + 1)? {
                Value::String(text) => text,
                Value::Array(_) | Value::Object(_) => return Err(self.error("a key must be a text")),
                plain => plain.to_string(),
            };
            let event = self.must_have()?;
            let value = self.value(event, depth + 1)?;
            match value {
                Value::Object(more) if is_merge => merge(&mut merged, more),
                Value::Array(list) if is_merge => {
                    for more in list {
                        match more {
                            Value::Object(more) => merge(&mut merged, more),
                            _ => return Err(self.error("only mappings can be merged")),
                        }
                    }
                }
                _ if is_merge => return Err(self.error("only mappings can be merged")),
                value => drop(fields.insert(key, value)),
            }
        }
        merge(&mut fields, merged);
        Ok(fields)
    }

    fn check_tag(&self, tag: Option<Cow<'_, Tag>>, expected: &str) -> Result<(), YamlError> {
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => {
                Err(self.error(&format!("could not determine a constructor for the tag '{tag}'")))
            }
            _ => Ok(()),
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, YamlError> {
        match tag {
            None if style == ScalarStyle::Plain => Ok(plain(text)),
            None => Ok(text.into()),
            Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
                "str" => Ok(text.into()),
                "int" | "float" | "bool" | "null" => Ok(plain(text)),
                _ => Err(self.error(&format!("could not determine a constructor for the tag '{tag}'"))),
            },
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(text.into()),
            Some(tag) => Err(self.error(&format!("could not determine a constructor for the tag '{tag}'"))),
        }
    }
}

/// What is there already stays.
fn merge(into: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, value) in more {
        into.entry(key).or_insert(value);
    }
}

/// What a text without quotes stands for. Numbers that JSON can't hold, and dates, stay texts.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return true.into(),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return false.into(),
        _ => {}
    }
    whole(text).or_else(|| fraction(text)).unwrap_or_else(|| text.into())
}

fn whole(text: &str) -> Option<Value> {
    let (sign, digits) = signed(text);
    let all = |digits: &str, allowed: fn(char) -> bool| {
        !digits.is_empty() && digits.chars().all(|digit| digit == '_' || allowed(digit))
    };
    let (digits, radix) = if let Some(rest) = digits.strip_prefix("0b") {
        (rest, 2)
    } else if let Some(rest) = digits.strip_prefix("0x") {
        (rest, 16)
    } else if let Some(rest) = digits.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        (rest, 8)
    } else if digits.contains(':') {
        return sexagesimal(digits).map(|number| (sign * number).into());
    } else {
        (digits, 10)
    };
    let allowed = match radix {
        2 => |digit: char| matches!(digit, '0' | '1'),
        8 => |digit: char| matches!(digit, '0'..='7'),
        16 => |digit: char| digit.is_ascii_hexdigit(),
        _ => |digit: char| digit.is_ascii_digit(),
    };
    if !all(digits, allowed) || digits.starts_with('_') && radix == 10 {
        return None;
    }
    i64::from_str_radix(&digits.replace('_', ""), radix).ok().map(|number| (sign * number).into())
}

fn signed(text: &str) -> (i64, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// `1:30` is ninety.
fn sexagesimal(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let first = parts.next().filter(|first| first.starts_with(|digit: char| matches!(digit, '1'..='9')))?;
    let mut number: i64 = first.replace('_', "").parse().ok()?;
    for part in parts {
        let is_part = matches!(part.len(), 1 | 2) && part.chars().all(|digit| digit.is_ascii_digit());
        let value = part.parse::<i64>().ok().filter(|value| is_part && *value < 60)?;
        number = number.checked_mul(60)?.checked_add(value)?;
    }
    Some(number)
}

fn fraction(text: &str) -> Option<Value> {
    let (_, digits) = signed(text);
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    // An exponent needs its sign, and a fraction its point: `1e5` is a text.
    let is_exponent = exponent.is_none_or(|exponent| {
        exponent
            .strip_prefix(['-', '+'])
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    });
    let (before, after) = mantissa.split_once('.')?;
    let is_digits = |digits: &str| digits.chars().all(|digit| digit.is_ascii_digit() || digit == '_');
    let is_number = is_digits(before)
        && is_digits(after)
        && !before.starts_with('_')
        && (!before.is_empty() || after.starts_with(|digit: char| digit.is_ascii_digit()));
    if !is_number || !is_exponent {
        return None;
    }
    serde_json::Number::from_f64(text.replace('_', "").parse().ok()?).map(Value::Number)
}

/// Writes a value in block style, its keys in the order of the alphabet.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Array(items) if !items.is_empty() => write_items(&mut out, items, 0),
        Value::Object(fields) if !fields.is_empty() => write_fields(&mut out, fields, 0, false),
        other => out = format!("{}\n", flow(other)),
    }
    out
}

fn write_items(out: &mut String, items: &[Value], indent: usize) {
    for item in items {
        out.push_str(&format!("{}- ", " ".repeat(indent)));
        match item {
            Value::Object(fields) if !fields.is_empty() => write_fields(out, fields, indent + 2, true),
            Value::Array(nested) if !nested.is_empty() => {
                let mut inner = String::new();
                write_items(&mut inner, nested, indent + 2);
                out.push_str(inner.trim_start_matches(' '));
            }
            other => out.push_str(&format!("{}\n", flow(other))),
        }
    }
}

fn write_fields(out: &mut String, fields: &Map<String, Value>, indent: usize, mut begun: bool) {
    let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    for (key, value) in sorted {
        if !std::mem::take(&mut begun) {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&scalar(key));
        match value {
            Value::Array(items) if !items.is_empty() => {
                out.push_str(":\n");
                write_items(out, items, indent);
            }
            Value::Object(nested) if !nested.is_empty() => {
                out.push_str(":\n");
                write_fields(out, nested, indent + 2, false);
            }
            other => out.push_str(&format!(": {}\n", flow(other))),
        }
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(_) => "[]".into(),
        Value::Object(_) => "{}".into(),
        other => other.to_string(),
    }
}

/// A text as it can stand in a document and be read back as that text.
fn scalar(text: &str) -> String {
    if text
        .chars()
        .any(|letter| letter.is_control() || matches!(letter, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}'))
    {
        return Value::from(text).to_string();
    }
    let is_plain = plain(text).is_string()
        && !looks_like_date(text)
        && !text.starts_with([
            '-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', '=', '<',
            ' ', '.',
        ])
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #");
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// What Python would read as a date: four digits and a dash.
fn looks_like_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 4 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-'
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_texts_mean_what_python_reads() {
        let text = "a: yes\nb: 'yes'\nc: 017\nd: 0x1F\ne: 1_000\nf: 1:30\ng: 1.5\nh: 1e5\ni: ~\nj:\nk: 2024-01-02\nl: -3\nm: .5\nn: 12345678901234567890123\n";
        let want = json!({
            "a": true, "b": "yes", "c": 15, "d": 31, "e": 1000, "f": 90, "g": 1.5, "h": "1e5", "i": null, "j": null,
            "k": "2024-01-02", "l": -3, "m": 0.5, "n": "12345678901234567890123",
        });
        assert_eq!(read(text).unwrap(), want);
    }

    #[test]
    fn anchors_merges_tags_and_nesting_are_read() {
        let text = "base: &base {x: 1, y: [a, b]}\nmore:\n  <<: *base\n  x: 2\nlist:\n- *base\n- !!str 12\n- |\n  two\n  lines\n";
        let base = json!({"x": 1, "y": ["a", "b"]});
        let want = json!({"base": base, "more": {"x": 2, "y": ["a", "b"]}, "list": [base, "12", "two\nlines\n"]});
        assert_eq!(read(text).unwrap(), want);
    }

    #[test]
    fn what_is_no_data_is_refused_with_its_line() {
        let error = |text: &str| read(text).unwrap_err();
        assert_eq!(error("a: 1\nb: [1, 2\n").line, 3);
        assert_eq!(error("a: !!python/object:os.system x\n").line, 1);
        assert_eq!(error("a: 1\n---\nb: 2\n").message, "expected a single document in the stream");
        let bomb = (1..20).fold("a0: &a0 [x, x, x, x]\n".to_owned(), |text, level| {
            let below = level - 1;
            format!("{text}a{level}: &a{level} [*a{below}, *a{below}, *a{below}, *a{below}]\n")
        });
        assert_eq!(error(&bomb).message, "the document has too many values");
        assert_eq!(error(&"- ".repeat(300)).message, "values are nested too deeply");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let value = json!({
            "z": ["a", ["b", "c"], {"k": "v", "e": {}}, []],
            "texts": ["", "True", "1.5", "it's", "a: b", "x #y", "- z", "line\nbreak\t", "2024-01-02", "é", " pad ", "1:30", "a:b", "<<", "~"],
            "plain": {"n": null, "t": true, "i": 3},
        });
        assert_eq!(read(&write(&value)).unwrap(), value);
        assert_eq!(write(&json!({"b": {"c": 1}, "a": [{"x": "1"}]})), "a:\n- x: '1'\nb:\n  c: 1\n");
        assert_eq!(write(&json!([])), "[]\n");
    }
}
