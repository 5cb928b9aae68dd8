//! Carries out a template: statements here, expressions in [`expr`].

mod attr;
mod expr;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::args::Arguments;
use crate::context::Context;
use crate::error::{Failure, Outcome, RenderError, raise};
use crate::objects;
use crate::syntax::{Expr, For, Stmt, Target, Tree};
use crate::value::{Loop, MAX_TEXT_BYTES, Object, Value, is_true, iterate, text, unpack};

pub(crate) use attr::item_or_undefined;

/// How many steps a template may take: a second or two of work, many times what templates of tasks need.
const MAX_STEPS: u64 = 10_000_000;
/// How deep lists and dicts may nest: their texts are written by recursion.
const MAX_VALUE_DEPTH: u32 = 150;

/// Renders a template that was checked.
pub(crate) fn render(tree: &Tree, context: &Context<'_>) -> Result<String, RenderError> {
    let mut machine = Machine::new(context);
    let mut out = String::new();
    match machine.body(&tree.body, &mut out) {
        Ok(()) => Ok(out),
        Err(failure) => Err(failure.at(machine.line.get())),
    }
}

/// The state of one rendering.
pub(crate) struct Machine<'a> {
    context: &'a Context<'a>,
    /// What the template has assigned, innermost scope last.
    scopes: Vec<HashMap<String, Value>>,
    /// What of the context was asked for.
    names: RefCell<HashMap<String, Option<Value>>>,
    previous: OnceCell<crate::lookups::PreviousRun>,
    /// The text that filters of blocks apply to, innermost block last.
    captured: Vec<Value>,
    steps: Cell<u64>,
    line: Cell<u32>,
}

impl<'a> Machine<'a> {
    fn new(context: &'a Context<'a>) -> Self {
        Self {
            context,
            scopes: vec![HashMap::new()],
            names: RefCell::default(),
            previous: OnceCell::new(),
            captured: Vec::new(),
            steps: Cell::new(0),
            line: Cell::new(1),
        }
    }

    /// Counts work.
    pub fn spend(&self, steps: u64) -> Outcome<()> {
        let spent = self.steps.get().saturating_add(steps);
        self.steps.set(spent);
        if spent > MAX_STEPS {
            return Err(Failure::TooMuch { limit: MAX_STEPS, unit: "steps" });
        }
        Ok(())
    }

    /// Counts the work that an operation on these values may make.
    pub fn charge(&self, input: &Value, arguments: &Arguments) -> Outcome<()> {
        let named = arguments.named.iter().map(|(_, value)| value);
        let weights = arguments.positional.iter().chain(named).map(|value| value.size().weight);
        self.spend(weights.fold(input.size().weight, u64::saturating_add))
    }

    /// Lets a value into the template, unless it nests too deep.
    fn admit(&self, value: Value) -> Outcome<Value> {
        if value.size().depth > MAX_VALUE_DEPTH {
            return Err(Failure::TooMuch { limit: MAX_VALUE_DEPTH.into(), unit: "levels of lists in lists" });
        }
        Ok(value)
    }

    fn body(&mut self, body: &[Stmt], out: &mut String) -> Outcome<()> {
        body.iter().try_for_each(|stmt| self.stmt(stmt, out))
    }

    fn scoped(&mut self, body: &[Stmt], out: &mut String) -> Outcome<()> {
        self.scopes.push(HashMap::new());
        let result = self.body(body, out);
        self.scopes.pop();
        result
    }

    fn stmt(&mut self, stmt: &Stmt, out: &mut String) -> Outcome<()> {
        self.spend(1)?;
        match stmt {
            Stmt::Text(text) => write(out, text),
            Stmt::Emit(expr) => {
                let value = self.at(expr)?;
                write(out, &self.text(&value)?)
            }
            Stmt::If { branches, otherwise } => {
                for (test, body) in branches {
                    if is_true(&self.at(test)?)? {
                        return self.body(body, out);
                    }
                }
                self.body(otherwise, out)
            }
            Stmt::For(node) => self.for_loop(node, out),
            Stmt::Set { line, target, value } => {
                let value = self.at(value)?;
                self.line.set(*line);
                self.assign(target, value)
            }
            Stmt::Capture { line, target, filter, body } => {
                let mut text = String::new();
                self.scoped(body, &mut text)?;
                self.line.set(*line);
                let mut value = Value::str(text);
                if let Some(filter) = filter {
                    self.captured.push(value);
                    let filtered = self.at(filter);
                    self.captured.pop();
                    value = filtered?;
                }
                match target {
                    Some(target) => self.assign(target, value),
                    None => write(out, &self.text(&value)?),
                }
            }
            Stmt::With { assignments, body } => {
                let values = assignments.iter().map(|(_, value)| self.at(value)).collect::<Outcome<Vec<_>>>()?;
                self.scopes.push(HashMap::new());
                let result = assignments
                    .iter()
                    .zip(values)
                    .try_for_each(|((target, _), value)| self.assign(target, value))
                    .and_then(|()| self.body(body, out));
                self.scopes.pop();
                result
            }
            Stmt::Do(expr) => self.at(expr).map(|_| ()),
        }
    }

