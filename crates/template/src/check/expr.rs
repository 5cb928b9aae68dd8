//! The types of expressions.

use super::constant::{constant_item, has_items, is_constant};
use super::tables::{self, Gives};
use super::types::Type;
use super::{Checked, Checker, named, truth_of};
use crate::kind::{Kind, Kinds};
use crate::source::unsupported;
use crate::syntax::{Args, BinaryOp, CompareOp, Const, Expr, ExprKind, Slice, Ternary};

const MOMENTS: Kinds = Kinds::of(&[Kind::DateTime, Kind::StdDateTime]);
const TEXTS: Kinds = Kinds::of(&[Kind::Str, Kind::Markup, Kind::Enum]);
const BOOL: Type = Type::of(Kind::Bool);

impl Checker {
    pub(super) fn expr(&mut self, expr: &Expr) -> Checked<Type> {
        let line = expr.line;
        match &expr.kind {
            ExprKind::Const(value) => Ok(Type::of(match value {
                Const::None => Kind::None,
                Const::Bool(_) => Kind::Bool,
                Const::Int(_) => Kind::Int,
                Const::Float(_) => Kind::Float,
                Const::Str(_) => Kind::Str,
            })),
            ExprKind::Name(name) => self.name(name, line),
            ExprKind::Captured => Ok(Type::of(Kind::Str)),
            ExprKind::List(items) => self.literal(Kind::List, items.iter()),
            ExprKind::Tuple(items) => self.literal(Kind::Tuple, items.iter()),
            ExprKind::Dict(pairs) => self.dict(pairs),
            ExprKind::Attr(of, name) => self.attr(of, name, line),
            ExprKind::Item(of, key) => self.item(of, key),
            ExprKind::Slice(slice) => self.slice(slice, line),
            ExprKind::Call(callee, args) => self.call(callee, args.into(), line),
            ExprKind::Filter(input, name, args) => self.filtered(input, name, args, line),
            ExprKind::Test(value, name, args) => {
                let value = self.expr(value)?;
                self.test(&value, name, args.into(), line).map(|()| BOOL)
            }
            ExprKind::Not(value) => self.truth(value).map(|()| BOOL),
            ExprKind::Negate(value) => {
                let value = self.expr(value)?;
                if value.is_within(Kinds::PLAIN.and(Kinds::of(&[Kind::Delta]))) {
                    return Ok(value);
                }
                Err(unsupported(format!("`-` before a {}", named(&value, Kinds::PLAIN)), line))
            }
            ExprKind::And(left, right) | ExprKind::Or(left, right) => {
                let left = self.expr(left)?;
                truth_of(&left, line)?;
                Ok(left.or(self.expr(right)?))
            }
            ExprKind::Binary(op, left, right) => {
                let (left, right) = (self.expr(left)?, self.expr(right)?);
                binary(*op, &left, &right, line)
            }
            ExprKind::Compare(first, rest) => {
                let mut left = self.expr(first)?;
                for (op, right) in rest {
                    let right = self.expr(right)?;
                    compare(*op, &left, &right, line)?;
                    left = right;
                }
                Ok(BOOL)
            }
            ExprKind::Concat(parts) => {
                for part in parts {
                    let shown = self.expr(part)?;
                    self.printable(&shown, part.line)?;
                }
                Ok(Type::of(Kind::Str))
            }
            ExprKind::Ternary(ternary) => self.ternary(ternary),
        }
    }

    fn attr(&mut self, of: &Expr, name: &str, line: u32) -> Checked<Type> {
        if is_constant(of) {
            return Err(unsupported(format!("the attribute `{name}` of a constant"), line));
        }
        let of = self.expr(of)?;
        attribute(&of, name, line)
    }

    fn filtered(&mut self, input: &Expr, name: &str, args: &Args, line: u32) -> Checked<Type> {
        let may_be_undefined = matches!(name, "first" | "last" | "min" | "max");
        if may_be_undefined && is_constant(input) && !has_items(input) {
            return Err(unsupported(format!("the filter `{name}` of this constant"), line));
        }
        let input = self.expr(input)?;
        self.filter(&input, name, args.into(), line)
    }

