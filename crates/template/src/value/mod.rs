//! Python's values, as far as templates meet them. They don't change once they are made, but for namespaces, loops
//! and generators.

mod compare;
mod number;
mod sequence;
mod text;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use indexmap::IndexMap;
use model::Json;

use crate::error::{Failure, Outcome, needs_python, raise, type_error};
use crate::kind::Kind;
use crate::lookups::Connection;
use crate::time::{Date, DateTime, Delta, Interval};

pub(crate) use compare::{contains, equals, is_true, order, sort_by};
pub(crate) use number::{as_float, as_int, binary, float_from_text, index_of, int_from_text, negate, round, truncate};
pub(crate) use sequence::{get_item, get_slice, is_space, iterate, length, reversed, unpack};
pub(crate) use text::{float_text, repr, str_repr, text};

/// The longest text that an operation may make, in bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;

#[derive(Clone, Debug)]
pub(crate) enum Value {
    None,
    Bool(bool),
    /// Python's integers have no bound; what does not fit here needs Python.
    Int(i128),
    Float(f64),
    Str(Rc<str>),
    Markup(Rc<str>),
    Enum(EnumMember),
    List(Rc<Seq>),
    Tuple(Rc<Seq>),
    Dict(Rc<Dict>),
    View(View, Rc<Dict>),
    Range(Range),
    Generator(Rc<Generator>),
    DateTime(DateTime),
    Date(Date),
    Delta(Delta),
    Interval(Rc<Interval>),
    Proxy(Option<DateTime>),
    NotSet,
    Undefined(Rc<Undefined>),
    Object(Object),
}

/// Things of Airflow's and Jinja's that have attributes and methods of their own.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    DagRun,
    TaskInstance,
    Task,
    Dag,
    Var,
    VarValue,
    VarJson,
    Conn,
    Connection(Rc<Connection>),
    Macros,
    DatetimeClass,
    JsonModule,
    Loop(Rc<Loop>),
    Namespace(Rc<RefCell<Dict>>),
}

/// A member of an enumeration whose members are texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EnumMember {
    pub class: &'static str,
    pub name: &'static str,
    pub value: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum View {
    Keys,
    Values,
    Items,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub start: i128,
    pub stop: i128,
    pub step: i128,
}

impl Range {
    pub fn len(self) -> i128 {
        let span = if self.step > 0 { self.stop - self.start } else { self.start - self.stop };
        let step = self.step.abs().max(1);
        (span + step - 1).max(0) / step
    }

    pub fn get(self, index: i128) -> Value {
        Value::Int(self.start + index * self.step)
    }
}

/// The items of a list or a tuple.
#[derive(Debug, Default)]
pub(crate) struct Seq {
    pub items: Vec<Value>,
    size: Size,
}

/// How much work a value makes for those who walk through it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    /// Values in it, those in its values included; texts count by their length.
    pub weight: u64,
    /// How deep containers nest in it.
    pub depth: u32,
}

impl Size {
    fn around<'a>(values: impl Iterator<Item = &'a Value>) -> Self {
        let mut size = Size::default();
        for value in values {
            let inner = value.size();
            size.weight = size.weight.saturating_add(inner.weight);
            size.depth = size.depth.max(inner.depth);
        }
        Size { weight: size.weight.saturating_add(1), depth: size.depth.saturating_add(1) }
    }
}

/// A dict: keys keep the order in which they came first.
#[derive(Debug, Default, Clone)]
pub(crate) struct Dict {
    entries: IndexMap<Key, (Value, Value)>,
    size: Size,
}

/// What of a value decides whether it is the same key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Key {
    None,
    Int(i128),
    /// The bits of a float that is no integer.
    Float(u64),
    Str(Rc<str>),
    Tuple(Vec<Key>),
}

impl Key {
    fn of(value: &Value) -> Outcome<Self> {
        Ok(match value {
            Value::None => Key::None,
            Value::Bool(value) => Key::Int(i128::from(*value)),
            Value::Int(value) => Key::Int(*value),
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 1e30 => Key::Int(*value as i128),
            Value::Float(value) if !value.is_nan() => Key::Float(value.to_bits()),
            Value::Str(text) | Value::Markup(text) => Key::Str(text.clone()),
            Value::Enum(member) => Key::Str(member.value.into()),
            Value::Tuple(seq) => Key::Tuple(seq.items.iter().map(Key::of).collect::<Outcome<_>>()?),
            Value::List(_) | Value::Dict(_) => {
                return type_error(format!("unhashable type: '{}'", value.kind().type_name()));
            }
            Value::Undefined(undefined) if undefined.strict => return undefined.fail(),
            _ => return needs_python(format!("a {} as a key", value.kind().type_name())),
        })
    }
}

