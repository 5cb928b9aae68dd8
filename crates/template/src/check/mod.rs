//! Decides, before anything runs, whether a template means here exactly what it means in Python. Follows what kinds
//! of values each expression can have, and refuses whatever is not known to be the same.

mod calls;
mod constant;
mod expr;
mod tables;
mod types;

use std::collections::HashMap;

use crate::error::Unsupported;
use crate::kind::{Kind, Kinds};
use crate::source::unsupported;
use crate::syntax::{Expr, For, Stmt, Target, Tree};

use types::Type;

type Checked<T> = Result<T, Unsupported>;

/// Checks a template.
pub(crate) fn check(tree: &Tree) -> Checked<()> {
    Checker { scopes: vec![HashMap::new()] }.body(&tree.body)
}

struct Checker {
    /// What the template has assigned, innermost scope last; `None` for what may not be set, or must not be used.
    scopes: Vec<HashMap<String, Option<Type>>>,
}

impl Checker {
    fn body(&mut self, body: &[Stmt]) -> Checked<()> {
        body.iter().try_for_each(|stmt| self.stmt(stmt))
    }

    fn scoped(&mut self, scope: HashMap<String, Option<Type>>, body: &[Stmt]) -> Checked<()> {
        self.scopes.push(scope);
        let result = self.body(body);
        self.scopes.pop();
        result
    }

    fn stmt(&mut self, stmt: &Stmt) -> Checked<()> {
        match stmt {
            Stmt::Text(_) => Ok(()),
            Stmt::Emit(expr) => {
                let shown = self.expr(expr)?;
                self.printable(&shown, expr.line)
            }
            Stmt::If { branches, otherwise } => self.if_cond(branches, otherwise),
            Stmt::For(node) => self.for_loop(node),
            Stmt::Set { line, target, value } => {
                let value = self.expr(value)?;
                self.assign(target, value, *line)
            }
            Stmt::Capture { line, target, filter, body } => {
                self.scoped(HashMap::new(), body)?;
                let value = match filter {
                    Some(filter) => self.expr(filter)?,
                    None => Type::of(Kind::Str),
                };
                match target {
                    Some(target) => self.assign(target, value, *line),
                    None => self.printable(&value, *line),
                }
            }
            Stmt::With { assignments, body } => {
                let mut values = Vec::new();
                for (_, value) in assignments {
                    values.push((self.expr(value)?, value.line));
                }
                self.scopes.push(HashMap::new());
                let targets = assignments.iter().map(|(target, _)| target);
                let result = targets
                    .zip(values)
                    .try_for_each(|(target, (value, line))| self.assign(target, value, line))
                    .and_then(|()| self.body(body));
                self.scopes.pop();
                result
            }
            Stmt::Do(expr) => self.expr(expr).map(|_| ()),
        }
    }

    /// What the branches assign has afterwards the type of any of them; what only some assign may not be set.
    fn if_cond(&mut self, branches: &[(Expr, Vec<Stmt>)], otherwise: &[Stmt]) -> Checked<()> {
        let before = self.scopes.last().cloned().unwrap_or_default();
        let mut after = Vec::new();
        for (test, body) in branches {
            self.truth(test)?;
            self.body(body)?;
            after.push(self.restore(&before));
        }
        self.body(otherwise)?;
        after.push(self.restore(&before));
        let mut names: Vec<&String> = after.iter().flat_map(HashMap::keys).collect();
        names.sort_unstable();
        names.dedup();
        let mut joined = HashMap::new();
        for name in names {
            let outer = self.known(name).or_else(|| context_type(name));
            let mut types = after.iter().map(|scope| match scope.get(name) {
                Some(assigned) => assigned.clone(),
                None => outer.clone(),
            });
            let first = types.next().flatten();
            let all = types.fold(first, |joined, next| Some(joined?.or(next?)));
            joined.insert(name.clone(), all);
        }
        if let Some(scope) = self.scopes.last_mut() {
            *scope = joined;
        }
        Ok(())
    }

    fn restore(&mut self, before: &HashMap<String, Option<Type>>) -> HashMap<String, Option<Type>> {
        self.scopes.last_mut().map_or_else(HashMap::new, |scope| std::mem::replace(scope, before.clone()))
    }

