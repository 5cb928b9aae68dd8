//! Calls of methods and functions, filters and tests.

use super::expr::{comparable, given, ordered};
use super::tables::{self, FILTERS, Parameters, TESTS};
use super::types::Type;
use super::{Checked, Checker, named, truth_of};
use crate::kind::{Kind, Kinds};
use crate::source::unsupported;
use crate::syntax::{Args, Const, Expr, ExprKind};
use crate::time;

const DATES: Kinds =
    Kinds::of(&[Kind::DateTime, Kind::StdDateTime, Kind::Date, Kind::StdDate, Kind::Delta, Kind::Interval]);

/// The arguments of a call, or some of them.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    positional: &'a [Expr],
    named: &'a [(String, Expr)],
}

impl<'a> From<&'a Args> for Given<'a> {
    fn from(args: &'a Args) -> Self {
        Given { positional: &args.positional, named: &args.named }
    }
}

impl<'a> Given<'a> {
    fn all(self) -> impl Iterator<Item = &'a Expr> {
        self.positional.iter().chain(self.named.iter().map(|(_, value)| value))
    }

    /// The argument at `position`, or that called `name`.
    fn get(self, position: usize, name: &str) -> Option<&'a Expr> {
        let named = || self.named.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        self.positional.get(position).or_else(named)
    }
}

impl Checker {
    pub(super) fn call(&mut self, callee: &Expr, args: Given<'_>, line: u32) -> Checked<Type> {
        match &callee.kind {
            ExprKind::Attr(of, name) => {
                let of = self.expr(of)?;
                self.method(&of, name, args, line)
            }
            ExprKind::Name(name) if !self.is_assigned(name) => {
                let given = self.arguments(args)?;
                if !given.is_plain() {
                    return Err(unsupported(format!("`{name}` of a {}", named(&given, Kinds::PLAIN)), line));
                }
                match name.as_str() {
                    "range" if args.named.is_empty() && (1..=3).contains(&args.positional.len()) => {
                        Ok(Type::of(Kind::Range))
                    }
                    "dict" if args.positional.len() <= 1 => Ok(Type::of(Kind::Dict)),
                    "namespace" if args.positional.len() <= 1 => Ok(Type::of(Kind::Namespace)),
                    _ => Err(unsupported(format!("the function `{name}`"), line)),
                }
            }
            _ => Err(unsupported("calling this", line)),
        }
    }

    /// The joined type of all arguments.
    fn arguments(&mut self, args: Given<'_>) -> Checked<Type> {
        let mut all = Type::new(Kinds::default());
        for arg in args.all() {
            let given = self.expr(arg)?;
            if !given.is_deeply_within(Kinds::STORABLE.and(Kinds::of(&[Kind::StdDateTime])), Kinds::STORABLE) {
                return Err(unsupported(format!("a {} as an argument", named(&given, Kinds::STORABLE)), arg.line));
            }
            all = all.or(given);
        }
        Ok(all)
    }

    fn method(&mut self, of: &Type, name: &str, args: Given<'_>, line: u32) -> Checked<Type> {
        let given_types = self.arguments(args)?;
        let mut found = Type::new(Kinds::default());
        for kind in of.kinds.iter() {
            let looked_at = if kind == Kind::Proxy { Kind::DateTime } else { kind };
            let own = if kind == Kind::Proxy { Type::of(Kind::DateTime) } else { of.clone() };
            match tables::method(looked_at, name) {
                Some((parameters, gives)) => {
                    fitting(parameters, args, &format!("the method `{name}`"), line)?;
                    literals(kind, name, args, line)?;
                    found = found.or(given(gives, &own));
                }
                // An item that is called, or what is undefined: both are errors that are known.
                None if kind.is_open() && !kind.has_attribute(name) => {}
                None => {
                    return Err(unsupported(format!("the method `{name}` of a {}", kind.type_name()), line));
                }
            }
        }
        // What a default or a choice brings in.
        if matches!(name, "get" | "cycle") || (name == "xcom_pull" && args.get(5, "default").is_some()) {
            found = found.or(given_types.clone());
        }
        // Texts are not asked to do anything with times.
        let takes_times = of.kinds.meets(Kinds::of(&[Kind::Dict, Kind::Loop, Kind::List, Kind::Tuple]));
        if !given_types.is_plain() && !takes_times && name != "format" {
            let kind = named(&given_types, Kinds::PLAIN);
            return Err(unsupported(format!("a {kind} as an argument of `{name}`"), line));
        }
        if of.kinds.meets(Kinds::of(&[Kind::List, Kind::Tuple])) && !comparable(&of.items(), &given_types) {
            return Err(unsupported(format!("`{name}` with these values"), line));
        }
        Ok(if found.kinds == Kinds::default() { Type::PLAIN } else { found })
    }

