//! ORDER BY with LIMIT, OFFSET and FETCH FIRST … WITH TIES; DISTINCT ON.
//!
//! Which rows are taken must follow from the rows. An order that leaves it open among equal rows is made to decide: what the
//! query shows of the rows becomes part of the order, and a warning says so. Where a type's order is PostgreSQL's alone, the rows
//! are numbered by a window, and filtered by their numbers.

use std::collections::BTreeSet;

use scalar::Compiled;
use types::{PgType, Row, oid};

use crate::PlanError;
use crate::built::{Built, BuiltColumn, Shown};
use crate::convert::{Constants, convert};
use crate::expr::{Expr, ExprKind, INT8_GREATER, INT8_LESS_OR_EQUAL};
use crate::native::native;
use crate::query::Planner;
use crate::reader::Node;
use crate::represented::Represented;
use crate::tree::{PgExpr, Rel, SortKey};

/// A key of ORDER BY: which of the shown expressions, and which way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OrderKey {
    expr: usize,
    operator: types::Oid,
    nulls_first: bool,
}

/// Which rows are taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taken {
    /// What the user wrote, for messages.
    pub(crate) construct: &'static str,
    /// Shown expressions that make partitions.
    pub(crate) partition: Vec<usize>,
    pub(crate) order: Vec<OrderKey>,
    /// There is an ORDER BY, if only by the partition.
    pub(crate) ordered: bool,
    pub(crate) offset: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) ties: bool,
}

/// A key of the order, once it is a column.
struct Placed {
    column: usize,
    expr: Expr,
    key: OrderKey,
}

impl<'a> Planner<'a> {
    /// LIMIT and its kin of a query; `None` when there is none, or none with an effect.
    pub(crate) fn limit(&self, query: &'a Node, order: Vec<OrderKey>) -> Result<Option<Taken>, PlanError> {
        let limit = self.rows_asked(query, "limitCount", "LIMIT")?;
        let offset = self.rows_asked(query, "limitOffset", "OFFSET")?.unwrap_or_default();
        if limit.is_none() && offset == 0 {
            return Ok(None);
        }
        let ties = limit.is_some() && query.number("limitOption")? == 1;
        let construct = if limit.is_some() { "LIMIT" } else { "OFFSET" };
        Ok(Some(Taken { construct, partition: Vec::new(), ordered: !order.is_empty(), order, offset, limit, ties }))
    }

    /// A constant number of rows; NULL is as good as none.
    fn rows_asked(&self, query: &'a Node, field: &str, word: &str) -> Result<Option<u64>, PlanError> {
        if !query.has(field) {
            return Ok(None);
        }
        let by_expression = || {
            PlanError::refused(
                format!("{word} by an expression that is not constant"),
                "how many rows it takes must be known at definition",
                "write a number",
            )
        };
        let value = convert(query.get(field), &mut Constants, self.catalog)?;
        let value = native(&value, self.env).map_err(|_| by_expression())?;
        let value = Compiled::new(&value, self.env).map_err(|_| by_expression())?;
        let rejected = |e: scalar::EvalError| PlanError::Rejected(format!("{word}: {e}"));
        let nothing = Row::default();
        let Some(bytes) = value.eval(&nothing).map_err(rejected)? else { return Ok(None) };
        let number = bytes.as_ref().try_into().map(i64::from_be_bytes).map_err(|_| query.odd(field))?;
        u64::try_from(number).map(Some).map_err(|_| PlanError::Rejected(format!("{word} must not be negative")))
    }

