//! An expression between PostgreSQL's node tree and its two ends: a native [`Scalar`] or SQL for ring 2.

use types::{Oid, PgType};

/// An expression with its type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    /// Base type: domains are resolved away.
    pub(crate) ty: PgType,
    /// The type as declared, for SQL.
    pub(crate) declared: Oid,
}

/// A constant in both forms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Constant {
    /// In binary send format; `None` is NULL.
    pub(crate) value: Option<Vec<u8>>,
    /// As an SQL expression of the right type.
    pub(crate) sql: String,
    /// The elements, when it is a one-dimensional array.
    pub(crate) elements: Option<Vec<Expr>>,
}

/// See [`types::ScalarKind`]; what only PostgreSQL computes comes last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExprKind {
    Column(usize),
    /// The aggregate of that number of the query level.
    Agg(usize),
    Const(Constant),
    Call {
        func: Oid,
        args: Vec<Expr>,
        collation: Oid,
        variadic: bool,
    },
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    IsNull {
        arg: Box<Expr>,
        not: bool,
        row: bool,
    },
    BoolTest {
        arg: Box<Expr>,
        want: Option<bool>,
        negated: bool,
    },
    Case {
        branches: Vec<(Expr, Expr)>,
        otherwise: Box<Expr>,
    },
    Coalesce(Vec<Expr>),
    NullIf {
        equal: Oid,
        collation: Oid,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Distinct {
        equal: Oid,
        collation: Oid,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Extreme {
        args: Vec<Expr>,
        greatest: bool,
        collation: Oid,
    },
    Any {
        operator: Oid,
        func: Oid,
        collation: Oid,
        all: bool,
        left: Box<Expr>,
        array: Box<Expr>,
    },
    Relabel(Box<Expr>),
    ViaText(Box<Expr>),
    Collate {
        arg: Box<Expr>,
        collation: Oid,
    },
    Array(Vec<Expr>),
    /// A cast that SQL writes as one (array elements, domains).
    Cast(Box<Expr>),
    /// A row; its columns are `f1`, `f2`, … where it has no names for them.
    Row {
        columns: Vec<Expr>,
        names: Vec<String>,
    },
    /// Any other SQL, with an argument between each two of its parts.
    Template(Template),
    /// An argument of a call that is given by its name, and the place that it has among the declared ones.
    Named {
        name: String,
        number: usize,
        arg: Box<Expr>,
    },
    /// An argument of a subquery: a value of the query around it, while the subquery is planned without its rows.
    Outer(usize),
    /// A column of the subquery, in what ANY or ALL compares with.
    Param(usize),
    /// A subquery of this level by its number, what it reads of the levels around it, and what ANY or ALL compares.
    Sub {
        id: usize,
        args: Vec<Expr>,
        test: Option<Box<Expr>>,
    },
    /// Equal, or both NULL; a join's condition only.
    Same(Box<Expr>, Box<Expr>),
    /// A window function's call without OVER; its window is that of the number.
    Window {
        func: Oid,
        call: Template,
        window: i64,
    },
}

/// SQL text with arguments; there is one part more than there are arguments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    pub(crate) parts: Vec<String>,
    pub(crate) args: Vec<Expr>,
}

impl Template {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { parts: vec![text.into()], args: Vec::new() }
    }

    /// Goes on with text.
    pub(crate) fn text(&mut self, text: &str) {
        if let Some(last) = self.parts.last_mut() {
            last.push_str(text);
        }
    }

    /// Goes on with an argument.
    pub(crate) fn arg(&mut self, arg: Expr) {
        self.args.push(arg);
        self.parts.push(String::new());
    }

    /// Goes on with arguments, with commas between them.
    pub(crate) fn list(&mut self, args: Vec<Expr>) {
        for (i, arg) in args.into_iter().enumerate() {
            if i > 0 {
                self.text(", ");
            }
            self.arg(arg);
        }
    }
}