    pub(super) fn filter(&mut self, input: &Type, name: &str, args: Given<'_>, line: u32) -> Checked<Type> {
        let what = format!("the filter `{name}`");
        let Some((_, parameters, gives)) = FILTERS.iter().find(|(known, ..)| *known == name) else {
            return Err(unsupported(what, line));
        };
        fitting(*parameters, args, &what, line)?;
        if let "default" | "d" = name {
            let mut found = input.clone();
            match args.get(0, "default_value") {
                Some(default) => found = found.or(self.expr(default)?),
                None => found = found.or(Type::of(Kind::Str)),
            }
            if args.get(1, "boolean").is_some() {
                truth_of(input, line)?;
            }
            if let Some(flag) = args.get(1, "boolean") {
                self.truth(flag)?;
            }
            return Ok(found);
        }
        if !input.is_within(filter_inputs(name)) || !input.items().is_deeply_within(Kinds::OPERANDS, Kinds::OPERANDS) {
            return Err(unsupported(format!("{what} of a {}", named(input, filter_inputs(name))), line));
        }
        let given_types = self.arguments(args)?;
        if let "map" | "select" | "reject" | "selectattr" | "rejectattr" = name {
            return self.applied(input, name, args, line);
        }
        if !given_types.is_plain() && name != "format" {
            return Err(unsupported(format!("{what} with a {}", named(&given_types, Kinds::PLAIN)), line));
        }
        if let Some(attribute) = args.named.iter().find(|(name, _)| name == "attribute").map(|(_, value)| value) {
            attribute_path(Some(attribute), &what, line)?;
        } else if args.positional.len() > attribute_position(name) {
            attribute_path(args.positional.get(attribute_position(name)), &what, line)?;
        }
        let ordering = matches!(name, "sort" | "dictsort" | "min" | "max" | "unique");
        if ordering && !ordered(&input.items(), &input.items()) {
            return Err(unsupported(format!("{what} of such items"), line));
        }
        // Jinja leaves a text that is more than a text as it is.
        if name == "string" && input.kinds.meets(Kinds::of(&[Kind::Enum, Kind::Markup])) {
            return Ok(input.clone());
        }
        let mut found =
            given(*gives, &if input.kinds.has(Kind::Proxy) { Type::of(Kind::DateTime) } else { input.clone() });
        if name == "reverse" {
            // A text stays a text; what can't be walked backwards becomes a list.
            let kinds = input.kinds.iter().map(|kind| match kind {
                Kind::Str => Kind::Str,
                Kind::Generator => Kind::List,
                _ => Kind::Generator,
            });
            found = found.with_kinds(kinds.fold(Kinds::default(), |kinds, kind| kinds.and(Kinds::of(&[kind]))));
        }
        if let "batch" | "slice" = name {
            let fill = args.get(1, "fill_with").map(|fill| self.expr(fill)).transpose()?.unwrap_or(Type::PLAIN);
            let list = Type::containing(Kind::List, input.items().or(fill));
            found = Type::containing(Kind::Generator, list);
        }
        Ok(found)
    }

