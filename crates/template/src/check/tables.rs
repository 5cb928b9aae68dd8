//! What may be used: names, attributes, methods, filters and tests, with their parameters and what they give.

use super::types::Type;
use crate::kind::{Kind, Kinds};

/// Parameters: how many must be given, how many may be, and the names of those that can be given by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters {
    pub required: usize,
    pub most: usize,
    pub names: &'static str,
}

const fn parameters(required: usize, most: usize, names: &'static str) -> Parameters {
    Parameters { required, most, names }
}

const NO_PARAMETERS: Parameters = parameters(0, 0, "");

/// What a call gives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gives {
    /// A value of these kinds, with plain items.
    Kinds(Kinds),
    /// What it was called on.
    Same,
    /// An item of what it was called on.
    Item,
    /// A container of the items of what it was called on.
    Items(Kind),
    /// A container of pairs of a text and an item of what it was called on.
    Pairs(Kind),
    /// A container of lists of the items of what it was called on.
    Lists(Kind),
}

const fn one(kind: Kind) -> Gives {
    Gives::Kinds(Kinds::of(&[kind]))
}

const TEXT: Gives = one(Kind::Str);
const INT: Gives = one(Kind::Int);
const BOOL: Gives = one(Kind::Bool);
const FLOAT: Gives = one(Kind::Float);
const PLAIN: Gives = Gives::Kinds(Kinds::PLAIN);
const NUMBER: Kinds = Kinds::of(&[Kind::Int, Kind::Float, Kind::Bool]);
const OPTIONAL_TEXT: Gives = Gives::Kinds(Kinds::of(&[Kind::Str, Kind::None]));
const PROXY: Gives = one(Kind::Proxy);
const OPTIONAL_MOMENT: Gives = Gives::Kinds(Kinds::of(&[Kind::DateTime, Kind::None]));
const OPTIONAL_STANDARD: Gives = Gives::Kinds(Kinds::of(&[Kind::StdDateTime, Kind::None]));

const MOMENTS: Kinds = Kinds::of(&[Kind::DateTime, Kind::StdDateTime]);
const DAYS: Kinds = Kinds::of(&[Kind::DateTime, Kind::StdDateTime, Kind::Date, Kind::StdDate]);
const PENDULUM: Kinds = Kinds::of(&[Kind::DateTime, Kind::Date]);
const SEQUENCES: Kinds = Kinds::of(&[Kind::List, Kind::Tuple]);
const STR: Kinds = Kinds::of(&[Kind::Str]);
const LIST: Kinds = Kinds::of(&[Kind::List]);
const DICT: Kinds = Kinds::of(&[Kind::Dict]);
const ENUM: Kinds = Kinds::of(&[Kind::Enum]);
const DATE_TIME: Kinds = Kinds::of(&[Kind::DateTime]);
const DELTA: Kinds = Kinds::of(&[Kind::Delta]);
const INTERVAL: Kinds = Kinds::of(&[Kind::Interval]);
const DELTAS: Kinds = Kinds::of(&[Kind::Delta, Kind::Interval]);

type Names = &'static [(&'static str, Gives)];

/// The names of the context.
pub(super) const CONTEXT: Names = &[
    ("dag", one(Kind::Dag)),
    ("dag_run", one(Kind::DagRun)),
    ("task", one(Kind::Task)),
    ("task_instance", one(Kind::TaskInstance)),
    ("ti", one(Kind::TaskInstance)),
    ("macros", one(Kind::Macros)),
    ("var", one(Kind::Var)),
    ("conn", one(Kind::Conn)),
    ("params", one(Kind::Dict)),
    ("run_id", TEXT),
    ("partition_key", OPTIONAL_TEXT),
    ("partition_date", OPTIONAL_MOMENT),
    ("task_reschedule_count", INT),
    ("task_instance_key_str", TEXT),
    ("logical_date", one(Kind::DateTime)),
    ("data_interval_start", OPTIONAL_MOMENT),
    ("data_interval_end", OPTIONAL_MOMENT),
    ("ds", TEXT),
    ("ds_nodash", TEXT),
    ("ts", TEXT),
    ("ts_nodash", TEXT),
    ("ts_nodash_with_tz", TEXT),
    ("prev_start_date_success", PROXY),
    ("prev_end_date_success", PROXY),
    ("prev_data_interval_start_success", PROXY),
    ("prev_data_interval_end_success", PROXY),
];