impl Expr {
    /// A column of the operator's input.
    pub(crate) fn column(index: usize, ty: PgType, declared: Oid) -> Self {
        Self { kind: ExprKind::Column(index), ty, declared }
    }

    /// Whether all hold.
    pub(crate) fn and(conditions: Vec<Self>) -> Self {
        let ty = PgType::plain(types::oid::BOOL);
        Self { kind: ExprKind::And(conditions), ty, declared: types::oid::BOOL }
    }

    /// The column that it is, also under a cast that keeps the bytes.
    pub(crate) fn as_column(&self) -> Option<usize> {
        match &self.kind {
            ExprKind::Column(c) => Some(*c),
            ExprKind::Relabel(arg) => arg.as_column(),
            ExprKind::Collate { arg, .. } => arg.as_column(),
            _ => None,
        }
    }

    pub(crate) fn children(&self) -> Vec<&Self> {
        match &self.kind {
            ExprKind::Column(_) | ExprKind::Agg(_) | ExprKind::Const(_) | ExprKind::Outer(_) | ExprKind::Param(_) => {
                Vec::new()
            }
            ExprKind::Sub { args, test, .. } => args.iter().chain(test.as_deref()).collect(),
            ExprKind::Same(left, right) => vec![left, right],
            ExprKind::Call { args, .. }
            | ExprKind::And(args)
            | ExprKind::Or(args)
            | ExprKind::Coalesce(args)
            | ExprKind::Extreme { args, .. }
            | ExprKind::Array(args)
            | ExprKind::Row { columns: args, .. } => args.iter().collect(),
            ExprKind::Not(a) | ExprKind::Relabel(a) | ExprKind::ViaText(a) | ExprKind::Cast(a) => vec![a],
            ExprKind::IsNull { arg, .. }
            | ExprKind::BoolTest { arg, .. }
            | ExprKind::Collate { arg, .. }
            | ExprKind::Named { arg, .. } => vec![arg],
            ExprKind::Case { branches, otherwise } => {
                branches.iter().flat_map(|(w, t)| [w, t]).chain([otherwise.as_ref()]).collect()
            }
            ExprKind::NullIf { left, right, .. } | ExprKind::Distinct { left, right, .. } => vec![left, right],
            ExprKind::Any { left, array, .. } => vec![left, array],
            ExprKind::Template(template) | ExprKind::Window { call: template, .. } => template.args.iter().collect(),
        }
    }

    /// Whether it, or anything within, is such.
    pub(crate) fn any(&self, is: &dyn Fn(&Self) -> bool) -> bool {
        is(self) || self.children().into_iter().any(|child| child.any(is))
    }

    /// Whether a subquery stands in it.
    pub(crate) fn has_sub(&self) -> bool {
        self.any(&|e| matches!(e.kind, ExprKind::Sub { .. }))
    }

    /// Whether a window function stands in it.
    pub(crate) fn has_window(&self) -> bool {
        self.any(&|e| matches!(e.kind, ExprKind::Window { .. }))
    }

    /// Whether it reads the query around.
    pub(crate) fn has_outer(&self) -> bool {
        self.any(&|e| matches!(e.kind, ExprKind::Outer(_)))
    }

    /// How many expressions it consists of.
    pub(crate) fn size(&self) -> usize {
        1 + self.children().into_iter().map(Self::size).sum::<usize>()
    }

