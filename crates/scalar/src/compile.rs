//! From PostgreSQL's analysed expression to a tree of native steps, or the reason why there is none.

use std::sync::Arc;

use jiff::tz::TimeZone;
use types::{Oid, PgType, Row, Scalar, ScalarKind, oid};

use crate::compare::{Family, Relation, comparison};
use crate::compiled::{MAX_ARGS, Node};
use crate::datum::{Datum, Form};
use crate::env::Env;
use crate::error::NotNative;
use crate::functions::{self, Call, Field, Needs};
use crate::text_form;

/// Whether the expression can be compiled.
///
/// # Errors
/// [`NotNative`] with the reason when PostgreSQL has to compute it.
pub fn is_native(expr: &Scalar, env: &Env) -> Result<(), NotNative> {
    node(expr, env).map(|_| ())
}

/// Compiles an expression.
pub(crate) fn node(expr: &Scalar, env: &Env) -> Result<Node, NotNative> {
    let boxed = |e: &Scalar| node(e, env).map(Box::new);
    Ok(match &expr.kind {
        ScalarKind::Column(index) => Node::Column { index: *index, form: Form::of(expr.ty.oid), ty: expr.ty.oid },
        ScalarKind::Const(value) => Node::Const(match value {
            None => Datum::Null,
            Some(bytes) => Datum::decode(expr.ty.oid, bytes)
                .map_err(|e| NotNative::because(format!("a constant: {e}")))?
                .into_owned(),
        }),
        ScalarKind::Call { func, args, collation } => return call(*func, args, *collation, env),
        ScalarKind::And(args) => Node::And(nodes(args, env)?),
        ScalarKind::Or(args) => Node::Or(nodes(args, env)?),
        ScalarKind::Not(arg) => Node::Not(boxed(arg)?),
        ScalarKind::IsNull(arg) => Node::IsNull { arg: boxed(arg)?, negated: false },
        ScalarKind::IsNotNull(arg) => Node::IsNull { arg: boxed(arg)?, negated: true },
        ScalarKind::BoolTest { arg, want, negated } => {
            Node::BoolTest { arg: boxed(arg)?, want: *want, negated: *negated }
        }
        ScalarKind::Case { branches, otherwise } => Node::Case {
            branches: branches
                .iter()
                .map(|(when, then)| Ok((node(when, env)?, node(then, env)?)))
                .collect::<Result<_, NotNative>>()?,
            otherwise: boxed(otherwise)?,
        },
        ScalarKind::Coalesce(args) => Node::Coalesce(nodes(args, env)?),
        ScalarKind::NullIf { equal, collation, left, right } => {
            Node::NullIf { family: equality(*equal, *collation, env)?, left: boxed(left)?, right: boxed(right)? }
        }
        ScalarKind::Distinct { equal, collation, left, right } => {
            Node::Distinct { family: equality(*equal, *collation, env)?, left: boxed(left)?, right: boxed(right)? }
        }
        ScalarKind::Extreme { args, greatest, collation } => {
            Node::Extreme { family: order_of(expr.ty, *collation, env)?, greatest: *greatest, args: nodes(args, env)? }
        }
        ScalarKind::AnyOf { func, collation, all, left, list } => {
            let (family, relation) = native_comparison(*func, *collation, env)?
                .ok_or_else(|| NotNative::because(format!("ANY or ALL by function {func}")))?;
            Node::AnyOf { family, relation, all: *all, left: boxed(left)?, list: nodes(list, env)? }
        }
        ScalarKind::Relabel(arg) => reread(node(arg, env)?, arg.ty.oid, expr.ty.oid),
        ScalarKind::ViaText(arg) => return via_text(arg, expr.ty.oid, env),
    })
}

fn nodes(args: &[Scalar], env: &Env) -> Result<Box<[Node]>, NotNative> {
    args.iter().map(|a| node(a, env)).collect()
}

