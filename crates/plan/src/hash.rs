//! How equal texts of a type are found.

use tokio_postgres::Client;
use types::{Oid, oid};

use crate::PlanError;
use crate::catalog::of_objects;
use crate::expr::TEXT_EQUAL;

/// A type's default hash operator class: of one whose text form is all that there is to a value.
#[derive(Debug, Clone)]
pub(crate) struct Hash {
    /// The function that hashes a value with a seed, as SQL writes it.
    pub(crate) function: String,
    /// The function of the operator that says that two values are equal.
    pub(crate) equality: Oid,
}

impl Hash {
    /// Of `text` and `varchar`.
    pub(crate) fn built_in(ty: Oid) -> Option<Self> {
        let is_text = matches!(ty, oid::TEXT | oid::VARCHAR);
        is_text.then(|| Self { function: "pg_catalog.hashtextextended".into(), equality: TEXT_EQUAL })
    }

    /// Of those among the types, and of what domains among them stand on, that are `citext`.
    pub(crate) async fn of_extensions(client: &Client, types: &[Oid]) -> Result<Vec<(Oid, Self)>, PlanError> {
        let made: Vec<Oid> = types.iter().copied().filter(|ty| *ty >= oid::FIRST_USER).collect();
        let sql = "WITH RECURSIVE t(asked, oid) AS (
                SELECT oid, oid FROM pg_catalog.pg_type WHERE oid = ANY ($1)
                UNION ALL
                SELECT t.asked, d.typbasetype FROM t JOIN pg_catalog.pg_type d ON d.oid = t.oid WHERE d.typtype = 'd')
            SELECT t.asked, pg_catalog.format('%I.%I', n.nspname, p.proname), e.oprcode::pg_catalog.oid
            FROM t JOIN pg_catalog.pg_opclass o ON o.opcdefault AND o.opcintype = t.oid
            JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod AND m.amname = 'hash'
            JOIN pg_catalog.pg_amproc a ON a.amprocfamily = o.opcfamily AND a.amprocnum = 2
                AND a.amproclefttype = o.opcintype AND a.amprocrighttype = o.opcintype
            JOIN pg_catalog.pg_proc p ON p.oid = a.amproc JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
            JOIN pg_catalog.pg_amop s ON s.amopfamily = o.opcfamily AND s.amopstrategy = 1
                AND s.amoplefttype = o.opcintype AND s.amoprighttype = o.opcintype
            JOIN pg_catalog.pg_operator e ON e.oid = s.amopopr
            WHERE EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
                WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e'
                    AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND x.extname = 'citext')";
        let rows = of_objects(client, sql, &made).await?;
        Ok(rows.iter().map(|row| (row.get(0), Self { function: row.get(1), equality: row.get(2) })).collect())
    }
}
