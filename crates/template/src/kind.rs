//! The kinds of values that templates meet, and what Python calls their types.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $type_name:literal, $object_name:literal;)+) => {
        /// What a value is. Plain kinds come first.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Kind { $($(#[$doc])* $name),+ }

        impl Kind {
            pub const ALL: &[Kind] = &[$(Kind::$name),+];

            /// What error messages of CPython call the type.
            pub fn type_name(self) -> &'static str {
                match self { $(Kind::$name => $type_name),+ }
            }

            /// What Jinja's messages about missing attributes call it.
            pub fn object_name(self) -> &'static str {
                match self { $(Kind::$name => $object_name),+ }
            }
        }
    };
}

kinds! {
    None = "NoneType", "None";
    Bool = "bool", "bool object";
    Int = "int", "int object";
    Float = "float", "float object";
    Str = "str", "str object";
    List = "list", "list object";
    Tuple = "tuple", "tuple object";
    Dict = "dict", "dict object";
    /// A text that is safe in HTML, as `tojson` and `escape` give it.
    Markup = "Markup", "markupsafe.Markup object";
    /// A member of an enumeration that is a text too, such as a state.
    Enum = "Enum", "Enum object";
    /// What `dict.items()` and its like give.
    View = "dict_view", "dict_view object";
    Range = "range", "range object";
    /// What can be walked through once.
    Generator = "generator", "generator object";
    /// Pendulum's.
    DateTime = "DateTime", "pendulum.datetime.DateTime object";
    /// The standard library's.
    StdDateTime = "datetime.datetime", "datetime.datetime object";
    /// Pendulum's.
    Date = "Date", "pendulum.date.Date object";
    StdDate = "datetime.date", "datetime.date object";
    Delta = "datetime.timedelta", "datetime.timedelta object";
    /// The difference of two of Pendulum's datetimes.
    Interval = "Interval", "pendulum.interval.Interval object";
    /// A datetime or None that is read when it is needed.
    Proxy = "Proxy", "Proxy object";
    /// What `var.value.get` gives for a missing variable without a default.
    NotSet = "ArgNotSet", "ArgNotSet object";
    Undefined = "StrictUndefined", "StrictUndefined object";
    DagRun = "DagRun", "DagRun object";
    TaskInstance = "RuntimeTaskInstance", "RuntimeTaskInstance object";
    Task = "Operator", "Operator object";
    Dag = "DAG", "DAG object";
    Var = "dict", "dict object";
    VarValue = "VariableAccessor", "VariableAccessor object";
    VarJson = "VariableAccessor", "VariableAccessor object";
    Conn = "ConnectionAccessor", "ConnectionAccessor object";
    Connection = "Connection", "Connection object";
    Macros = "MacrosAccessor", "MacrosAccessor object";
    DatetimeClass = "type", "type object";
    JsonModule = "module", "module object";
    Loop = "LoopContext", "jinja2.runtime.LoopContext object";
    Namespace = "Namespace", "jinja2.utils.Namespace object";
}

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kinds(u64);

impl Kinds {
    pub const fn of(kinds: &[Kind]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < kinds.len() {
            bits |= 1 << kinds[at] as u64;
            at += 1;
        }
        Kinds(bits)
    }

    /// What JSON can hold, and tuples.
    pub const PLAIN: Kinds =
        Kinds::of(&[Kind::None, Kind::Bool, Kind::Int, Kind::Float, Kind::Str, Kind::List, Kind::Tuple, Kind::Dict]);

    /// Kinds that have a text form that is the same on each run.
    pub const PRINTABLE: Kinds = Kinds::PLAIN.and(Kinds::of(&[
        Kind::Markup,
        Kind::Enum,
        Kind::View,
        Kind::Range,
        Kind::DateTime,
        Kind::StdDateTime,
        Kind::Date,
        Kind::StdDate,
        Kind::Delta,
        Kind::Interval,
        Kind::Proxy,
        Kind::NotSet,
        Kind::Task,
        Kind::Dag,
    ]));

    /// Kinds that may stand in lists and dicts: their text form there is known too.
    pub const STORABLE: Kinds = Kinds::PLAIN.and(Kinds::of(&[
        Kind::View,
        Kind::Range,
        Kind::DateTime,
        Kind::Date,
        Kind::StdDate,
        Kind::Delta,
        Kind::Interval,
    ]));

    /// Kinds that filters, tests, operators and functions take.
    pub const OPERANDS: Kinds =
        Kinds::STORABLE.and(Kinds::of(&[Kind::Markup, Kind::Enum, Kind::Generator, Kind::Proxy, Kind::StdDateTime]));

    pub const fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u64) != 0
    }

    pub fn meets(self, other: Kinds) -> bool {
        self.0 & other.0 != 0
    }

    pub fn is_within(self, other: Kinds) -> bool {
        self.0 & !other.0 == 0
    }

    pub fn without(self, kind: Kind) -> Kinds {
        Kinds(self.0 & !(1 << kind as u64))
    }

    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().filter(move |kind| self.has(*kind))
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Kind {
    /// Whether an attribute that Python's type does not have is looked up as an item, or is undefined. Of other
    /// kinds only the listed attributes are ever used.
    pub fn is_open(self) -> bool {
        Kinds::PLAIN.has(self)
    }

    /// Whether Python's type has an attribute of this name. Only for open kinds.
    pub fn has_attribute(self, name: &str) -> bool {
        let names = match self {
            Kind::Bool | Kind::Int => INT_ATTRIBUTES,
            Kind::Float => FLOAT_ATTRIBUTES,
            Kind::Str => STR_ATTRIBUTES,
            Kind::List => LIST_ATTRIBUTES,
            Kind::Tuple => "count index",
            Kind::Dict => DICT_ATTRIBUTES,
            _ => "",
        };
        name.starts_with("__") || names.split_whitespace().any(|known| known == name)
    }
}

// What `dir()` gives in Python 3.10 to 3.14, less the names that begin with an underscore.
const INT_ATTRIBUTES: &str = "as_integer_ratio bit_count bit_length conjugate denominator from_bytes imag is_integer \
     numerator real to_bytes";
const FLOAT_ATTRIBUTES: &str = "as_integer_ratio conjugate from_number fromhex hex imag is_integer real";
const STR_ATTRIBUTES: &str = "capitalize casefold center count encode endswith expandtabs find format format_map \
     index isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle \
     isupper join ljust lower lstrip maketrans partition removeprefix removesuffix replace rfind rindex rjust \
     rpartition rsplit rstrip split splitlines startswith strip swapcase title translate upper zfill";
const LIST_ATTRIBUTES: &str = "append clear copy count extend index insert pop remove reverse sort";
const DICT_ATTRIBUTES: &str = "clear copy fromkeys get items keys pop popitem setdefault update values";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_fit_into_a_set() {
        assert!(Kind::ALL.len() <= 64);
        assert_eq!(Kinds::PLAIN.iter().count(), 8);
        assert!(Kinds::PLAIN.has(Kind::Dict) && !Kinds::PLAIN.has(Kind::Markup));
    }
}