/// Attributes that are not methods.
pub(super) const ATTRIBUTES: &[(Kinds, Names)] = &[
    (
        Kinds::of(&[Kind::DagRun]),
        &[
            ("dag_id", TEXT),
            ("run_id", TEXT),
            ("logical_date", OPTIONAL_STANDARD),
            ("data_interval_start", OPTIONAL_STANDARD),
            ("data_interval_end", OPTIONAL_STANDARD),
            ("run_after", one(Kind::StdDateTime)),
            ("start_date", OPTIONAL_STANDARD),
            ("end_date", OPTIONAL_STANDARD),
            ("clear_number", INT),
            ("run_type", one(Kind::Enum)),
            ("state", one(Kind::Enum)),
            ("conf", Gives::Kinds(Kinds::of(&[Kind::Dict, Kind::None]))),
            ("triggering_user_name", OPTIONAL_TEXT),
            ("partition_key", OPTIONAL_TEXT),
            ("partition_date", OPTIONAL_STANDARD),
            ("note", OPTIONAL_TEXT),
            ("team_name", OPTIONAL_TEXT),
        ],
    ),
    (
        Kinds::of(&[Kind::TaskInstance]),
        &[
            ("dag_id", TEXT),
            ("run_id", TEXT),
            ("task_id", TEXT),
            ("try_number", INT),
            ("max_tries", INT),
            ("map_index", INT),
            ("start_date", one(Kind::StdDateTime)),
            ("hostname", TEXT),
            ("state", one(Kind::Enum)),
            ("task", one(Kind::Task)),
        ],
    ),
    (
        Kinds::of(&[Kind::Task]),
        &[
            ("task_id", TEXT),
            ("dag_id", TEXT),
            ("owner", TEXT),
            ("task_type", TEXT),
            ("retries", INT),
            ("pool", TEXT),
            ("pool_slots", INT),
            ("queue", TEXT),
            ("priority_weight", INT),
            ("depends_on_past", BOOL),
            ("dag", one(Kind::Dag)),
        ],
    ),
    (Kinds::of(&[Kind::Dag]), &[("dag_id", TEXT)]),
    (Kinds::of(&[Kind::Var]), &[("value", one(Kind::VarValue)), ("json", one(Kind::VarJson))]),
    (
        Kinds::of(&[Kind::Connection]),
        &[
            ("conn_id", TEXT),
            ("conn_type", OPTIONAL_TEXT),
            ("host", OPTIONAL_TEXT),
            ("schema", OPTIONAL_TEXT),
            ("login", OPTIONAL_TEXT),
            ("password", OPTIONAL_TEXT),
            ("extra", OPTIONAL_TEXT),
            ("port", Gives::Kinds(Kinds::of(&[Kind::Int, Kind::None]))),
            ("extra_dejson", PLAIN),
        ],
    ),
    (Kinds::of(&[Kind::Macros]), &[("datetime", one(Kind::DatetimeClass)), ("json", one(Kind::JsonModule))]),
    (
        Kinds::of(&[Kind::Loop]),
        &[
            ("index", INT),
            ("index0", INT),
            ("revindex", INT),
            ("revindex0", INT),
            ("first", BOOL),
            ("last", BOOL),
            ("length", INT),
            ("depth", INT),
            ("depth0", INT),
            ("previtem", Gives::Item),
            ("nextitem", Gives::Item),
        ],
    ),
    (ENUM, &[("name", TEXT), ("value", TEXT)]),
    (DAYS, &[("year", INT), ("month", INT), ("day", INT)]),
    (MOMENTS, &[("hour", INT), ("minute", INT), ("second", INT), ("microsecond", INT)]),
    (PENDULUM, &[("day_of_year", INT), ("days_in_month", INT), ("week_of_year", INT), ("quarter", INT)]),
    (
        DATE_TIME,
        &[
            ("int_timestamp", INT),
            ("float_timestamp", FLOAT),
            ("timezone_name", TEXT),
            ("offset", INT),
            ("offset_hours", FLOAT),
        ],
    ),
    (DELTA, &[("days", INT), ("seconds", INT), ("microseconds", INT)]),
    (INTERVAL, &[("days", INT)]),
];

type Functions = &'static [(&'static str, Parameters, Gives)];