fn call(func: Oid, args: &[Scalar], collation: Oid, env: &Env) -> Result<Node, NotNative> {
    if let Some((family, relation)) = native_comparison(func, collation, env)? {
        return match nodes(args, env)?.into_vec().try_into() {
            Ok(sides) => Ok(Node::Compare { family, relation, sides: Box::new(sides) }),
            Err(_) => Err(NotNative::because(format!("function {func} with {} arguments", args.len()))),
        };
    }
    if let Some((left, right)) = functions::concatenation(func)
        && let [a, b] = args
    {
        let sides = [(a, left), (b, right)]
            .into_iter()
            .map(|(arg, cast)| if cast { text_cast(arg, env) } else { node(arg, env) })
            .collect::<Result<_, _>>()?;
        return Ok(folded(functions::CONCATENATE, sides));
    }
    if let Some(found) = functions::of_field(func) {
        return of_field(func, &found, args, env);
    }
    if let Some(fun) = functions::at_zone(func)
        && let [zone, at] = args
    {
        return Ok(Node::Zoned { fun, zone: constant_zone(zone, env)?, args: Box::new([node(at, env)?]) });
    }
    let found = functions::function(func).ok_or_else(|| NotNative::because(format!("function {func}")))?;
    let met = match found.needs {
        Needs::Nothing => true,
        Needs::Deterministic => env.is_deterministic(collation),
        Needs::ByteOrder => env.orders_by_bytes(collation),
        Needs::AsciiCase => env.is_ascii_case(collation) && env.is_deterministic(collation),
    };
    if !met {
        return Err(NotNative::because(format!("function {func} under collation {collation}")));
    }
    if args.len() > MAX_ARGS {
        return Err(NotNative::because(format!("function {func} with {} arguments", args.len())));
    }
    let args = nodes(args, env)?;
    match found.call {
        Call::Plain(fun) => Ok(folded(fun, args)),
        Call::Zoned(fun) => Ok(Node::Zoned { fun, zone: session_zone(env)?, args }),
    }
}

/// `extract`, `date_part`, `date_trunc`: native when the part is a constant (so that it is known to be one).
fn of_field(func: Oid, found: &functions::OfField, args: &[Scalar], env: &Env) -> Result<Node, NotNative> {
    let no = |what: &str| NotNative::because(format!("function {func} with {what}"));
    let (field, arg, zone) = match args {
        [field, arg] if found.zoned => (field, arg, session_zone(env)?),
        [field, arg] => (field, arg, Arc::new(TimeZone::UTC)),
        [field, arg, zone] => (field, arg, constant_zone(zone, env)?),
        _ => return Err(no("other arguments")),
    };
    match node(field, env)? {
        Node::Const(Datum::Text(name)) => match Field::named(&name) {
            Some(field) if found.fields.contains(&field) => {
                Ok(Node::OfField { fun: found.fun, field, zone, arg: Box::new(node(arg, env)?) })
            }
            _ => Err(no(&format!("the part '{name}'"))),
        },
        _ => Err(no("a part that is not a constant")),
    }
}

/// A time zone named by a constant. PostgreSQL takes abbreviations first; only names that cannot be one are native.
fn constant_zone(zone: &Scalar, env: &Env) -> Result<Arc<TimeZone>, NotNative> {
    if let Node::Const(Datum::Text(name)) = node(zone, env)?
        && (name.contains('/') || name.eq_ignore_ascii_case("utc") || name.eq_ignore_ascii_case("gmt"))
        && let Some(zone) = crate::calendar::zone(&name)
    {
        return Ok(Arc::new(zone));
    }
    Err(NotNative::because("a time zone that is not a constant full name"))
}

/// A call, or its value when all arguments are constants and it raises nothing.
fn folded(fun: functions::Fun, args: Box<[Node]>) -> Node {
    let constant = args.iter().all(|a| matches!(a, Node::Const(_)));
    let call = Node::Call { fun, args };
    let value = if constant { call.eval(&Row::default()).ok().map(Datum::into_owned) } else { None };
    value.map_or(call, Node::Const)
}

fn session_zone(env: &Env) -> Result<Arc<TimeZone>, NotNative> {
    crate::calendar::zone(&env.timezone)
        .map(Arc::new)
        .ok_or_else(|| NotNative::because(format!("time zone '{}' is not known here", env.timezone)))
}