    fn dict(&mut self, pairs: &[(Expr, Expr)]) -> Checked<Type> {
        for (key, _) in pairs {
            // What can't be a key is found out even before the template begins.
            if matches!(key.kind, ExprKind::List(_) | ExprKind::Dict(_)) {
                return Err(unsupported("a list or dict as a key", key.line));
            }
            let key_type = self.expr(key)?;
            if !key_type.is_plain() {
                let kind = named(&key_type, Kinds::PLAIN);
                return Err(unsupported(format!("a {kind} as a key"), key.line));
            }
        }
        self.literal(Kind::Dict, pairs.iter().map(|(_, value)| value))
    }

    fn literal<'a>(&mut self, kind: Kind, items: impl Iterator<Item = &'a Expr>) -> Checked<Type> {
        let mut all: Option<Type> = None;
        for item in items {
            let found = self.expr(item)?;
            if !found.is_deeply_within(Kinds::STORABLE, Kinds::STORABLE) {
                let kind = named(&found, Kinds::STORABLE);
                return Err(unsupported(format!("a {kind} in a list or dict"), item.line));
            }
            all = Some(all.map_or_else(|| found.clone(), |all| all.or(found.clone())));
        }
        Ok(Type::containing(kind, all.unwrap_or(Type::PLAIN)))
    }

    fn item(&mut self, of: &Expr, key: &Expr) -> Checked<Type> {
        let (line, name) = (key.line, key.as_text());
        if is_constant(of) && is_constant(key) && constant_item(of, key).is_none() {
            return Err(unsupported("this item of a constant", line));
        }
        let of = self.expr(of)?;
        let key = self.expr(key)?;
        if let (Some(name), true) = (name, of.is_within(NAMED_ITEMS)) {
            return attribute(&of, name, line);
        }
        const INDEXED: Kinds = Kinds::PLAIN.and(Kinds::of(&[Kind::Range]));
        if !of.is_within(INDEXED) {
            return Err(unsupported(format!("an item of a {}", named(&of, INDEXED)), line));
        }
        if !key.is_plain() {
            return Err(unsupported(format!("a {} as a key", named(&key, Kinds::PLAIN)), line));
        }
        if name.is_some_and(|name| name.starts_with("__")) {
            return Err(unsupported("an attribute that begins with `__`", line));
        }
        Ok(of.items())
    }

    fn slice(&mut self, slice: &Slice, line: u32) -> Checked<Type> {
        let of = self.expr(&slice.value)?;
        const SLICED: Kinds = Kinds::of(&[Kind::Str, Kind::List, Kind::Tuple]);
        let left = of.kinds.iter().filter(|kind| SLICED.has(*kind) || *kind == Kind::None);
        if left.count() == 0 || !of.is_within(Kinds::PLAIN) {
            return Err(unsupported(format!("a slice of a {}", named(&of, SLICED)), line));
        }
        // Jinja makes an undefined value of a constant that can't be sliced.
        if is_constant(&slice.value) && !of.is_within(SLICED) {
            return Err(unsupported("a slice of this constant", line));
        }
        for bound in [&slice.start, &slice.stop, &slice.step].into_iter().flatten() {
            let found = self.expr(bound)?;
            if !found.is_plain() {
                return Err(unsupported(format!("a slice by a {}", named(&found, Kinds::PLAIN)), line));
            }
        }
        Ok(of)
    }

    fn ternary(&mut self, ternary: &Ternary) -> Checked<Type> {
        self.truth(&ternary.test)?;
        let yes = self.expr(&ternary.yes)?;
        match &ternary.no {
            Some(no) => Ok(yes.or(self.expr(no)?)),
            None => Ok(yes),
        }
    }
}

/// Kinds whose items are their attributes.
const NAMED_ITEMS: Kinds = Kinds::of(&[Kind::Namespace, Kind::VarValue, Kind::VarJson, Kind::Conn]);

