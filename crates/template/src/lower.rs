//! From minijinja's tree to ours: the only module that knows minijinja's nodes. Refuses the constructs that are
//! never rendered here.

use minijinja::machinery::ast;

use crate::error::Unsupported;
use crate::source::unsupported;
use crate::syntax::{Args, BinaryOp, CompareOp, Const, Expr, ExprKind, For, Slice, Stmt, Target, Ternary, Tree};

/// How deep statements and expressions may nest: rendering recurses as deep.
const MAX_DEPTH: usize = 80;

type Lowered<T> = Result<T, Unsupported>;

pub(crate) fn lower(template: &ast::Template<'_>) -> Lowered<Tree> {
    Ok(Tree { body: Lowering { depth: 0 }.body(&template.children)? })
}

struct Lowering {
    depth: usize,
}

impl Lowering {
    fn deeper<T>(&mut self, line: u32, inner: impl FnOnce(&mut Self) -> Lowered<T>) -> Lowered<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(unsupported("a template nested this deep", line));
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn body(&mut self, stmts: &[ast::Stmt<'_>]) -> Lowered<Vec<Stmt>> {
        stmts.iter().map(|stmt| self.stmt(stmt)).collect()
    }

    fn stmt(&mut self, stmt: &ast::Stmt<'_>) -> Lowered<Stmt> {
        let refuse = |what: &str, line: u32| Err(unsupported(format!("the statement `{what}`"), line));
        let line = stmt_line(stmt);
        self.deeper(line, |this| match stmt {
            ast::Stmt::EmitRaw(raw) => Ok(Stmt::Text(raw.raw.to_owned())),
            ast::Stmt::EmitExpr(emit) => Ok(Stmt::Emit(this.expr(&emit.expr)?)),
            ast::Stmt::ForLoop(node) => this.for_loop(node, line),
            ast::Stmt::IfCond(node) => this.if_cond(node),
            ast::Stmt::WithBlock(node) => {
                let assignments = node.assignments.iter();
                let assignments = assignments.map(|(target, value)| Ok((this.target(target)?, this.expr(value)?)));
                Ok(Stmt::With { assignments: assignments.collect::<Lowered<_>>()?, body: this.body(&node.body)? })
            }
            ast::Stmt::Set(node) => {
                Ok(Stmt::Set { line, target: this.target(&node.target)?, value: this.expr(&node.expr)? })
            }
            ast::Stmt::SetBlock(node) => Ok(Stmt::Capture {
                line,
                target: Some(this.target(&node.target)?),
                filter: this.optional(node.filter.as_ref())?,
                body: this.body(&node.body)?,
            }),
            ast::Stmt::FilterBlock(node) => Ok(Stmt::Capture {
                line,
                target: None,
                filter: Some(this.expr(&node.filter)?),
                body: this.body(&node.body)?,
            }),
            ast::Stmt::Do(node) => Ok(Stmt::Do(this.call(&node.call, line)?)),
            ast::Stmt::AutoEscape(_) => refuse("autoescape", line),
            ast::Stmt::Block(_) => refuse("block", line),
            ast::Stmt::Import(_) => refuse("import", line),
            ast::Stmt::FromImport(_) => refuse("from", line),
            ast::Stmt::Extends(_) => refuse("extends", line),
            ast::Stmt::Include(_) => refuse("include", line),
            ast::Stmt::Macro(_) => refuse("macro", line),
            ast::Stmt::CallBlock(_) => refuse("call", line),
            ast::Stmt::Template(_) => refuse("template", line),
        })
    }

    fn for_loop(&mut self, node: &ast::ForLoop<'_>, line: u32) -> Lowered<Stmt> {
        if node.recursive {
            return Err(unsupported("a recursive loop", line));
        }
        Ok(Stmt::For(Box::new(For {
            line,
            target: self.target(&node.target)?,
            iter: self.expr(&node.iter)?,
            test: self.optional(node.filter_expr.as_ref())?,
            body: self.body(&node.body)?,
            otherwise: self.body(&node.else_body)?,
        })))
    }

    /// An `elif` is an `if` alone in the other branch, for minijinja and in its meaning.
    fn if_cond(&mut self, node: &ast::IfCond<'_>) -> Lowered<Stmt> {
        let mut branches = vec![(self.expr(&node.expr)?, self.body(&node.true_body)?)];
        let mut rest = &node.false_body;
        while let [ast::Stmt::IfCond(elif)] = rest.as_slice() {
            branches.push((self.expr(&elif.expr)?, self.body(&elif.true_body)?));
            rest = &elif.false_body;
        }
        Ok(Stmt::If { branches, otherwise: self.body(rest)? })
    }

    fn target(&mut self, expr: &ast::Expr<'_>) -> Lowered<Target> {
        let line = line_of(expr);
        match expr {
            // Jinja looks these up in ways of its own.
            ast::Expr::Var(var) if matches!(var.id, "loop" | "self" | "caller" | "varargs" | "kwargs") => {
                Err(unsupported(format!("assigning to `{}`", var.id), line))
            }
            ast::Expr::Var(var) => Ok(Target::Name(var.id.to_owned())),
            ast::Expr::GetAttr(attr) => match &attr.expr {
                ast::Expr::Var(var) => Ok(Target::Attr(var.id.to_owned(), attr.name.to_owned())),
                _ => Err(unsupported("assigning to an attribute", line)),
            },
            ast::Expr::List(list) => {
                let items = list.items.iter().map(|item| self.deeper(line, |this| this.target(item)));
                Ok(Target::Tuple(items.collect::<Lowered<_>>()?))
            }
            _ => Err(unsupported("this assignment", line)),
        }
    }

    fn optional(&mut self, expr: Option<&ast::Expr<'_>>) -> Lowered<Option<Expr>> {
        expr.map(|expr| self.expr(expr)).transpose()
    }

    fn exprs(&mut self, exprs: &[ast::Expr<'_>]) -> Lowered<Vec<Expr>> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn boxed(&mut self, expr: &ast::Expr<'_>) -> Lowered<Box<Expr>> {
        Ok(Box::new(self.expr(expr)?))
    }

    fn expr(&mut self, expr: &ast::Expr<'_>) -> Lowered<Expr> {
        let line = line_of(expr);
        self.deeper(line, |this| Ok(Expr { line, kind: this.kind(expr, line)? }))
    }

    fn kind(&mut self, expr: &ast::Expr<'_>, line: u32) -> Lowered<ExprKind> {
        Ok(match expr {
            ast::Expr::Var(var) => ExprKind::Name(var.id.to_owned()),
            ast::Expr::Const(value) => ExprKind::Const(constant(&value.value, line)?),
            ast::Expr::Slice(node) => ExprKind::Slice(Box::new(Slice {
                value: self.expr(&node.expr)?,
                start: self.optional(node.start.as_ref())?,
                stop: self.optional(node.stop.as_ref())?,
                step: self.optional(node.step.as_ref())?,
            })),
            ast::Expr::UnaryOp(node) => self.unary(node)?,
            ast::Expr::BinOp(node) => self.binary(node)?,
            ast::Expr::Compare(node) => {
                let ops = node.ops.iter().map(|op| Ok((compare_op(op.op), self.expr(&op.expr)?)));
                let ops = ops.collect::<Lowered<Vec<_>>>()?;
                ExprKind::Compare(self.boxed(&node.expr)?, ops)
            }
            ast::Expr::IfExpr(node) => {
                let span = expr.span();
                ExprKind::Ternary(Box::new(Ternary {
                    test: self.expr(&node.test_expr)?,
                    yes: self.expr(&node.true_expr)?,
                    no: self.optional(node.false_expr.as_ref())?,
                    many_lines: span.start_line != span.end_line,
                }))
            }
            ast::Expr::Filter(node) => {
                let input = match &node.expr {
                    Some(input) => self.boxed(input)?,
                    None => Box::new(Expr { line, kind: ExprKind::Captured }),
                };
                ExprKind::Filter(input, node.name.to_owned(), self.args(&node.args, line)?)
            }
            ast::Expr::Test(node) => {
                ExprKind::Test(self.boxed(&node.expr)?, node.name.to_owned(), self.args(&node.args, line)?)
            }
            ast::Expr::GetAttr(node) => ExprKind::Attr(self.boxed(&node.expr)?, node.name.to_owned()),
            ast::Expr::GetItem(node) => ExprKind::Item(self.boxed(&node.expr)?, self.boxed(&node.subscript_expr)?),
            ast::Expr::Call(node) => return Ok(self.call(node, line)?.kind),
            ast::Expr::List(node) => ExprKind::List(self.exprs(&node.items)?),
            ast::Expr::Tuple(node) => ExprKind::Tuple(self.exprs(&node.items)?),
            ast::Expr::Map(node) => {
                let pairs = node.keys.iter().zip(&node.values);
                let pairs = pairs.map(|(key, value)| Ok((self.expr(key)?, self.expr(value)?)));
                ExprKind::Dict(pairs.collect::<Lowered<_>>()?)
            }
        })
    }

    fn call(&mut self, node: &ast::Call<'_>, line: u32) -> Lowered<Expr> {
        Ok(Expr { line, kind: ExprKind::Call(self.boxed(&node.expr)?, self.args(&node.args, line)?) })
    }

    fn args(&mut self, args: &[ast::CallArg<'_>], line: u32) -> Lowered<Args> {
        let mut lowered = Args::default();
        for arg in args {
            match arg {
                ast::CallArg::Pos(value) => lowered.positional.push(self.expr(value)?),
                ast::CallArg::Kwarg(name, value) => {
                    if lowered.named.iter().any(|(known, _)| known == name) {
                        return Err(unsupported(format!("the argument `{name}`, given twice,"), line));
                    }
                    lowered.named.push(((*name).to_owned(), self.expr(value)?));
                }
                ast::CallArg::PosSplat(_) | ast::CallArg::KwargSplat(_) => {
                    return Err(unsupported("`*` before an argument", line));
                }
            }
        }
        Ok(lowered)
    }

    fn unary(&mut self, node: &ast::UnaryOp<'_>) -> Lowered<ExprKind> {
        let operand = self.expr(&node.expr)?;
        Ok(match (&node.op, operand.kind) {
            (ast::UnaryOpKind::Not, kind) => ExprKind::Not(Box::new(Expr { line: operand.line, kind })),
            (ast::UnaryOpKind::Neg, kind) => ExprKind::Negate(Box::new(Expr { line: operand.line, kind })),
        })
    }

    fn binary(&mut self, node: &ast::BinOp<'_>) -> Lowered<ExprKind> {
        use ast::BinOpKind as Op;
        if matches!(node.op, Op::Concat) {
            let mut parts = match self.expr(&node.left)? {
                Expr { kind: ExprKind::Concat(parts), .. } => parts,
                other => vec![other],
            };
            parts.push(self.expr(&node.right)?);
            return Ok(ExprKind::Concat(parts));
        }
        let (left, right) = (self.boxed(&node.left)?, self.boxed(&node.right)?);
        let compare = |left, op, right: Box<Expr>| ExprKind::Compare(left, vec![(op, *right)]);
        Ok(match node.op {
            Op::Eq => compare(left, CompareOp::Eq, right),
            Op::Ne => compare(left, CompareOp::Ne, right),
            Op::Lt => compare(left, CompareOp::Lt, right),
            Op::Lte => compare(left, CompareOp::Le, right),
            Op::Gt => compare(left, CompareOp::Gt, right),
            Op::Gte => compare(left, CompareOp::Ge, right),
            Op::In => compare(left, CompareOp::In, right),
            Op::ScAnd => ExprKind::And(left, right),
            Op::ScOr => ExprKind::Or(left, right),
            Op::Add => ExprKind::Binary(BinaryOp::Add, left, right),
            Op::Sub => ExprKind::Binary(BinaryOp::Sub, left, right),
            Op::Mul => ExprKind::Binary(BinaryOp::Mul, left, right),
            Op::Div => ExprKind::Binary(BinaryOp::Div, left, right),
            Op::FloorDiv => ExprKind::Binary(BinaryOp::FloorDiv, left, right),
            Op::Rem => ExprKind::Binary(BinaryOp::Rem, left, right),
            Op::Pow => ExprKind::Binary(BinaryOp::Pow, left, right),
            Op::Concat => ExprKind::Concat(vec![*left, *right]),
        })
    }
}

fn compare_op(op: ast::CompareOpKind) -> CompareOp {
    match op {
        ast::CompareOpKind::Eq => CompareOp::Eq,
        ast::CompareOpKind::Ne => CompareOp::Ne,
        ast::CompareOpKind::Lt => CompareOp::Lt,
        ast::CompareOpKind::Lte => CompareOp::Le,
        ast::CompareOpKind::Gt => CompareOp::Gt,
        ast::CompareOpKind::Gte => CompareOp::Ge,
        ast::CompareOpKind::In => CompareOp::In,
        ast::CompareOpKind::NotIn => CompareOp::NotIn,
    }
}

fn constant(value: &minijinja::Value, line: u32) -> Lowered<Const> {
    use minijinja::value::ValueKind;
    let doubtful = || unsupported(format!("the value `{value}`"), line);
    Ok(match value.kind() {
        ValueKind::None => Const::None,
        ValueKind::Bool => Const::Bool(value.is_true()),
        ValueKind::String => Const::Str(value.as_str().ok_or_else(doubtful)?.to_owned()),
        ValueKind::Number if value.is_integer() => Const::Int(i128::try_from(value.clone()).map_err(|_| doubtful())?),
        ValueKind::Number => Const::Float(f64::try_from(value.clone()).map_err(|_| doubtful())?),
        _ => return Err(doubtful()),
    })
}

fn line_of(expr: &ast::Expr<'_>) -> u32 {
    u32::from(expr.span().start_line)
}

fn stmt_line(stmt: &ast::Stmt<'_>) -> u32 {
    let span = match stmt {
        ast::Stmt::Template(node) => node.span(),
        ast::Stmt::EmitExpr(node) => node.span(),
        ast::Stmt::EmitRaw(node) => node.span(),
        ast::Stmt::ForLoop(node) => node.span(),
        ast::Stmt::IfCond(node) => node.span(),
        ast::Stmt::WithBlock(node) => node.span(),
        ast::Stmt::Set(node) => node.span(),
        ast::Stmt::SetBlock(node) => node.span(),
        ast::Stmt::AutoEscape(node) => node.span(),
        ast::Stmt::FilterBlock(node) => node.span(),
        ast::Stmt::Block(node) => node.span(),
        ast::Stmt::Import(node) => node.span(),
        ast::Stmt::FromImport(node) => node.span(),
        ast::Stmt::Extends(node) => node.span(),
        ast::Stmt::Include(node) => node.span(),
        ast::Stmt::Macro(node) => node.span(),
        ast::Stmt::CallBlock(node) => node.span(),
        ast::Stmt::Do(node) => node.span(),
    };
    u32::from(span.start_line)
}