    /// The columns read, each once, ascending.
    pub(crate) fn columns(&self) -> Vec<usize> {
        fn walk(expr: &Expr, into: &mut Vec<usize>) {
            if let ExprKind::Column(c) = expr.kind {
                into.push(c);
            }
            expr.children().into_iter().for_each(|child| walk(child, into));
        }
        let mut all = Vec::new();
        walk(self, &mut all);
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Rewrites from the top: where `f` gives something, that; else the same with its children rewritten.
    pub(crate) fn rewrite(&self, f: &mut dyn FnMut(&Self) -> Option<Self>) -> Self {
        if let Some(other) = f(self) {
            return other;
        }
        let mut one = |e: &Self| e.rewrite(f);
        let kind = match &self.kind {
            ExprKind::Column(_) | ExprKind::Agg(_) | ExprKind::Const(_) | ExprKind::Outer(_) | ExprKind::Param(_) => {
                self.kind.clone()
            }
            ExprKind::Sub { id, args, test } => ExprKind::Sub {
                id: *id,
                args: args.iter().map(&mut one).collect(),
                test: test.as_deref().map(|t| Box::new(one(t))),
            },
            ExprKind::Same(left, right) => ExprKind::Same(Box::new(one(left)), Box::new(one(right))),
            ExprKind::Call { func, args, collation, variadic } => ExprKind::Call {
                func: *func,
                args: args.iter().map(one).collect(),
                collation: *collation,
                variadic: *variadic,
            },
            ExprKind::And(args) => ExprKind::And(args.iter().map(one).collect()),
            ExprKind::Or(args) => ExprKind::Or(args.iter().map(one).collect()),
            ExprKind::Coalesce(args) => ExprKind::Coalesce(args.iter().map(one).collect()),
            ExprKind::Array(args) => ExprKind::Array(args.iter().map(one).collect()),
            ExprKind::Row { columns, names } => {
                ExprKind::Row { columns: columns.iter().map(one).collect(), names: names.clone() }
            }
            ExprKind::Extreme { args, greatest, collation } => {
                ExprKind::Extreme { args: args.iter().map(one).collect(), greatest: *greatest, collation: *collation }
            }
            ExprKind::Not(a) => ExprKind::Not(Box::new(one(a))),
            ExprKind::Relabel(a) => ExprKind::Relabel(Box::new(one(a))),
            ExprKind::ViaText(a) => ExprKind::ViaText(Box::new(one(a))),
            ExprKind::Cast(a) => ExprKind::Cast(Box::new(one(a))),
            ExprKind::IsNull { arg, not, row } => ExprKind::IsNull { arg: Box::new(one(arg)), not: *not, row: *row },
            ExprKind::BoolTest { arg, want, negated } => {
                ExprKind::BoolTest { arg: Box::new(one(arg)), want: *want, negated: *negated }
            }
            ExprKind::Collate { arg, collation } => {
                ExprKind::Collate { arg: Box::new(one(arg)), collation: *collation }
            }
            ExprKind::Named { name, number, arg } => {
                ExprKind::Named { name: name.clone(), number: *number, arg: Box::new(one(arg)) }
            }
            ExprKind::Case { branches, otherwise } => ExprKind::Case {
                branches: branches.iter().map(|(w, t)| (one(w), one(t))).collect(),
                otherwise: Box::new(one(otherwise)),
            },
            ExprKind::NullIf { equal, collation, left, right } => ExprKind::NullIf {
                equal: *equal,
                collation: *collation,
                left: Box::new(one(left)),
                right: Box::new(one(right)),
            },
            ExprKind::Distinct { equal, collation, left, right } => ExprKind::Distinct {
                equal: *equal,
                collation: *collation,
                left: Box::new(one(left)),
                right: Box::new(one(right)),
            },
            ExprKind::Any { operator, func, collation, all, left, array } => ExprKind::Any {
                operator: *operator,
                func: *func,
                collation: *collation,
                all: *all,
                left: Box::new(one(left)),
                array: Box::new(one(array)),
            },
            ExprKind::Template(Template { parts, args }) => {
                ExprKind::Template(Template { parts: parts.clone(), args: args.iter().map(one).collect() })
            }
            ExprKind::Window { func, call: Template { parts, args }, window } => ExprKind::Window {
                func: *func,
                call: Template { parts: parts.clone(), args: args.iter().map(one).collect() },
                window: *window,
            },
        };
        Self { kind, ty: self.ty, declared: self.declared }
    }

    /// The same over other columns.
    pub(crate) fn map_columns(&self, map: &dyn Fn(usize) -> usize) -> Self {
        self.rewrite(&mut |e| match e.kind {
            ExprKind::Column(c) => Some(Self::column(map(c), e.ty, e.declared)),
            _ => None,
        })
    }
}

/// A constant true or false.
pub(crate) fn boolean(value: bool) -> Expr {
    constant(vec![u8::from(value)], types::oid::BOOL, value.to_string())
}

/// A constant integer.
pub(crate) fn int4(value: i32) -> Expr {
    constant(value.to_be_bytes().to_vec(), types::oid::INT4, format!("'{value}'::integer"))
}

/// Whether `arg` is not NULL (or is NULL); of a value that is not a composite.
pub(crate) fn is_null(arg: Expr, not: bool) -> Expr {
    let kind = ExprKind::IsNull { arg: Box::new(arg), not, row: false };
    Expr { kind, ty: PgType::plain(types::oid::BOOL), declared: types::oid::BOOL }
}

/// Whether it is true, neither false nor NULL.
pub(crate) fn is_true(arg: Expr) -> Expr {
    Expr { kind: ExprKind::BoolTest { arg: Box::new(arg), want: Some(true), negated: false }, ..boolean(true) }
}

/// Whether they are equal, or both NULL.
pub(crate) fn same(left: Expr, right: Expr) -> Expr {
    let kind = ExprKind::Same(Box::new(left), Box::new(right));
    Expr { kind, ty: PgType::plain(types::oid::BOOL), declared: types::oid::BOOL }
}

/// The first result whose condition is true; else the last.
pub(crate) fn case(branches: Vec<(Expr, Expr)>, otherwise: Expr) -> Expr {
    let (ty, declared) = (otherwise.ty, otherwise.declared);
    Expr { kind: ExprKind::Case { branches, otherwise: Box::new(otherwise) }, ty, declared }
}

/// A constant bigint.
pub(crate) fn int8(value: i64) -> Expr {
    constant(value.to_be_bytes().to_vec(), types::oid::INT8, format!("'{value}'::bigint"))
}

fn constant(bytes: Vec<u8>, oid: Oid, sql: String) -> Expr {
    let constant = Constant { value: Some(bytes), sql, elements: None };
    Expr { kind: ExprKind::Const(constant), ty: PgType::plain(oid), declared: oid }
}

/// `bigint > bigint`.
pub(crate) const INT8_GREATER: Oid = 470;
/// `bigint <= bigint`.
pub(crate) const INT8_LESS_OR_EQUAL: Oid = 471;
/// `bigint + bigint`.
pub(crate) const INT8_PLUS: Oid = 463;
/// Casts.
pub(crate) const INT8_OF_INT4: Oid = 481;
pub(crate) const INT8_OF_INT2: Oid = 754;
pub(crate) const FLOAT8_OF_FLOAT4: Oid = 311;
/// `bytea = bytea`.
pub(crate) const BYTEA_EQUAL: Oid = 1948;
/// `text = text`.
pub(crate) const TEXT_EQUAL: Oid = 67;
/// `integer = integer`.
pub(crate) const INT4_EQUAL: Oid = 65;

/// Functions that the planner calls where the query does not.
pub(crate) const ADDED_FUNCTIONS: [Oid; 8] =
    [TEXT_EQUAL, INT4_EQUAL, INT8_GREATER, INT8_LESS_OR_EQUAL, INT8_PLUS, INT8_OF_INT4, INT8_OF_INT2, FLOAT8_OF_FLOAT4];

/// A built-in comparison of two values without a collation.
pub(crate) fn comparison(func: Oid, left: Expr, right: Expr) -> Expr {
    let kind = ExprKind::Call { func, args: vec![left, right], collation: 0, variadic: false };
    Expr { kind, ty: PgType::plain(types::oid::BOOL), declared: types::oid::BOOL }
}