/// The type of `of.name`.
pub(super) fn attribute(of: &Type, name: &str, line: u32) -> Checked<Type> {
    let mut found = Type::new(Kinds::default());
    for kind in of.kinds.iter() {
        let refuse = || Err(unsupported(format!("the attribute `{name}` of a {}", kind.type_name()), line));
        if name.starts_with("__") {
            return refuse();
        }
        let looked_at = if kind == Kind::Proxy { Kind::DateTime } else { kind };
        if let Some(gives) = tables::attribute(looked_at, name) {
            found = found.or(gives.on(of));
            continue;
        }
        match kind {
            _ if tables::method(looked_at, name).is_some() || kind.has_attribute(name) => {
                return Err(unsupported(format!("the method `{name}`, not called,"), line));
            }
            Kind::VarValue => found = found.or(Type::of(Kind::Str)),
            Kind::VarJson | Kind::Namespace => found = found.or(Type::PLAIN),
            Kind::Conn => found = found.or(Type::of(Kind::Connection)),
            Kind::Dict => found = found.or(of.items()),
            kind if kind.is_open() => {}
            _ => return refuse(),
        }
    }
    Ok(if found.kinds == Kinds::default() { Type::PLAIN } else { found })
}

/// The kind that an operation on two kinds gives.
enum Pair {
    Gives(Kind),
    /// A container of the items of both.
    Joins(Kind),
    /// Python refuses it, in words that are known.
    Error,
    NotHere,
}

fn binary(op: BinaryOp, left: &Type, right: &Type, line: u32) -> Checked<Type> {
    let mut found = Type::new(Kinds::default());
    for left_kind in resolved(left.kinds).iter() {
        for right_kind in resolved(right.kinds).iter() {
            match pair(op, left_kind, right_kind) {
                Pair::Gives(kind) => found = found.or(Type::of(kind)),
                Pair::Joins(kind) => found = found.or(left.or(right.clone()).with_kinds(Kinds::of(&[kind]))),
                Pair::Error => {}
                Pair::NotHere => {
                    let (sign, left, right) = (op.sign(), left_kind.type_name(), right_kind.type_name());
                    return Err(unsupported(format!("`{sign}` between {left} and {right}"), line));
                }
            }
        }
    }
    Ok(if found.kinds == Kinds::default() { Type::PLAIN } else { found })
}

/// What a proxy may stand for is what counts.
fn resolved(kinds: Kinds) -> Kinds {
    if kinds.has(Kind::Proxy) {
        kinds.without(Kind::Proxy).and(Kinds::of(&[Kind::DateTime, Kind::None]))
    } else {
        kinds
    }
}

fn pair(op: BinaryOp, left: Kind, right: Kind) -> Pair {
    use BinaryOp::{Add, Div, FloorDiv, Mul, Rem, Sub};
    let moment = |kind: Kind| MOMENTS.has(kind);
    let day = |kind: Kind| matches!(kind, Kind::Date | Kind::StdDate);
    match (op, left, right) {
        (Rem, Kind::Str, right) if Kinds::STORABLE.has(right) => Pair::Gives(Kind::Str),
        _ if Kinds::PLAIN.has(left) && Kinds::PLAIN.has(right) => plain_pair(op, left, right),
        (Add | Sub, left, Kind::Delta) if moment(left) || day(left) || left == Kind::Delta => Pair::Gives(left),
        (Add, Kind::Delta, right) if moment(right) || right == Kind::StdDate => Pair::Gives(right),
        (Sub, Kind::StdDateTime, Kind::StdDateTime) | (Sub, Kind::StdDate, Kind::StdDate) => Pair::Gives(Kind::Delta),
        (Sub, left, right) if moment(left) && moment(right) => Pair::Gives(Kind::Interval),
        (Mul, Kind::Delta, Kind::Int | Kind::Bool) | (Mul, Kind::Int | Kind::Bool, Kind::Delta) => {
            Pair::Gives(Kind::Delta)
        }
        (Div, Kind::Delta, Kind::Delta) => Pair::Gives(Kind::Float),
        (FloorDiv, Kind::Delta, Kind::Delta) => Pair::Gives(Kind::Int),
        (Add | Sub, left, Kind::None | Kind::Int | Kind::Str) if moment(left) => Pair::Error,
        (Add | Sub, Kind::None | Kind::Int | Kind::Str, right) if moment(right) => Pair::Error,
        _ => Pair::NotHere,
    }
}