const STR_PARTS: Gives = one(Kind::List);
const NONE: Parameters = NO_PARAMETERS;
const ONE: Parameters = parameters(1, 1, "");
const UP_TO_ONE: Parameters = parameters(0, 1, "");
const UNITS: Parameters = parameters(0, 8, "years months weeks days hours minutes seconds microseconds");
const DATE_FIELDS: Parameters = parameters(0, 7, "year month day hour minute second microsecond");

/// Methods, by the kinds that have them.
pub(super) const METHODS: &[(Kinds, Functions)] = &[
    (
        STR,
        &[
            ("upper", NONE, TEXT),
            ("lower", NONE, TEXT),
            ("capitalize", NONE, TEXT),
            ("title", NONE, TEXT),
            ("swapcase", NONE, TEXT),
            ("isdigit", NONE, BOOL),
            ("isdecimal", NONE, BOOL),
            ("isnumeric", NONE, BOOL),
            ("isalpha", NONE, BOOL),
            ("isalnum", NONE, BOOL),
            ("isspace", NONE, BOOL),
            ("isupper", NONE, BOOL),
            ("islower", NONE, BOOL),
            ("isidentifier", NONE, BOOL),
            ("isascii", NONE, BOOL),
            ("strip", UP_TO_ONE, TEXT),
            ("lstrip", UP_TO_ONE, TEXT),
            ("rstrip", UP_TO_ONE, TEXT),
            ("split", parameters(0, 2, "sep maxsplit"), STR_PARTS),
            ("rsplit", parameters(0, 2, "sep maxsplit"), STR_PARTS),
            ("splitlines", NONE, STR_PARTS),
            ("partition", ONE, one(Kind::Tuple)),
            ("rpartition", ONE, one(Kind::Tuple)),
            ("join", ONE, TEXT),
            ("replace", parameters(2, 3, ""), TEXT),
            ("startswith", ONE, BOOL),
            ("endswith", ONE, BOOL),
            ("removeprefix", ONE, TEXT),
            ("removesuffix", ONE, TEXT),
            ("find", ONE, INT),
            ("rfind", ONE, INT),
            ("index", ONE, INT),
            ("rindex", ONE, INT),
            ("count", ONE, INT),
            ("zfill", ONE, TEXT),
            ("ljust", parameters(1, 2, ""), TEXT),
            ("rjust", parameters(1, 2, ""), TEXT),
            ("center", parameters(1, 2, ""), TEXT),
            ("format", parameters(0, usize::MAX, "*"), TEXT),
        ],
    ),
    (SEQUENCES, &[("count", ONE, INT), ("index", ONE, INT)]),
    (LIST, &[("copy", NONE, Gives::Same)]),
    (
        DICT,
        &[
            ("get", parameters(1, 2, ""), Gives::Item),
            ("items", NONE, Gives::Pairs(Kind::View)),
            ("keys", NONE, one(Kind::View)),
            ("values", NONE, Gives::Items(Kind::View)),
            ("copy", NONE, Gives::Same),
        ],
    ),
    (
        DAYS,
        &[
            ("strftime", parameters(1, 1, "format"), TEXT),
            ("weekday", NONE, INT),
            ("isoweekday", NONE, INT),
            ("toordinal", NONE, INT),
        ],
    ),
    (
        MOMENTS,
        &[
            ("isoformat", parameters(0, 1, "sep"), TEXT),
            ("timestamp", NONE, FLOAT),
            ("replace", DATE_FIELDS, Gives::Same),
        ],
    ),
    (
        Kinds::of(&[Kind::Date, Kind::StdDate]),
        &[("isoformat", NONE, TEXT), ("replace", parameters(0, 3, "year month day"), Gives::Same)],
    ),
    (
        DATE_TIME,
        &[
            ("date", NONE, one(Kind::Date)),
            ("add", UNITS, Gives::Same),
            ("subtract", UNITS, Gives::Same),
            ("in_timezone", parameters(1, 1, "tz"), Gives::Same),
            ("in_tz", parameters(1, 1, "tz"), Gives::Same),
            ("format", parameters(1, 1, "fmt"), TEXT),
            ("to_time_string", NONE, TEXT),
            ("to_datetime_string", NONE, TEXT),
            ("to_iso8601_string", NONE, TEXT),
        ],
    ),
    (Kinds::of(&[Kind::StdDateTime]), &[("date", NONE, one(Kind::StdDate))]),
    (
        Kinds::of(&[Kind::Date]),
        &[
            ("add", parameters(0, 4, "years months weeks days"), Gives::Same),
            ("subtract", parameters(0, 4, "years months weeks days"), Gives::Same),
        ],
    ),
    (
        PENDULUM,
        &[
            ("start_of", parameters(1, 1, "unit"), Gives::Same),
            ("end_of", parameters(1, 1, "unit"), Gives::Same),
            ("to_date_string", NONE, TEXT),
        ],
    ),
    (DELTAS, &[("total_seconds", NONE, FLOAT)]),
    (
        INTERVAL,
        &[
            ("total_minutes", NONE, FLOAT),
            ("total_hours", NONE, FLOAT),
            ("total_days", NONE, FLOAT),
            ("in_seconds", NONE, INT),
            ("in_minutes", NONE, INT),
            ("in_hours", NONE, INT),
            ("in_days", NONE, INT),
        ],
    ),
    (
        Kinds::of(&[Kind::TaskInstance]),
        &[("xcom_pull", parameters(0, 4, "task_ids dag_id key include_prior_dates map_indexes default run_id"), PLAIN)],
    ),
    (Kinds::of(&[Kind::VarValue]), &[("get", parameters(1, 2, "key default"), TEXT)]),
    (Kinds::of(&[Kind::VarJson]), &[("get", parameters(1, 2, "key default"), PLAIN)]),
    (Kinds::of(&[Kind::Conn]), &[("get", parameters(1, 2, "conn_id default_conn"), one(Kind::Connection))]),
    (Kinds::of(&[Kind::Connection]), &[("get_uri", NONE, TEXT)]),
    (
        Kinds::of(&[Kind::Macros]),
        &[
            ("ds_add", parameters(2, 2, "ds days"), TEXT),
            ("ds_format", parameters(3, 3, "ds input_format output_format"), TEXT),
            ("datetime", parameters(3, 7, DATE_FIELDS.names), one(Kind::StdDateTime)),
            (
                "timedelta",
                parameters(0, 7, "days seconds microseconds milliseconds minutes hours weeks"),
                one(Kind::Delta),
            ),
        ],
    ),
    (Kinds::of(&[Kind::DatetimeClass]), &[("strptime", parameters(2, 2, ""), one(Kind::StdDateTime))]),
    (Kinds::of(&[Kind::JsonModule]), &[("dumps", parameters(1, 1, "_ indent sort_keys"), TEXT), ("loads", ONE, PLAIN)]),
    (
        Kinds::of(&[Kind::Loop]),
        &[("cycle", parameters(1, usize::MAX, ""), PLAIN), ("changed", parameters(0, usize::MAX, ""), BOOL)],
    ),
];