    fn for_loop(&mut self, node: &For) -> Checked<()> {
        let iterated = self.expr(&node.iter)?;
        const WALKED: Kinds = Kinds::PLAIN.and(Kinds::of(&[Kind::View, Kind::Range, Kind::Generator]));
        if !iterated.is_within(WALKED) {
            return Err(unsupported(format!("a loop over a {}", named(&iterated, WALKED)), node.iter.line));
        }
        let item = iterated.items();
        // Jinja has a rule of its own for `loop` where the loop has not begun.
        let without_loop = || HashMap::from([("loop".to_owned(), None)]);
        if let Some(test) = &node.test {
            self.scopes.push(without_loop());
            let result = self.assign(&node.target, item.clone(), node.line).and_then(|()| self.truth(test));
            self.scopes.pop();
            result?;
        }
        let own = HashMap::from([("loop".to_owned(), Some(Type::containing(Kind::Loop, item.clone())))]);
        self.scopes.push(own);
        let result = self.assign(&node.target, item, node.line).and_then(|()| self.body(&node.body));
        self.scopes.pop();
        result?;
        self.scoped(without_loop(), &node.otherwise)
    }

    fn assign(&mut self, target: &Target, value: Type, line: u32) -> Checked<()> {
        match target {
            Target::Name(name) => {
                if let Some(scope) = self.scopes.last_mut() {
                    scope.insert(name.clone(), Some(value));
                }
                Ok(())
            }
            Target::Attr(name, _) => {
                let is_namespace = self.known(name).is_some_and(|known| known == Type::of(Kind::Namespace));
                if !is_namespace {
                    return Err(unsupported(format!("an attribute of `{name}`, which may be no namespace,"), line));
                }
                if !value.is_plain() {
                    return Err(unsupported(format!("a {} in a namespace", named(&value, Kinds::PLAIN)), line));
                }
                Ok(())
            }
            Target::Tuple(targets) => {
                let item = value.items();
                targets.iter().try_for_each(|target| self.assign(target, item.clone(), line))
            }
        }
    }

    /// The type of a name that the template has surely assigned.
    fn known(&self, name: &str) -> Option<Type> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name)).cloned().flatten()
    }

    fn name(&self, name: &str, line: u32) -> Checked<Type> {
        match self.scopes.iter().rev().find_map(|scope| scope.get(name)) {
            Some(Some(known)) => Ok(known.clone()),
            Some(None) => Err(unsupported(format!("the name `{name}`, which may not be set here,"), line)),
            None => context_type(name).ok_or_else(|| unsupported(format!("the name `{name}`"), line)),
        }
    }

    fn is_assigned(&self, name: &str) -> bool {
        self.scopes.iter().any(|scope| scope.contains_key(name))
    }

    fn printable(&self, shown: &Type, line: u32) -> Checked<()> {
        if shown.is_deeply_within(Kinds::PRINTABLE, Kinds::STORABLE) {
            return Ok(());
        }
        Err(unsupported(format!("the text of a {}", named(shown, Kinds::PRINTABLE)), line))
    }

    /// Checks an expression that is used as a condition.
    fn truth(&mut self, test: &Expr) -> Checked<()> {
        let tested = self.expr(test)?;
        truth_of(&tested, test.line)
    }
}

fn truth_of(tested: &Type, line: u32) -> Checked<()> {
    if tested.kinds.meets(Kinds::of(&[Kind::Interval, Kind::Loop])) {
        return Err(unsupported("the truth of this value", line));
    }
    Ok(())
}

fn context_type(name: &str) -> Option<Type> {
    let gives = tables::CONTEXT.iter().find(|(known, _)| *known == name).map(|(_, gives)| *gives)?;
    Some(gives.on(&Type::PLAIN))
}

/// What people read of the kinds that are too many.
fn named(found: &Type, allowed: Kinds) -> String {
    let mut kinds = found.kinds.iter().filter(|kind| !allowed.has(*kind));
    kinds.next().map_or_else(|| "list or dict with such items".to_owned(), |kind| kind.type_name().to_owned())
}
