//! Jinja works out constant expressions when it compiles a template. Where one is undefined and then used, it fails
//! even if the expression is never reached; so these are found out and refused.

use crate::syntax::{Const, Expr, ExprKind};

/// Whether Jinja may take an expression for a constant.
pub(super) fn is_constant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Const(_) => true,
        ExprKind::Name(_) | ExprKind::Captured | ExprKind::Call(..) => false,
        ExprKind::List(items) | ExprKind::Tuple(items) | ExprKind::Concat(items) => items.iter().all(is_constant),
        ExprKind::Dict(pairs) => pairs.iter().all(|(key, value)| is_constant(key) && is_constant(value)),
        ExprKind::Attr(of, _) | ExprKind::Not(of) | ExprKind::Negate(of) => is_constant(of),
        ExprKind::Filter(of, _, args) | ExprKind::Test(of, _, args) => is_constant(of) && args.all().all(is_constant),
        ExprKind::Item(left, right)
        | ExprKind::And(left, right)
        | ExprKind::Or(left, right)
        | ExprKind::Binary(_, left, right) => is_constant(left) && is_constant(right),
        ExprKind::Compare(first, rest) => is_constant(first) && rest.iter().all(|(_, value)| is_constant(value)),
        ExprKind::Slice(slice) => is_constant(&slice.value),
        // One side alone may be left over.
        ExprKind::Ternary(ternary) => is_constant(&ternary.test),
    }
}

/// Whether a constant is a list, a tuple or a text that is not empty.
pub(super) fn has_items(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::List(items) | ExprKind::Tuple(items) => !items.is_empty(),
        ExprKind::Const(Const::Str(text)) => !text.is_empty(),
        _ => false,
    }
}

/// The item of a constant, where it is plain to see that there is one.
pub(super) fn constant_item<'a>(of: &'a Expr, key: &Expr) -> Option<&'a Expr> {
    match (&of.kind, &key.kind) {
        (ExprKind::List(items) | ExprKind::Tuple(items), ExprKind::Const(Const::Int(index))) => {
            items.get(usize::try_from(*index).ok()?)
        }
        (ExprKind::List(items) | ExprKind::Tuple(items), ExprKind::Negate(index)) => match index.kind {
            ExprKind::Const(Const::Int(index)) => items.get(items.len().checked_sub(usize::try_from(index).ok()?)?),
            _ => None,
        },
        (ExprKind::Const(Const::Str(text)), ExprKind::Const(Const::Int(index))) => {
            (usize::try_from(*index).ok()? < text.chars().count()).then_some(of)
        }
        (ExprKind::Const(Const::Str(text)), ExprKind::Negate(index)) => match index.kind {
            ExprKind::Const(Const::Int(index)) => (usize::try_from(index).ok()? <= text.chars().count()).then_some(of),
            _ => None,
        },
        (ExprKind::Dict(pairs), ExprKind::Const(wanted)) => pairs
            .iter()
            .find(|(key, _)| matches!(&key.kind, ExprKind::Const(key) if key == wanted))
            .map(|(_, value)| value),
        _ => None,
    }
}