/// Filters. Those that apply others, and `default`, are looked at in more detail elsewhere.
pub(super) const FILTERS: Functions = &[
    ("abs", NONE, Gives::Kinds(NUMBER)),
    ("batch", parameters(1, 2, "linecount fill_with"), Gives::Lists(Kind::Generator)),
    ("capitalize", NONE, TEXT),
    ("center", parameters(0, 1, "width"), TEXT),
    ("count", NONE, INT),
    ("d", parameters(0, 2, "default_value boolean"), Gives::Same),
    ("default", parameters(0, 2, "default_value boolean"), Gives::Same),
    ("dictsort", parameters(0, 3, "case_sensitive by reverse"), Gives::Pairs(Kind::List)),
    ("ds", NONE, OPTIONAL_TEXT),
    ("ds_nodash", NONE, OPTIONAL_TEXT),
    ("ts", NONE, OPTIONAL_TEXT),
    ("ts_nodash", NONE, OPTIONAL_TEXT),
    ("ts_nodash_with_tz", NONE, OPTIONAL_TEXT),
    ("e", NONE, one(Kind::Markup)),
    ("escape", NONE, one(Kind::Markup)),
    ("first", NONE, Gives::Item),
    ("float", parameters(0, 1, "default"), PLAIN),
    ("format", parameters(0, usize::MAX, "*"), TEXT),
    ("indent", parameters(0, 3, "width first blank"), TEXT),
    ("int", parameters(0, 2, "default base"), PLAIN),
    ("items", NONE, Gives::Pairs(Kind::Generator)),
    ("join", parameters(0, 2, "d attribute"), TEXT),
    ("last", NONE, Gives::Item),
    ("length", NONE, INT),
    ("list", NONE, Gives::Items(Kind::List)),
    ("lower", NONE, TEXT),
    ("map", parameters(0, usize::MAX, "*"), Gives::Items(Kind::Generator)),
    ("max", parameters(0, 2, "case_sensitive attribute"), Gives::Item),
    ("min", parameters(0, 2, "case_sensitive attribute"), Gives::Item),
    ("reject", parameters(0, usize::MAX, ""), Gives::Items(Kind::Generator)),
    ("rejectattr", parameters(1, usize::MAX, ""), Gives::Items(Kind::Generator)),
    ("replace", parameters(2, 3, "old new count"), TEXT),
    ("reverse", NONE, Gives::Items(Kind::Generator)),
    ("round", parameters(0, 2, "precision method"), Gives::Kinds(NUMBER)),
    ("safe", NONE, one(Kind::Markup)),
    ("select", parameters(0, usize::MAX, ""), Gives::Items(Kind::Generator)),
    ("selectattr", parameters(1, usize::MAX, ""), Gives::Items(Kind::Generator)),
    ("slice", parameters(1, 2, "slices fill_with"), Gives::Lists(Kind::Generator)),
    ("sort", parameters(0, 3, "reverse case_sensitive attribute"), Gives::Items(Kind::List)),
    ("string", NONE, TEXT),
    ("sum", parameters(0, 2, "attribute start"), PLAIN),
    ("title", NONE, TEXT),
    ("tojson", parameters(0, 1, "indent"), one(Kind::Markup)),
    ("trim", parameters(0, 1, "chars"), TEXT),
    ("truncate", parameters(0, 4, "length killwords end leeway"), TEXT),
    ("unique", parameters(0, 2, "case_sensitive attribute"), Gives::Items(Kind::Generator)),
    ("upper", NONE, TEXT),
    ("urlencode", NONE, TEXT),
    ("wordcount", NONE, INT),
];