impl Dict {
    pub fn get(&self, key: &Value) -> Outcome<Option<&Value>> {
        Ok(self.entries.get(&Key::of(key)?).map(|(_, value)| value))
    }

    pub fn get_text(&self, key: &str) -> Option<&Value> {
        self.entries.get(&Key::Str(key.into())).map(|(_, value)| value)
    }

    pub fn insert(&mut self, key: Value, value: Value) -> Outcome<()> {
        let name = Key::of(&key)?;
        let size = Size::around([&key, &value].into_iter());
        self.size.weight = self.size.weight.saturating_add(size.weight);
        self.size.depth = self.size.depth.max(size.depth);
        match self.entries.entry(name) {
            // The first key stays, as in Python.
            indexmap::map::Entry::Occupied(mut entry) => entry.get_mut().1 = value,
            indexmap::map::Entry::Vacant(entry) => {
                entry.insert((key, value));
            }
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.entries.values().map(|(key, value)| (key, value))
    }
}

/// What can be walked through once: the items, and the error that comes after them.
#[derive(Debug)]
pub(crate) struct Generator {
    rest: RefCell<VecDeque<Value>>,
    error: RefCell<Option<Failure>>,
    weight: u64,
}

impl Generator {
    /// The first item that is left.
    pub fn next(&self) -> Outcome<Option<Value>> {
        if let Some(item) = self.rest.borrow_mut().pop_front() {
            return Ok(Some(item));
        }
        self.error.borrow_mut().take().map_or(Ok(None), Err)
    }

    /// All that is left.
    pub fn drain(&self) -> Outcome<Vec<Value>> {
        let items: Vec<Value> = self.rest.borrow_mut().drain(..).collect();
        match self.error.borrow_mut().take() {
            Some(error) => Err(error),
            None => Ok(items),
        }
    }
}

/// Jinja's `loop`.
#[derive(Debug)]
pub(crate) struct Loop {
    pub items: Vec<Value>,
    pub index0: Cell<usize>,
    pub last_changed: RefCell<Option<Vec<Value>>>,
}

/// What a name or an attribute that does not exist gives.
#[derive(Debug)]
pub(crate) struct Undefined {
    pub message: String,
    /// Not strict is what an inline `if` without `else` gives.
    pub strict: bool,
}

impl Undefined {
    pub fn fail<T>(&self) -> Outcome<T> {
        raise("UndefinedError", self.message.clone())
    }
}

impl Value {
    pub fn str(text: impl Into<Rc<str>>) -> Self {
        Value::Str(text.into())
    }

    pub fn list(items: Vec<Value>) -> Self {
        Value::List(Rc::new(Seq { size: Size::around(items.iter()), items }))
    }

    pub fn tuple(items: Vec<Value>) -> Self {
        Value::Tuple(Rc::new(Seq { size: Size::around(items.iter()), items }))
    }

    pub fn dict(dict: Dict) -> Self {
        Value::Dict(Rc::new(dict))
    }

    pub fn generator(items: Vec<Value>, error: Option<Failure>) -> Self {
        let weight = Size::around(items.iter()).weight;
        Value::Generator(Rc::new(Generator { rest: RefCell::new(items.into()), error: RefCell::new(error), weight }))
    }

    pub fn undefined(message: impl Into<String>) -> Self {
        Value::Undefined(Rc::new(Undefined { message: message.into(), strict: true }))
    }

    /// What `value.name` is where there is no such attribute.
    pub fn no_attribute(of: Kind, name: &str) -> Self {
        Value::undefined(format!("{} has no attribute {}", str_repr(of.object_name()), str_repr(name)))
    }

    pub fn optional_str(text: Option<impl Into<Rc<str>>>) -> Self {
        text.map_or(Value::None, Value::str)
    }