    /// The filters that apply a filter or a test to each item.
    fn applied(&mut self, input: &Type, name: &str, args: Given<'_>, line: u32) -> Checked<Type> {
        let what = format!("the filter `{name}`");
        let mut positional = args.positional;
        let mut item = input.items();
        let items = Type::containing(Kind::Generator, item.clone());
        if name == "map" && positional.is_empty() {
            let allowed = args.named.iter().all(|(name, _)| name == "attribute" || name == "default");
            if !allowed || !item.is_plain() {
                return Err(unsupported(format!("{what} like this"), line));
            }
            attribute_path(args.get(usize::MAX, "attribute"), &what, line)?;
            let default = args.get(usize::MAX, "default").map(|value| self.expr(value)).transpose()?;
            return Ok(Type::containing(Kind::Generator, default.map_or(Type::PLAIN, |value| Type::PLAIN.or(value))));
        }
        if name.ends_with("attr") {
            attribute_path(positional.first(), &what, line)?;
            positional = positional.get(1..).unwrap_or_default();
            if !item.is_plain() {
                return Err(unsupported(format!("{what} of such items"), line));
            }
            item = Type::PLAIN;
        }
        let Some((function, rest)) = positional.split_first() else {
            return Ok(items);
        };
        let Some(function) = function.as_text() else {
            return Err(unsupported(format!("{what} with a name that is not written out"), line));
        };
        let rest = Given { positional: rest, named: args.named };
        if name == "map" {
            let is_lazy = matches!(function, "map" | "select" | "reject" | "selectattr" | "rejectattr" | "items");
            if is_lazy || !item.is_deeply_within(Kinds::STORABLE, Kinds::STORABLE) {
                return Err(unsupported(format!("{what} with `{function}`"), line));
            }
            return Ok(Type::containing(Kind::Generator, self.filter(&item, function, rest, line)?));
        }
        self.test(&item, function, rest, line)?;
        Ok(items)
    }

    pub(super) fn test(&mut self, value: &Type, name: &str, args: Given<'_>, line: u32) -> Checked<()> {
        let what = format!("the test `{name}`");
        let Some((_, count)) = TESTS.iter().find(|(known, _)| *known == name) else {
            return Err(unsupported(what, line));
        };
        if args.positional.len() != *count || !args.named.is_empty() {
            return Err(unsupported(format!("{what} with these arguments"), line));
        }
        let other = self.arguments(args)?;
        let fits = match name {
            "defined" | "undefined" | "none" => true,
            "in" => {
                let kinds = Kinds::PLAIN.and(Kinds::of(&[Kind::View, Kind::Range]));
                value.is_plain() && other.is_deeply_within(kinds, Kinds::PLAIN)
            }
            "eq" | "equalto" | "ne" => comparable(value, &other),
            "gt" | "greaterthan" | "ge" | "lt" | "lessthan" | "le" => ordered(value, &other),
            "odd" | "even" | "divisibleby" => value.is_plain() && other.is_within(Kinds::PLAIN),
            "lower" | "upper" => value.is_deeply_within(Kinds::PRINTABLE, Kinds::STORABLE),
            "sequence" | "iterable" => value.is_within(Kinds::OPERANDS.without(Kind::Proxy)),
            _ => value.is_within(Kinds::OPERANDS),
        };
        if fits { Ok(()) } else { Err(unsupported(format!("{what} of this value"), line)) }
    }
}