/// Of plain values it is always known what Python does.
fn plain_pair(op: BinaryOp, left: Kind, right: Kind) -> Pair {
    let whole = |kind: Kind| matches!(kind, Kind::Int | Kind::Bool);
    let number = |kind: Kind| whole(kind) || kind == Kind::Float;
    match (op, left, right) {
        (BinaryOp::Div, left, right) if number(left) && number(right) => Pair::Gives(Kind::Float),
        (_, left, right) if whole(left) && whole(right) => Pair::Gives(Kind::Int),
        (_, left, right) if number(left) && number(right) => Pair::Gives(Kind::Float),
        (BinaryOp::Add, Kind::Str, Kind::Str) => Pair::Gives(Kind::Str),
        (BinaryOp::Add, Kind::List | Kind::Tuple, right) if left == right => Pair::Joins(left),
        (BinaryOp::Mul, Kind::Str, right) if whole(right) => Pair::Gives(Kind::Str),
        (BinaryOp::Mul, left, Kind::Str) if whole(left) => Pair::Gives(Kind::Str),
        (BinaryOp::Mul, Kind::List | Kind::Tuple, right) if whole(right) => Pair::Joins(left),
        (BinaryOp::Mul, left, Kind::List | Kind::Tuple) if whole(left) => Pair::Joins(right),
        _ => Pair::Error,
    }
}

fn compare(op: CompareOp, left: &Type, right: &Type, line: u32) -> Checked<()> {
    let fits = match op {
        CompareOp::Eq | CompareOp::Ne => comparable(left, right),
        CompareOp::In | CompareOp::NotIn => {
            const SEARCHED: Kinds = Kinds::PLAIN.and(Kinds::of(&[Kind::View, Kind::Range, Kind::Markup]));
            right.is_deeply_within(SEARCHED, Kinds::PLAIN) && left.is_within(Kinds::PLAIN.and(TEXTS))
        }
        CompareOp::Lt | CompareOp::Le | CompareOp::Gt | CompareOp::Ge => ordered(left, right),
    };
    if fits {
        return Ok(());
    }
    let names = |side: &Type| side.kinds.iter().next().map_or("value", Kind::type_name);
    let (left, right) = (named_or(left, names(left)), named_or(right, names(right)));
    Err(unsupported(format!("comparing {left} and {right}"), line))
}

fn named_or(side: &Type, otherwise: &str) -> String {
    if side.is_within(Kinds::PLAIN) { otherwise.to_owned() } else { named(side, Kinds::PLAIN) }
}

/// Whether `==` is known.
pub(super) fn comparable(left: &Type, right: &Type) -> bool {
    const COMPARED: Kinds = Kinds::PLAIN.and(TEXTS).and(MOMENTS).and(Kinds::of(&[
        Kind::Range,
        Kind::Date,
        Kind::StdDate,
        Kind::Delta,
        Kind::Proxy,
    ]));
    let none = Type::of(Kind::None);
    let known = |side: &Type| side.is_deeply_within(COMPARED, COMPARED);
    (known(left) && known(right)) || (left == &none && known(right)) || (right == &none && known(left))
}

/// Whether `<` is known.
pub(super) fn ordered(left: &Type, right: &Type) -> bool {
    let plain = |kind: Kind| Kinds::PLAIN.has(kind) || TEXTS.has(kind);
    let known = |left: Kind, right: Kind| {
        (plain(left) && plain(right))
            || (MOMENTS.has(left) && MOMENTS.has(right))
            || (left == right && matches!(left, Kind::Date | Kind::StdDate | Kind::Delta))
            || (MOMENTS.has(left) && Kinds::PLAIN.has(right))
            || (Kinds::PLAIN.has(left) && MOMENTS.has(right))
    };
    let deep = |side: &Type| side.is_deeply_within(side.kinds, Kinds::PLAIN);
    // A proxy on the right is asked with other words than those that are known.
    if right.kinds.has(Kind::Proxy) && !left.is_within(MOMENTS.and(Kinds::of(&[Kind::Proxy]))) {
        return false;
    }
    deep(left)
        && deep(right)
        && resolved(left.kinds).iter().all(|left| resolved(right.kinds).iter().all(|right| known(left, right)))
}

/// The type that a call gives on a value.
pub(super) fn given(gives: Gives, on: &Type) -> Type {
    gives.on(on)
}