    pub fn from_json(json: &Json) -> Outcome<Self> {
        Ok(match json {
            Json::Null => Value::None,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(value), _, _) => Value::Int(value.into()),
                (_, Some(value), _) => Value::Int(value.into()),
                (_, _, Some(value)) => Value::Float(value),
                _ => return needs_python(format!("the number {number}")),
            },
            Json::String(text) => Value::str(text.as_str()),
            Json::Array(items) => Value::list(items.iter().map(Value::from_json).collect::<Outcome<_>>()?),
            Json::Object(entries) => {
                let mut dict = Dict::default();
                for (key, value) in entries {
                    dict.insert(Value::str(key.as_str()), Value::from_json(value)?)?;
                }
                Value::dict(dict)
            }
        })
    }

    pub fn kind(&self) -> Kind {
        match self {
            Value::None => Kind::None,
            Value::Bool(_) => Kind::Bool,
            Value::Int(_) => Kind::Int,
            Value::Float(_) => Kind::Float,
            Value::Str(_) => Kind::Str,
            Value::Markup(_) => Kind::Markup,
            Value::Enum(_) => Kind::Enum,
            Value::List(_) => Kind::List,
            Value::Tuple(_) => Kind::Tuple,
            Value::Dict(_) => Kind::Dict,
            Value::View(..) => Kind::View,
            Value::Range(_) => Kind::Range,
            Value::Generator(_) => Kind::Generator,
            Value::DateTime(moment) if moment.is_pendulum => Kind::DateTime,
            Value::DateTime(_) => Kind::StdDateTime,
            Value::Date(date) if date.is_pendulum => Kind::Date,
            Value::Date(_) => Kind::StdDate,
            Value::Delta(_) => Kind::Delta,
            Value::Interval(_) => Kind::Interval,
            Value::Proxy(_) => Kind::Proxy,
            Value::NotSet => Kind::NotSet,
            Value::Undefined(_) => Kind::Undefined,
            Value::Object(object) => object.kind(),
        }
    }

    /// What error messages of CPython call the type; `type(value).__name__` is the part after the last dot.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::View(View::Keys, _) => "dict_keys",
            Value::View(View::Values, _) => "dict_values",
            Value::View(View::Items, _) => "dict_items",
            Value::Enum(member) => member.class,
            Value::Undefined(undefined) if !undefined.strict => "Undefined",
            _ => self.kind().type_name(),
        }
    }

    pub fn size(&self) -> Size {
        let flat = |weight: u64| Size { weight, depth: 0 };
        match self {
            Value::Str(text) | Value::Markup(text) => flat(1 + text.len() as u64 / 16),
            Value::List(seq) | Value::Tuple(seq) => seq.size,
            Value::Dict(dict) | Value::View(_, dict) => dict.size,
            Value::Range(range) => flat(u64::try_from(range.len()).unwrap_or(u64::MAX)),
            Value::Generator(generator) => flat(generator.weight),
            _ => flat(1),
        }
    }

    /// The text of a `str` or of a kind that derives from it.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) | Value::Markup(text) => Some(text),
            Value::Enum(member) => Some(member.value),
            _ => None,
        }
    }

    /// What a proxy stands for; any other value itself.
    pub fn resolved(self) -> Value {
        match self {
            Value::Proxy(Some(moment)) => Value::DateTime(moment),
            Value::Proxy(None) => Value::None,
            other => other,
        }
    }
}

impl Object {
    fn kind(&self) -> Kind {
        match self {
            Object::DagRun => Kind::DagRun,
            Object::TaskInstance => Kind::TaskInstance,
            Object::Task => Kind::Task,
            Object::Dag => Kind::Dag,
            Object::Var => Kind::Var,
            Object::VarValue => Kind::VarValue,
            Object::VarJson => Kind::VarJson,
            Object::Conn => Kind::Conn,
            Object::Connection(_) => Kind::Connection,
            Object::Macros => Kind::Macros,
            Object::DatetimeClass => Kind::DatetimeClass,
            Object::JsonModule => Kind::JsonModule,
            Object::Loop(_) => Kind::Loop,
            Object::Namespace(_) => Kind::Namespace,
        }
    }
}

/// Checks that an operation's text is not too long to be made.
pub(crate) fn bounded(bytes: usize) -> Outcome<usize> {
    if bytes > MAX_TEXT_BYTES {
        return Err(Failure::TooMuch { limit: MAX_TEXT_BYTES as u64, unit: "bytes of text" });
    }
    Ok(bytes)
}
