//! How equal values of a type are found that has no key here.

use tokio_postgres::Client;
use types::{Oid, oid};

use crate::PlanError;
use crate::catalog::of_objects;
use crate::expr::TEXT_EQUAL;
use crate::text_forms::NAMES_OF_OBJECTS;

/// A type's default hash operator class.
#[derive(Debug, Clone)]
pub(crate) struct Hash {
    /// The function that hashes a value with a seed, as SQL writes it.
    pub(crate) function: String,
    /// The function of the operator that says that two values are equal.
    pub(crate) equality: Oid,
}

/// `int2vector`, `xid`, `cid`, `oidvector`.
const OF_THE_SYSTEM: [Oid; 4] = [22, 28, 29, 30];

impl Hash {
    /// Of `text` and `varchar`.
    pub(crate) fn built_in(ty: Oid) -> Option<Self> {
        let is_text = matches!(ty, oid::TEXT | oid::VARCHAR);
        is_text.then(|| Self { function: "pg_catalog.hashtextextended".into(), equality: TEXT_EQUAL })
    }

    /// Of those among the types, and of what domains among them stand on, that PostgreSQL hashes: by an operator class of their own or of
    /// what they are read as, of composites, arrays and ranges by those of all their parts.
    pub(crate) async fn of_types(client: &Client, types: &[Oid]) -> Result<Vec<(Oid, Self)>, PlanError> {
        let sql = "WITH RECURSIVE part(asked, whole, oid) AS (
                SELECT oid, true, oid FROM pg_catalog.pg_type WHERE oid = ANY ($1)
                UNION
                SELECT p.asked, p.whole AND x.is_base, x.oid FROM part p JOIN pg_catalog.pg_type t ON t.oid = p.oid CROSS JOIN LATERAL (
                    SELECT true, t.typbasetype WHERE t.typtype = 'd'
                    UNION ALL SELECT false, t.typelem WHERE t.typcategory = 'A' AND t.typtype = 'b'
                    UNION ALL SELECT false, r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid
                    UNION ALL SELECT false, r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = t.oid
                    UNION ALL SELECT false, a.atttypid FROM pg_catalog.pg_attribute a
                        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) x(is_base, oid)),
            hashed AS (
                SELECT DISTINCT ON (p.asked, p.whole, p.oid) p.asked, p.whole, a.amproc, s.amopopr
                FROM part p JOIN pg_catalog.pg_type t ON t.oid = p.oid AND t.typtype <> 'd' LEFT JOIN (pg_catalog.pg_opclass o
                    JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod AND m.amname = 'hash' AND o.opcdefault
                    JOIN pg_catalog.pg_amproc a ON a.amprocfamily = o.opcfamily AND a.amprocnum = 2
                        AND a.amproclefttype = o.opcintype AND a.amprocrighttype = o.opcintype
                    JOIN pg_catalog.pg_amop s ON s.amopfamily = o.opcfamily AND s.amopstrategy = 1
                        AND s.amoplefttype = o.opcintype AND s.amoprighttype = o.opcintype)
                ON o.opcintype IN (t.oid, CASE
                        WHEN t.typtype = 'c' THEN 'record'::pg_catalog.regtype WHEN t.typtype = 'r' THEN 'anyrange'::pg_catalog.regtype
                        WHEN t.typtype = 'm' THEN 'anymultirange'::pg_catalog.regtype WHEN t.typtype = 'e' THEN 'anyenum'::pg_catalog.regtype
                        WHEN t.typcategory = 'A' THEN 'anyarray'::pg_catalog.regtype END)
                    OR EXISTS (SELECT FROM pg_catalog.pg_cast c
                        WHERE c.castsource = t.oid AND c.casttarget = o.opcintype AND c.castmethod = 'b' AND c.castcontext = 'i')
                ORDER BY p.asked, p.whole, p.oid, o.opcintype = t.oid DESC)
            SELECT h.asked, pg_catalog.format('%I.%I', n.nspname, p.proname), e.oprcode::pg_catalog.oid
            FROM hashed h JOIN pg_catalog.pg_proc p ON p.oid = h.amproc JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
            JOIN pg_catalog.pg_operator e ON e.oid = h.amopopr
            WHERE h.whole AND NOT EXISTS (SELECT FROM hashed other WHERE other.asked = h.asked AND other.amproc IS NULL)
                AND NOT EXISTS (SELECT FROM part p WHERE p.asked = h.asked AND p.oid IN (NAMES))";
        // The system's own vectors and numbers of transactions: some of their values cannot be compared, or not be in a unique index.
        let types: Vec<Oid> = types.iter().copied().filter(|ty| !OF_THE_SYSTEM.contains(ty)).collect();
        // A value goes through its text form.
        let names: Vec<String> = NAMES_OF_OBJECTS.iter().map(ToString::to_string).collect();
        let rows = of_objects(client, &sql.replace("NAMES", &names.join(", ")), &types).await?;
        Ok(rows.iter().map(|row| (row.get(0), Self { function: row.get(1), equality: row.get(2) })).collect())
    }
}