/// The comparison that a function is, when its collation lets it be native.
fn native_comparison(func: Oid, collation: Oid, env: &Env) -> Result<Option<(Family, Relation)>, NotNative> {
    let Some((family, relation)) = comparison(func) else { return Ok(None) };
    if !matches!(family, Family::Text | Family::Blank)
        || env.orders_by_bytes(collation)
        || (relation.is_equality() && env.is_deterministic(collation))
    {
        return Ok(Some((family, relation)));
    }
    Err(NotNative::because(format!("comparison of text under collation {collation}")))
}

fn equality(func: Oid, collation: Oid, env: &Env) -> Result<Family, NotNative> {
    match native_comparison(func, collation, env)? {
        Some((family, Relation::Eq)) => Ok(family),
        _ => Err(NotNative::because(format!("equality by function {func}"))),
    }
}

/// How GREATEST and LEAST compare values of a type.
fn order_of(ty: PgType, collation: Oid, env: &Env) -> Result<Family, NotNative> {
    let text = |family| {
        // `name` always has a collation in an analysed tree; so has text.
        if env.orders_by_bytes(collation) {
            Ok(family)
        } else {
            Err(NotNative::because(format!("order of text under collation {collation}")))
        }
    };
    match Form::of(ty.oid) {
        Form::Bool
        | Form::Int2
        | Form::Int4
        | Form::Int8
        | Form::Oid
        | Form::Date
        | Form::Time
        | Form::Timestamp
        | Form::Timestamptz => Ok(Family::Integer),
        Form::Float4 | Form::Float8 => Ok(Family::Float),
        Form::Numeric | Form::Interval | Form::Uuid | Form::Char => Ok(Family::Value),
        Form::Bytea => Ok(Family::Bytes),
        Form::Text if ty.oid == oid::BPCHAR => text(Family::Blank),
        Form::Text => text(Family::Text),
        Form::Opaque => Err(NotNative::because(format!("order of type {}", ty.oid))),
    }
}

/// A cast that keeps the bytes.
fn reread(arg: Node, from: Oid, to: Oid) -> Node {
    let form = Form::of(to);
    if Form::of(from) == form {
        return arg;
    }
    match arg {
        Node::Column { index, .. } => Node::Column { index, form, ty: to },
        Node::Const(Datum::Null) => Node::Const(Datum::Null),
        arg => Node::Reread { arg: Box::new(arg), form, ty: to },
    }
}

fn via_text(arg: &Scalar, to: Oid, env: &Env) -> Result<Node, NotNative> {
    let from = arg.ty.oid;
    let no = || NotNative::because(format!("conversion of type {from} to type {to} by way of text"));
    let is_text = |ty| matches!(ty, oid::TEXT | oid::VARCHAR | oid::BPCHAR);
    let inner = node(arg, env)?;
    if is_text(to) {
        return printed(inner, from, env).ok_or_else(no)?;
    }
    if is_text(from) || from == oid::UNKNOWN {
        let fun = text_form::reader(to, env).ok_or_else(no)?;
        return Ok(folded(fun, Box::new([inner])));
    }
    Err(no())
}

/// The value's text form, as its type's output function has it.
fn printed(inner: Node, from: Oid, env: &Env) -> Option<Result<Node, NotNative>> {
    if from == oid::TIMESTAMPTZ {
        let fun = text_form::zoned_printer(env)?;
        return Some(session_zone(env).map(|zone| Node::Zoned { fun, zone, args: Box::new([inner]) }));
    }
    if Form::of(from) == Form::Text {
        return Some(Ok(inner));
    }
    text_form::printer(from, env).map(|fun| Ok(folded(fun, Box::new([inner]))))
}

/// `arg::text`, as SQL casts it.
fn text_cast(arg: &Scalar, env: &Env) -> Result<Node, NotNative> {
    let no = || NotNative::because(format!("type {} as text", arg.ty.oid));
    let inner = node(arg, env)?;
    match functions::text_cast(arg.ty.oid) {
        Some(fun) => Ok(folded(fun, Box::new([inner]))),
        None => printed(inner, arg.ty.oid, env).ok_or_else(no)?,
    }
}