/// Which kinds a filter takes.
fn filter_inputs(name: &str) -> Kinds {
    const WALKED: Kinds = Kinds::PLAIN.and(Kinds::of(&[Kind::View, Kind::Range, Kind::Generator]));
    const TEXTS: Kinds = Kinds::PLAIN.and(DATES).and(Kinds::of(&[Kind::View, Kind::Range]));
    match name {
        "ds" | "ds_nodash" | "ts" | "ts_nodash" | "ts_nodash_with_tz" => {
            Kinds::PLAIN.and(Kinds::of(&[Kind::DateTime, Kind::StdDateTime, Kind::Date, Kind::StdDate, Kind::Proxy]))
        }
        "string" => TEXTS.and(Kinds::of(&[Kind::Enum, Kind::Markup, Kind::Proxy])),
        "replace" => TEXTS.and(Kinds::of(&[Kind::Enum, Kind::Markup])),
        "upper" | "lower" | "capitalize" | "title" | "trim" => TEXTS.and(Kinds::of(&[Kind::Enum])),
        "e" | "escape" | "safe" => TEXTS.and(Kinds::of(&[Kind::Markup])),
        "tojson" => Kinds::PLAIN.and(Kinds::of(&[Kind::Enum, Kind::DateTime, Kind::Date])),
        "center" | "format" | "wordcount" => TEXTS,
        "indent" | "truncate" => Kinds::PLAIN,
        "count" | "length" | "last" => Kinds::PLAIN.and(Kinds::of(&[Kind::View, Kind::Range])),
        "items" | "dictsort" | "urlencode" | "int" | "float" | "abs" | "round" => Kinds::PLAIN,
        _ => WALKED,
    }
}

fn attribute_position(filter: &str) -> usize {
    match filter {
        "sum" => 0,
        "join" | "unique" | "min" | "max" => 1,
        "sort" => 2,
        _ => usize::MAX,
    }
}

/// Checks the path of an attribute: written out, and without names that are methods in Python.
fn attribute_path(path: Option<&Expr>, what: &str, line: u32) -> Checked<()> {
    match path.map(|path| &path.kind) {
        Some(ExprKind::Const(Const::Int(_) | Const::None)) => Ok(()),
        Some(ExprKind::Const(Const::Str(path))) => {
            let is_method = |part: &str| part.is_empty() || Kinds::PLAIN.iter().any(|kind| kind.has_attribute(part));
            if path.split(['.', ',']).any(is_method) {
                return Err(unsupported(format!("{what} by `{path}`"), line));
            }
            Ok(())
        }
        _ => Err(unsupported(format!("{what} by an attribute that is not written out"), line)),
    }
}

fn fitting(parameters: Parameters, args: Given<'_>, what: &str, line: u32) -> Checked<()> {
    let named = args.named.iter().map(|(name, _)| name.as_str());
    let allowed = |name: &str| parameters.names == "*" || parameters.names.split(' ').any(|known| known == name);
    let positional = args.positional.len();
    let known_twice = parameters.names.split(' ').take(positional).any(|known| named.clone().any(|name| name == known));
    let given = positional + args.named.len();
    if positional > parameters.most || given < parameters.required || known_twice || !named.clone().all(allowed) {
        return Err(unsupported(format!("{what} with these arguments"), line));
    }
    Ok(())
}

/// Formats and zones that are written out must be known ones.
fn literals(kind: Kind, name: &str, args: Given<'_>, line: u32) -> Checked<()> {
    let text = |position: usize, parameter: &str| args.get(position, parameter).and_then(Expr::as_text);
    let checked = match (kind, name) {
        (Kind::DateTime | Kind::StdDateTime | Kind::Date | Kind::StdDate | Kind::Proxy, "strftime") => {
            text(0, "format").map_or(Ok(()), time::check_format)
        }
        (Kind::Macros, "ds_format") => text(2, "output_format").map_or(Ok(()), time::check_format),
        (Kind::DateTime | Kind::Proxy, "in_timezone" | "in_tz") => match text(0, "tz") {
            Some(zone) => time::zone(zone).map(|_| ()).map_err(|_| format!("the time zone `{zone}`")),
            None => Ok(()),
        },
        _ => Ok(()),
    };
    checked.map_err(|what| unsupported(what, line))
}
