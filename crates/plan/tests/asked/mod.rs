//! More queries of every kind that is kept, one file a concept. Those whose name ends in `!` must have a natural key.

mod aggregates;
mod arrays;
mod composites;
mod constants;
mod found;
mod functions;
mod grouping_sets;
mod guards;
mod joins;
mod nothing;
mod postgresql;
mod quantified;
mod recursion;
mod sets;
mod subqueries;
mod top;
mod windows;
mod xml;

/// A query with its name.
pub(crate) type Asked = (&'static str, &'static str);

/// All of them.
pub(crate) fn all() -> Vec<Asked> {
    [
        aggregates::QUERIES,
        arrays::QUERIES,
        composites::QUERIES,
        constants::QUERIES,
        functions::QUERIES,
        found::QUERIES,
        grouping_sets::QUERIES,
        guards::QUERIES,
        joins::QUERIES,
        nothing::QUERIES,
        postgresql::QUERIES,
        quantified::QUERIES,
        recursion::QUERIES,
        sets::QUERIES,
        subqueries::QUERIES,
        top::QUERIES,
        windows::QUERIES,
        xml::QUERIES,
    ]
    .concat()
}
