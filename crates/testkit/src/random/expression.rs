//! Expressions as trees of SQL text, and what random ones are made of.

use std::fmt;

use super::query::Query;
use super::schema::Ty;

/// SQL text with an argument between each two of its parts.
#[derive(Debug, Clone)]
pub struct Expr {
    pub(super) parts: Vec<String>,
    pub(super) args: Vec<Arg>,
    pub(super) ty: Ty,
}

/// What stands between parts.
#[derive(Debug, Clone)]
pub(super) enum Arg {
    Expr(Expr),
    Query(Box<Query>),
}

impl Expr {
    /// Text with an argument for each `?`.
    pub(super) fn new(text: &str, args: Vec<Arg>, ty: Ty) -> Self {
        let parts: Vec<String> = text.split('?').map(str::to_owned).collect();
        assert_eq!(parts.len(), args.len() + 1, "{text}");
        Self { parts, args, ty }
    }

    pub(super) fn of(text: &str, args: Vec<Self>, ty: Ty) -> Self {
        Self::new(text, args.into_iter().map(Arg::Expr).collect(), ty)
    }

    pub(super) fn plain(text: String, ty: Ty) -> Self {
        Self { parts: vec![text], args: Vec::new(), ty }
    }

    /// A column or a literal.
    pub(super) fn is_leaf(&self) -> bool {
        self.args.is_empty()
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.parts.iter().enumerate() {
            f.write_str(part)?;
            match self.args.get(i) {
                Some(Arg::Expr(expr)) => write!(f, "{expr}")?,
                Some(Arg::Query(query)) => write!(f, "{query}")?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Expressions of a type over others: the text, and the arguments' types.
pub(super) fn shapes(ty: Ty) -> &'static [(&'static str, &'static [Ty])] {
    use Ty::{Big, Bool, Date, Int, Numeric, Text};
    match ty {
        Int => &[
            ("(? + ?)", &[Int, Int]),
            ("(? - ?)", &[Int, Int]),
            ("(? % 3)", &[Int]),
            ("(? * 2)", &[Int]),
            ("abs(?)", &[Int]),
            ("(12 / nullif(?, 0))", &[Int]),
            ("length(?)", &[Text]),
            ("coalesce(?, ?)", &[Int, Int]),
            ("nullif(?, ?)", &[Int, Int]),
            ("greatest(?, ?)", &[Int, Int]),
            ("CASE WHEN ? THEN ? ELSE ? END", &[Bool, Int, Int]),
            ("CASE ? WHEN ? THEN ? END", &[Int, Int, Int]),
            ("(?)::int", &[Bool]),
            ("(? % 5)::int", &[Big]),
            ("ascii(?)", &[Text]),
            ("extract(day FROM ?)::int", &[Date]),
        ],
        Big => &[
            ("(?)::bigint", &[Int]),
            ("(? + ?)", &[Big, Int]),
            ("(? % 4)", &[Big]),
            ("coalesce(?, ?)", &[Big, Big]),
            ("CASE WHEN ? THEN ? ELSE ? END", &[Bool, Big, Int]),
        ],
        Numeric => &[
            ("(? + ?)", &[Numeric, Numeric]),
            ("(- ?)", &[Numeric]),
            ("round(? * (? % 10), 2)", &[Numeric, Int]),
            ("round(? / nullif(?, 0), 2)", &[Numeric, Numeric]),
            ("(? % 1000)::numeric(10,2)", &[Int]),
            ("coalesce(?, ?)", &[Numeric, Numeric]),
            ("least(?, ?)", &[Numeric, Numeric]),
            ("CASE WHEN ? THEN ? END", &[Bool, Numeric]),
        ],
        Text => &[
            ("(? || ?)", &[Text, Text]),
            ("(? || ?)", &[Text, Int]),
            ("upper(?)", &[Text]),
            ("left(?, 1)", &[Text]),
            ("coalesce(?, ?)", &[Text, Text]),
            ("nullif(?, ?)", &[Text, Text]),
            ("(?)::text", &[Int]),
            ("(?)::text", &[Bool]),
            ("(?)::text", &[Date]),
            ("replace(?, 'a', ?)", &[Text, Text]),
            ("reverse(?)", &[Text]),
            ("left(md5(?), 2)", &[Text]),
            ("CASE WHEN ? THEN ? ELSE ? END", &[Bool, Text, Text]),
        ],
        Bool => &[
            ("(? = ?)", &[Int, Int]),
            ("(? = ?)", &[Int, Big]),
            ("(? < ?)", &[Int, Int]),
            ("(? <> ?)", &[Text, Text]),
            ("(? >= ?)", &[Text, Text]),
            ("(? > ?)", &[Numeric, Numeric]),
            ("(? > ?)", &[Numeric, Int]),
            ("(? <= ?)", &[Date, Date]),
            ("(? AND ?)", &[Bool, Bool]),
            ("(? OR ?)", &[Bool, Bool]),
            ("(NOT ?)", &[Bool]),
            ("(? IS NULL)", &[Int]),
            ("(? IS NULL)", &[Text]),
            ("(? IS NOT NULL)", &[Date]),
            ("(? IS NOT TRUE)", &[Bool]),
            ("(? IS UNKNOWN)", &[Bool]),
            ("(? IS DISTINCT FROM ?)", &[Int, Int]),
            ("(? IS NOT DISTINCT FROM ?)", &[Text, Text]),
            ("(? IN (?, ?))", &[Int, Int, Int]),
            ("(? NOT IN (1, NULL, ?))", &[Int, Int]),
            ("(? BETWEEN ? AND ?)", &[Int, Int, Int]),
            ("(? LIKE '%a%')", &[Text]),
            ("(? ~ '^[ab]')", &[Text]),
            ("(? = ANY (ARRAY[?, 2]))", &[Int, Int]),
            ("((?, ?) < (?, ?))", &[Int, Text, Int, Text]),
            ("((?, ?) = (?, ?))", &[Int, Int, Int, Int]),
        ],
        Date => &[
            ("(? + (? % 3))", &[Date, Int]),
            ("coalesce(?, ?)", &[Date, Date]),
            ("greatest(?, ?)", &[Date, Date]),
            ("CASE WHEN ? THEN ? END", &[Bool, Date]),
        ],
    }
}

/// Aggregates that give a type.
pub(super) fn aggregates(ty: Ty) -> &'static [(&'static str, &'static [Ty])] {
    use Ty::{Big, Bool, Date, Int, Numeric, Text};
    match ty {
        Int => &[
            ("min(?)", &[Int]),
            ("max(?)", &[Int]),
            ("percentile_disc(0.5) WITHIN GROUP (ORDER BY ?)", &[Int]),
            ("mode() WITHIN GROUP (ORDER BY ?)", &[Int]),
            ("bit_or(?)", &[Int]),
            ("(array_agg(? ORDER BY ? DESC NULLS LAST))[1]", &[Int, Int]),
            ("cardinality(array_agg(DISTINCT ?))", &[Text]),
        ],
        Big => &[
            ("count(*)", &[]),
            ("count(*)", &[]),
            ("count(?)", &[Text]),
            ("count(?)", &[Int]),
            ("count(DISTINCT ?)", &[Int]),
            ("count(DISTINCT ?)", &[Text]),
            ("sum(?)", &[Int]),
            ("sum(DISTINCT ?)", &[Int]),
            ("(sum(?) % 100000)::bigint", &[Big]),
            ("max(?)", &[Big]),
        ],
        Numeric => &[
            ("sum(?)", &[Numeric]),
            ("round(avg(?), 2)", &[Int]),
            ("round(avg(DISTINCT ?), 2)", &[Numeric]),
            ("min(?)", &[Numeric]),
            ("max(?)", &[Numeric]),
            ("round(stddev_samp(?), 2)", &[Int]),
            ("round(var_pop(?), 2)", &[Int]),
        ],
        Text => &[
            ("min(?)", &[Text]),
            ("max(?)", &[Text]),
            ("string_agg(?, ',' ORDER BY ?)", &[Text, Text]),
            ("string_agg(DISTINCT ?, '-')", &[Text]),
            ("left(jsonb_agg(? ORDER BY ?)::text, 20)", &[Int, Int]),
        ],
        Bool => &[("bool_and(?)", &[Bool]), ("bool_or(?)", &[Bool]), ("every(?)", &[Bool])],
        Date => &[("min(?)", &[Date]), ("max(?)", &[Date])],
    }
}

/// Window functions that give a type, before OVER. Those in the second list need an order that decides.
pub(super) type Windows = (&'static [(&'static str, &'static [Ty])], &'static [(&'static str, &'static [Ty])]);

/// See [`Windows`].
pub(super) fn windows(ty: Ty) -> Windows {
    use Ty::{Big, Bool, Date, Int, Numeric, Text};
    match ty {
        Int => (&[("max(?)", &[Int])], &[("lag(?)", &[Int]), ("lead(?, 2)", &[Int]), ("ntile(3)", &[])]),
        Big => (
            &[("rank()", &[]), ("dense_rank()", &[]), ("count(*)", &[]), ("count(?)", &[Text]), ("sum(?)", &[Int])],
            &[("row_number()", &[])],
        ),
        Numeric => (&[("sum(?)", &[Numeric]), ("min(?)", &[Numeric])], &[("lead(?)", &[Numeric])]),
        Text => (&[("max(?)", &[Text])], &[("first_value(?)", &[Text]), ("nth_value(?, 2)", &[Text])]),
        Bool => (&[("bool_or(?)", &[Bool])], &[("last_value(?)", &[Bool])]),
        Date => (&[("min(?)", &[Date])], &[("lag(?)", &[Date])]),
    }
}