/// Tests, with how many arguments they take.
pub(super) const TESTS: &[(&str, usize)] = &[
    ("boolean", 0),
    ("defined", 0),
    ("divisibleby", 1),
    ("eq", 1),
    ("equalto", 1),
    ("even", 0),
    ("false", 0),
    ("float", 0),
    ("ge", 1),
    ("greaterthan", 1),
    ("gt", 1),
    ("in", 1),
    ("integer", 0),
    ("iterable", 0),
    ("le", 1),
    ("lessthan", 1),
    ("lower", 0),
    ("lt", 1),
    ("mapping", 0),
    ("ne", 1),
    ("none", 0),
    ("number", 0),
    ("odd", 0),
    ("sequence", 0),
    ("string", 0),
    ("true", 0),
    ("undefined", 0),
    ("upper", 0),
];

/// Finds an attribute of a kind.
pub(super) fn attribute(kind: Kind, name: &str) -> Option<Gives> {
    let of_kind = ATTRIBUTES.iter().filter(|(kinds, _)| kinds.has(kind));
    of_kind.flat_map(|(_, names)| names.iter()).find(|(known, _)| *known == name).map(|(_, gives)| *gives)
}

/// Finds a method of a kind.
pub(super) fn method(kind: Kind, name: &str) -> Option<(Parameters, Gives)> {
    let of_kind = METHODS.iter().filter(|(kinds, _)| kinds.has(kind));
    let mut functions = of_kind.flat_map(|(_, functions)| functions.iter());
    functions.find(|(known, ..)| *known == name).map(|(_, parameters, gives)| (*parameters, *gives))
}

impl Gives {
    /// The type of what is given by something of type `on`.
    pub fn on(self, on: &Type) -> Type {
        match self {
            Gives::Kinds(kinds) => Type::new(kinds),
            Gives::Same => on.clone(),
            Gives::Item => on.items(),
            Gives::Items(kind) => Type::containing(kind, on.items()),
            Gives::Pairs(kind) => Type::containing(kind, Type::containing(Kind::Tuple, Type::PLAIN.or(on.items()))),
            Gives::Lists(kind) => Type::containing(kind, Type::containing(Kind::List, on.items())),
        }
    }
}
