//! Expressions.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Machine, attr};
use crate::args::Arguments;
use crate::builtins::{self, apply_filter, apply_test};
use crate::error::{Outcome, needs_python};
use crate::syntax::{Args, BinaryOp, CompareOp, Const, Expr, ExprKind, Slice, Ternary};
use crate::value::{
    Dict, Object, Undefined, Value, binary, bounded, contains, equals, get_slice, is_true, negate, order,
};

impl Machine<'_> {
    pub(super) fn eval(&self, expr: &Expr) -> Outcome<Value> {
        self.spend(1)?;
        match &expr.kind {
            ExprKind::Const(value) => Ok(constant(value)),
            ExprKind::Name(name) => self.lookup(name),
            ExprKind::Captured => Ok(self.captured.last().cloned().unwrap_or(Value::None)),
            ExprKind::List(items) => self.admit(Value::list(self.all(items)?)),
            ExprKind::Tuple(items) => self.admit(Value::tuple(self.all(items)?)),
            ExprKind::Dict(pairs) => {
                let mut dict = Dict::default();
                for (key, value) in pairs {
                    let key = self.eval(key)?;
                    dict.insert(key, self.eval(value)?)?;
                }
                self.admit(Value::dict(dict))
            }
            ExprKind::Attr(of, name) => {
                let of = self.eval(of)?;
                self.admit(attr::attribute(self, &of, name)?)
            }
            ExprKind::Item(of, key) => {
                let of = self.eval(of)?;
                let key = self.eval(key)?;
                self.admit(attr::item(self, &of, &key)?)
            }
            ExprKind::Slice(slice) => self.slice(slice),
            ExprKind::Call(callee, args) => {
                let result = self.call(callee, args)?;
                self.admit(result)
            }
            ExprKind::Filter(input, name, args) => {
                let input = self.eval(input)?;
                let arguments = self.arguments(args)?;
                self.admit(apply_filter(self, name, input, arguments)?)
            }
            ExprKind::Test(value, name, args) => {
                let value = self.eval(value)?;
                let arguments = self.arguments(args)?;
                apply_test(self, name, value, arguments).map(Value::Bool)
            }
            ExprKind::Not(value) => Ok(Value::Bool(!is_true(&self.eval(value)?)?)),
            ExprKind::Negate(value) => negate(&self.eval(value)?.resolved()),
            ExprKind::And(left, right) => {
                let left = self.eval(left)?;
                if is_true(&left)? { self.eval(right) } else { Ok(left) }
            }
            ExprKind::Or(left, right) => {
                let left = self.eval(left)?;
                if is_true(&left)? { Ok(left) } else { self.eval(right) }
            }
            ExprKind::Binary(op, left, right) => self.binary(*op, left, right),
            ExprKind::Compare(first, rest) => self.compare(first, rest),
            ExprKind::Concat(parts) => self.concat(parts),
            ExprKind::Ternary(ternary) => self.ternary(ternary, expr.line),
        }
    }

    fn all(&self, exprs: &[Expr]) -> Outcome<Vec<Value>> {
        exprs.iter().map(|expr| self.eval(expr)).collect()
    }

    fn arguments(&self, args: &Args) -> Outcome<Arguments> {
        Ok(Arguments {
            positional: self.all(&args.positional)?,
            named: args
                .named
                .iter()
                .map(|(name, value)| Ok((name.clone(), self.eval(value)?)))
                .collect::<Outcome<_>>()?,
        })
    }

    fn slice(&self, slice: &Slice) -> Outcome<Value> {
        let value = self.eval(&slice.value)?;
        let bound = |bound: &Option<Expr>| bound.as_ref().map_or(Ok(Value::None), |bound| self.eval(bound));
        let bounds = [bound(&slice.start)?, bound(&slice.stop)?, bound(&slice.step)?];
        self.spend(value.size().weight)?;
        get_slice(&value, [&bounds[0], &bounds[1], &bounds[2]])
    }

    fn call(&self, callee: &Expr, args: &Args) -> Outcome<Value> {
        match &callee.kind {
            ExprKind::Attr(of, name) => {
                let of = self.eval(of)?;
                // Python looks the method up before it evaluates the arguments.
                if let Value::Undefined(undefined) = &of {
                    return undefined.fail();
                }
                if let Value::Object(Object::VarValue | Object::VarJson | Object::Conn) = of
                    && name != "get"
                {
                    return needs_python(format!("calling `{name}`"));
                }
                let arguments = self.arguments(args)?;
                self.charge(&of, &arguments)?;
                attr::call(self, &of, name, arguments)
            }
            ExprKind::Name(name) => {
                let arguments = self.arguments(args)?;
                match name.as_str() {
                    "range" => builtins::range(arguments),
                    "dict" => builtins::dict(arguments),
                    "namespace" => {
                        let entries = builtins::namespace(arguments)?;
                        Ok(Value::Object(Object::Namespace(Rc::new(RefCell::new(entries)))))
                    }
                    _ => needs_python(format!("the function `{name}`")),
                }
            }
            _ => needs_python("calling this"),
        }
    }

    fn binary(&self, op: BinaryOp, left: &Expr, right: &Expr) -> Outcome<Value> {
        let left = self.eval(left)?.resolved();
        let right = self.eval(right)?.resolved();
        self.spend(left.size().weight.saturating_add(right.size().weight))?;
        let result = binary(op, &left, &right)?;
        self.spend(result.size().weight)?;
        self.admit(result)
    }

    fn compare(&self, first: &Expr, rest: &[(CompareOp, Expr)]) -> Outcome<Value> {
        let mut left = self.eval(first)?;
        let mut holds = true;
        for (op, right) in rest {
            let right = self.eval(right)?;
            self.spend(left.size().weight.saturating_add(right.size().weight))?;
            holds = match op {
                CompareOp::Eq => equals(&left, &right)?,
                CompareOp::Ne => !equals(&left, &right)?,
                CompareOp::In => contains(&right, &left)?,
                CompareOp::NotIn => !contains(&right, &left)?,
                CompareOp::Lt | CompareOp::Le | CompareOp::Gt | CompareOp::Ge => order(*op, &left, &right)?,
            };
            if !holds {
                break;
            }
            left = right;
        }
        Ok(Value::Bool(holds))
    }

    fn concat(&self, parts: &[Expr]) -> Outcome<Value> {
        let values = self.all(parts)?;
        let mut out = String::new();
        for value in &values {
            out.push_str(&self.text(value)?);
            bounded(out.len())?;
        }
        Ok(Value::str(out))
    }

    fn ternary(&self, ternary: &Ternary, line: u32) -> Outcome<Value> {
        if is_true(&self.eval(&ternary.test)?)? {
            return self.eval(&ternary.yes);
        }
        match &ternary.no {
            Some(no) => self.eval(no),
            None if ternary.many_lines => needs_python("an inline `if` over several lines, without `else`,"),
            None => Ok(Value::Undefined(Rc::new(Undefined {
                message: format!(
                    "the inline if-expression on line {line} evaluated to false and no else section was defined."
                ),
                strict: false,
            }))),
        }
    }
}

fn constant(value: &Const) -> Value {
    match value {
        Const::None => Value::None,
        Const::Bool(value) => Value::Bool(*value),
        Const::Int(value) => Value::Int(*value),
        Const::Float(value) => Value::Float(*value),
        Const::Str(text) => Value::str(text.as_str()),
    }
}