    /// The keys of a sort clause; `place` gives the shown expression of a target's number.
    pub(crate) fn order(
        &self,
        clauses: &[&'a Node],
        place: impl Fn(i64) -> Option<usize>,
    ) -> Result<Vec<OrderKey>, PlanError> {
        let key = |clause: &&Node| {
            let expr = place(clause.number("tleSortGroupRef")?).ok_or_else(|| clause.odd("tleSortGroupRef"))?;
            Ok(OrderKey { expr, operator: clause.oid("sortop")?, nulls_first: clause.flag("nulls_first") })
        };
        clauses.iter().map(key).collect()
    }

    /// The rows that are taken. Of what is shown, the first `wanted` expressions are the query's own.
    pub(crate) fn take(&mut self, shown: Shown, wanted: usize, taken: &Taken) -> Result<Shown, PlanError> {
        let Shown { built, exprs } = shown;
        if taken.limit == Some(0) {
            let nothing = crate::expr::boolean(false);
            return Ok(Shown { built: self.filter(built, &[nothing])?, exprs });
        }
        // The keys as columns behind those that there are, whose places stay.
        let asked: Vec<usize> = taken.partition.iter().copied().chain(taken.order.iter().map(|k| k.expr)).collect();
        let mut computed: Vec<Expr> = Vec::new();
        let width = built.columns.len();
        let mut columns = Vec::new();
        for &at in &asked {
            let expr = exprs.get(at).ok_or_else(|| PlanError::Tree("a sort key is not shown".into()))?;
            columns.push(expr.as_column().unwrap_or_else(|| {
                computed.iter().position(|e| e == expr).map_or_else(
                    || {
                        computed.push(expr.clone());
                        width + computed.len() - 1
                    },
                    |found| width + found,
                )
            }));
        }
        let mut built = self.extend(built, &computed)?;
        let (partition, ordered) = columns.split_at(taken.partition.len());
        // A cast that keeps the bytes may be to a type with another equality.
        let of = taken.partition.iter().map(|&at| (exprs[at].ty, exprs[at].declared));
        let groups: Vec<Expr> =
            partition.iter().zip(of).map(|(&c, (ty, declared))| Expr::column(c, ty, declared)).collect();
        let by;
        Represented { built, by, .. } = self.represented(built, &groups, taken.construct)?;
        let mut partition = partition.to_vec();
        for (place, by) in partition.iter_mut().zip(&by).filter(|(_, by)| by.as_column().is_none()) {
            *place = built.columns.len();
            built = self.extend(built, std::slice::from_ref(by))?;
        }
        let keys = ordered.iter().zip(&taken.order);
        let keys: Vec<Placed> =
            keys.map(|(&column, key)| Placed { column, expr: exprs[key.expr].clone(), key: *key }).collect();
        let open = self.open_columns(&built, &exprs[..wanted], &asked, &columns, &exprs);
        let decided = open.is_empty() || (taken.ties && taken.offset == 0);
        if !decided {
            if !taken.ordered {
                return Err(PlanError::refused(
                    format!("{} without ORDER BY", taken.construct),
                    "which rows it takes is not determined by the rows",
                    "add ORDER BY",
                ));
            }
            self.warnings.push(format!(
                "{} takes rows by an order in which several can be equal, and of these PostgreSQL may take any; here the smallest \
                 by all columns shown are taken; add a unique column to ORDER BY to decide it",
                taken.construct
            ));
        }
        let partition_types: Vec<PgType> = by.iter().map(|by| by.ty).collect();
        let native = keys.iter().map(|k| self.native_key(k)).collect::<Option<Vec<SortKey>>>();
        built = match native {
            Some(order) if decided || !taken.ties => {
                let open = if decided { Vec::new() } else { open };
                self.top(built, (partition.clone(), partition_types), order, &open, taken)?
            }
            native => {
                if native.is_none() {
                    self.warnings.push(format!(
                        "the order of {} is PostgreSQL's own, so that each change orders all rows again; a text is ordered \
                         incrementally by ORDER BY … COLLATE \"C\"",
                        taken.construct
                    ));
                }
                let open = if decided { Vec::new() } else { open };
                self.numbered(built, (partition.clone(), partition_types), &keys, &open, taken)?
            }
        };
        if taken.limit == Some(1) && !taken.ties {
            built.keys.push(partition);
            built.tidy_keys();
        }
        Ok(Shown { built, exprs })
    }

    /// The columns in which rows that are equal in the keys can be seen to differ.
    fn open_columns(
        &self,
        built: &Built,
        wanted: &[Expr],
        asked: &[usize],
        columns: &[usize],
        exprs: &[Expr],
    ) -> Vec<usize> {
        // Equal in an order that is not the type's equality is not equal.
        let equal = |at: &usize| self.tells_apart(exprs[*at].ty);
        let keys = asked.iter().zip(columns).filter(|(at, _)| equal(at));
        let (keys, covered): (Vec<&Expr>, BTreeSet<usize>) = keys.map(|(at, c)| (&exprs[*at], *c)).unzip();
        if built.keys.iter().any(|key| key.iter().all(|c| covered.contains(c))) {
            return Vec::new();
        }
        let open = wanted.iter().filter(|e| !keys.contains(e)).flat_map(Expr::columns);
        let open: BTreeSet<usize> = open.filter(|c| !covered.contains(c)).collect();
        open.into_iter().collect()
    }

    /// Whether values that are equal in their type's order are one value.
    fn tells_apart(&self, ty: PgType) -> bool {
        scalar::key_support(ty, self.env).equality
    }

    fn native_key(&self, placed: &Placed) -> Option<SortKey> {
        let operator = self.catalog.operators.get(&placed.key.operator)?;
        let descending = match operator.name.as_str() {
            "<" => false,
            ">" => true,
            _ => return None,
        };
        let ty = placed.expr.ty;
        let known = operator.schema == "pg_catalog" && scalar::key_support(ty, self.env).order;
        known.then_some(SortKey { column: placed.column, ty, descending, nulls_first: placed.key.nulls_first })
    }

    fn top(
        &self,
        built: Built,
        (partition, partition_types): (Vec<usize>, Vec<PgType>),
        mut order: Vec<SortKey>,
        open: &[usize],
        taken: &Taken,
    ) -> Result<Built, PlanError> {
        let width = built.columns.len();
        let mut as_text = Vec::new();
        for &column in open {
            let own = built.columns[column].ty;
            let bytes = PgType { collation: types::collation::C, ..own };
            let ty = [own, bytes].into_iter().find(|ty| scalar::key_support(*ty, self.env).order);
            let (column, ty) = match ty {
                Some(ty) => (column, ty),
                None => {
                    as_text.push(text_of(built.column(column)?));
                    (width + as_text.len() - 1, as_text[0].ty)
                }
            };
            order.push(SortKey { column, ty, descending: false, nulls_first: false });
        }
        let built = self.extend(built, &as_text)?;
        let rel = Rel::Top {
            input: Box::new(built.rel),
            partition,
            partition_types,
            order,
            offset: taken.offset,
            limit: taken.limit,
            ties: taken.ties,
        };
        Ok(Built { rel, ..built })
    }

    /// The same by numbers that PostgreSQL gives the rows.
    fn numbered(
        &self,
        mut built: Built,
        (partition, partition_types): (Vec<usize>, Vec<PgType>),
        keys: &[Placed],
        open: &[usize],
        taken: &Taken,
    ) -> Result<Built, PlanError> {
        let mut numbers = Vec::new();
        let mut filters = Vec::new();
        let width = built.columns.len();
        let last = taken.limit.map(|limit| taken.offset.saturating_add(limit));
        let mut number = |name: &str, open: &[usize], limits: &[(types::Oid, u64)]| {
            let column = Expr::column(width + numbers.len(), PgType::plain(oid::INT8), oid::INT8);
            numbers.push(self.number(&built, name, &partition, keys, open)?);
            for &(func, limit) in limits {
                let limit = crate::expr::int8(i64::try_from(limit).unwrap_or(i64::MAX));
                filters.push(crate::expr::comparison(func, column.clone(), limit));
            }
            Ok::<_, PlanError>(())
        };
        let from = (INT8_GREATER, taken.offset);
        match last {
            Some(last) if taken.ties => {
                number("rank", &[], &[(INT8_LESS_OR_EQUAL, last)])?;
                if taken.offset > 0 {
                    number("row_number", open, &[from])?;
                }
            }
            Some(last) if taken.offset == 0 => number("row_number", open, &[(INT8_LESS_OR_EQUAL, last)])?,
            Some(last) => number("row_number", open, &[from, (INT8_LESS_OR_EQUAL, last)])?,
            None => number("row_number", open, &[from])?,
        }
        let int8 = BuiltColumn { ty: PgType::plain(oid::INT8), declared: oid::INT8, not_null: true };
        built.columns.extend(numbers.iter().map(|_| int8));
        built.rel = Rel::Window { input: Box::new(built.rel), partition, partition_types, windows: numbers };
        self.filter(built, &filters)
    }

    /// A call of row_number or rank over the order.
    fn number(
        &self,
        built: &Built,
        name: &str,
        partition: &[usize],
        keys: &[Placed],
        open: &[usize],
    ) -> Result<PgExpr, PlanError> {
        let mut args: Vec<usize> = Vec::new();
        let mut arg = |column: usize| {
            let at = args.iter().position(|a| *a == column).unwrap_or_else(|| {
                args.push(column);
                args.len() - 1
            });
            format!("${}", at + 1)
        };
        let partition: Vec<String> = partition.iter().map(|&c| arg(c)).collect();
        let mut order = Vec::new();
        for Placed { column, expr, key } in keys {
            if expr.declared == oid::RECORD {
                return Err(PlanError::not_yet(
                    "ORDER BY a row that decides which rows are taken",
                    "order by its columns",
                ));
            }
            let mut sql = format!("({})::{}", arg(*column), self.catalog.type_sql(expr.declared)?);
            if let Some(collation) = self.catalog.collations.get(&expr.ty.collation) {
                sql = format!("{sql} COLLATE {collation}");
            }
            let operator = self.catalog.operators.get(&key.operator);
            let operator = operator.ok_or_else(|| PlanError::Tree("a sort operator is unknown".into()))?.sql();
            order.push(format!("{sql} USING {operator} NULLS {}", if key.nulls_first { "FIRST" } else { "LAST" }));
        }
        order.extend(open.iter().map(|&c| format!("({})::pg_catalog.text COLLATE pg_catalog.\"C\"", arg(c))));
        let partition =
            if partition.is_empty() { String::new() } else { format!("PARTITION BY {} ", partition.join(", ")) };
        let sql = format!("pg_catalog.{name}() OVER ({partition}ORDER BY {})", order.join(", "));
        let arg_types = args.iter().map(|&a| {
            let column = built.columns[a];
            Ok((self.catalog.type_sql(column.declared)?.to_owned(), PgType { oid: column.declared, ..column.ty }))
        });
        let arg_types = arg_types.collect::<Result<_, PlanError>>()?;
        Ok(PgExpr { sql, args, arg_types, ty: PgType::plain(oid::INT8), sql_type: "bigint".into() })
    }
}

/// The text form, which any type has, ordered by bytes.
pub(crate) fn text_of(expr: Expr) -> Expr {
    let ty = PgType { oid: oid::TEXT, typmod: -1, collation: types::collation::C };
    Expr { kind: ExprKind::ViaText(Box::new(expr)), ty, declared: oid::TEXT }
}
