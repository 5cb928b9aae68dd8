//! The tree of a template: what minijinja's parser gives, reduced to what is rendered here.

/// A template, checked for nothing but its syntax.
#[derive(Debug)]
pub(crate) struct Tree {
    pub body: Vec<Stmt>,
}

#[derive(Debug)]
pub(crate) enum Stmt {
    Text(String),
    Emit(Expr),
    If {
        branches: Vec<(Expr, Vec<Stmt>)>,
        otherwise: Vec<Stmt>,
    },
    For(Box<For>),
    Set {
        line: u32,
        target: Target,
        value: Expr,
    },
    /// A block whose text is captured, filtered, and then assigned or written.
    Capture {
        line: u32,
        target: Option<Target>,
        filter: Option<Expr>,
        body: Vec<Stmt>,
    },
    With {
        assignments: Vec<(Target, Expr)>,
        body: Vec<Stmt>,
    },
    Do(Expr),
}

#[derive(Debug)]
pub(crate) struct For {
    pub line: u32,
    pub target: Target,
    pub iter: Expr,
    pub test: Option<Expr>,
    pub body: Vec<Stmt>,
    pub otherwise: Vec<Stmt>,
}

/// What is assigned to.
#[derive(Debug)]
pub(crate) enum Target {
    Name(String),
    /// An attribute of a namespace.
    Attr(String, String),
    Tuple(Vec<Target>),
}

/// An expression, with the line that it begins on.
#[derive(Debug)]
pub(crate) struct Expr {
    pub line: u32,
    pub kind: ExprKind,
}

#[derive(Debug)]
pub(crate) enum ExprKind {
    Const(Const),
    Name(String),
    /// The text that the block around a filter has captured.
    Captured,
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attr(Box<Expr>, String),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Slice>),
    Call(Box<Expr>, Args),
    Filter(Box<Expr>, String, Args),
    Test(Box<Expr>, String, Args),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// A chain such as `a < b < c`.
    Compare(Box<Expr>, Vec<(CompareOp, Expr)>),
    Concat(Vec<Expr>),
    Ternary(Box<Ternary>),
}

#[derive(Debug)]
pub(crate) struct Slice {
    pub value: Expr,
    pub start: Option<Expr>,
    pub stop: Option<Expr>,
    pub step: Option<Expr>,
}

#[derive(Debug)]
pub(crate) struct Ternary {
    pub test: Expr,
    pub yes: Expr,
    pub no: Option<Expr>,
    /// Whether it spans several lines, so that the line in Jinja's message is not known.
    pub many_lines: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Args {
    pub positional: Vec<Expr>,
    pub named: Vec<(String, Expr)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Const {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

impl BinaryOp {
    /// As Python's error messages write it.
    pub fn sign(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::FloorDiv => "//",
            BinaryOp::Rem => "%",
            BinaryOp::Pow => "** or pow()",
        }
    }
}

impl Expr {
    /// The text, if this is a text written in the template.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            ExprKind::Const(Const::Str(text)) => Some(text),
            _ => None,
        }
    }
}

impl Args {
    pub fn all(&self) -> impl Iterator<Item = &Expr> {
        self.positional.iter().chain(self.named.iter().map(|(_, value)| value))
    }
}