    /// Evaluates an expression of a statement, which is where an error is said to be.
    fn at(&self, expr: &Expr) -> Outcome<Value> {
        self.line.set(expr.line);
        self.eval(expr)
    }

    /// `str(value)`.
    pub(crate) fn text(&self, value: &Value) -> Outcome<String> {
        self.spend(value.size().weight)?;
        if let Value::Object(object) = value
            && let Some(text) = objects::text(self.context, object)
        {
            return Ok(text);
        }
        text(value)
    }

    fn for_loop(&mut self, node: &For, out: &mut String) -> Outcome<()> {
        let iterated = self.at(&node.iter)?.resolved();
        self.spend(iterated.size().weight)?;
        let mut items = iterate(&iterated)?;
        if let Some(test) = &node.test {
            let mut kept = Vec::new();
            for item in items {
                self.scopes.push(HashMap::new());
                let keep = self.assign(&node.target, item.clone()).and_then(|()| is_true(&self.at(test)?));
                self.scopes.pop();
                if keep? {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            return self.scoped(&node.otherwise, out);
        }
        let state = Rc::new(Loop { items, index0: Cell::new(0), last_changed: RefCell::default() });
        for (index, item) in state.items.iter().enumerate() {
            state.index0.set(index);
            self.spend(1)?;
            self.line.set(node.line);
            let own = HashMap::from([("loop".to_owned(), Value::Object(Object::Loop(state.clone())))]);
            self.scopes.push(own);
            let result = self.assign(&node.target, item.clone()).and_then(|()| self.body(&node.body, out));
            self.scopes.pop();
            result?;
        }
        Ok(())
    }

    fn assign(&mut self, target: &Target, value: Value) -> Outcome<()> {
        match target {
            Target::Name(name) => {
                if let Some(scope) = self.scopes.last_mut() {
                    scope.insert(name.clone(), value);
                }
                Ok(())
            }
            Target::Attr(name, attribute) => match self.lookup(name)? {
                Value::Object(Object::Namespace(entries)) => {
                    entries.borrow_mut().insert(Value::str(attribute.as_str()), value)
                }
                _ => raise("TemplateRuntimeError", "cannot assign attribute on non-namespace object"),
            },
            Target::Tuple(targets) => {
                self.spend(value.size().weight)?;
                let values = unpack(&value, targets.len())?;
                targets.iter().zip(values).try_for_each(|(target, value)| self.assign(target, value))
            }
        }
    }

    /// The value of a name: the template's, or the context's.
    fn lookup(&self, name: &str) -> Outcome<Value> {
        if let Some(value) = self.scopes.iter().rev().find_map(|scope| scope.get(name)) {
            return Ok(value.clone());
        }
        let undefined = || Value::undefined(format!("{} is undefined", crate::value::str_repr(name)));
        if let Some(known) = self.names.borrow().get(name) {
            return Ok(known.clone().unwrap_or_else(undefined));
        }
        let found = self.context.name(name, || self.previous()).transpose()?;
        let found = found.map(|value| self.admit(value)).transpose()?;
        self.names.borrow_mut().insert(name.to_owned(), found.clone());
        Ok(found.unwrap_or_else(undefined))
    }

    fn previous(&self) -> Outcome<crate::lookups::PreviousRun> {
        match self.previous.get() {
            Some(previous) => Ok(*previous),
            None => {
                let previous = self.context.lookups.previous_successful_run()?;
                Ok(*self.previous.get_or_init(|| previous))
            }
        }
    }
}

fn write(out: &mut String, text: &str) -> Outcome<()> {
    if out.len() + text.len() > MAX_TEXT_BYTES {
        return Err(Failure::TooMuch { limit: MAX_TEXT_BYTES as u64, unit: "bytes of text" });
    }
    out.push_str(text);
    Ok(())
}
