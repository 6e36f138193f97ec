//! What PostgreSQL's catalogs say about everything that a query names by identifier.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use scalar::Env;
use tokio_postgres::{Client, Row};
use types::{Column, Oid, PgType, TableName, oid, quote_ident};

use crate::PlanError;
use crate::hash::Hash;
use crate::named::Named;
use crate::nested::Nested;
use crate::reader::Tree;

/// A table or view.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) name: TableName,
    pub(crate) kind: char,
    pub(crate) persistence: char,
    pub(crate) replica_full: bool,
    pub(crate) row_security: bool,
    pub(crate) readable: bool,
    pub(crate) is_system: bool,
    pub(crate) has_children: bool,
    /// No row is ever so wide that a value of it is kept outside it.
    pub(crate) is_narrow: bool,
    /// It is a stream table, of which the query stands in for it; its columns are those of the query.
    pub(crate) is_stream: bool,
    /// By attribute number; dropped ones are missing.
    pub(crate) columns: BTreeMap<i64, RelationColumn>,
    /// Attribute numbers of the replica identity: the primary key or the index that was chosen.
    pub(crate) identity: Vec<i64>,
}

/// A column of it.
#[derive(Debug, Clone)]
pub(crate) struct RelationColumn {
    pub(crate) column: Column,
    pub(crate) declared: Oid,
    pub(crate) generated: bool,
    /// How it is generated.
    pub(crate) formula: Option<Tree>,
}

/// A type.
#[derive(Debug, Clone)]
pub(crate) struct TypeInfo {
    pub(crate) sql: String,
    /// Itself, or what a domain stands on.
    pub(crate) base: Oid,
    pub(crate) base_typmod: i32,
    pub(crate) is_pseudo: bool,
    pub(crate) is_enum: bool,
    pub(crate) is_range: bool,
    /// Of an array its elements' type, of a range its bounds'; else 0.
    pub(crate) element: Oid,
    pub(crate) collation: Oid,
    /// Its default hash operator class: of `text`, `varchar` and what has no key here.
    pub(crate) hash: Option<Hash>,
}

/// A function or aggregate.
#[derive(Debug, Clone)]
pub(crate) struct FunctionInfo {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) volatility: char,
    pub(crate) args: Vec<Oid>,
    /// Its last argument is an array that a call may spell out.
    pub(crate) is_variadic: bool,
    /// NULL for a NULL argument.
    pub(crate) is_strict: bool,
    /// It gives rows.
    pub(crate) returns_set: bool,
    pub(crate) is_aggregate: bool,
    /// As the planner estimates it; that of most is 1.
    pub(crate) cost: f32,
    /// Names and types of its OUT arguments.
    pub(crate) outs: Vec<(String, Oid)>,
    /// What stands for the arguments that a call leaves out.
    pub(crate) defaults: Option<Tree>,
    pub(crate) source_hash: String,
}

/// An operator.
#[derive(Debug, Clone)]
pub(crate) struct OperatorInfo {
    pub(crate) schema: String,
    pub(crate) name: String,
}

impl OperatorInfo {
    /// As SQL writes it, wherever the search path leads.
    pub(crate) fn sql(&self) -> String {
        format!("OPERATOR({}.{})", quote_ident(&self.schema), self.name)
    }
}

/// How an implicit cast is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cast {
    /// By a function of one argument.
    Function(Oid),
    /// The bytes stay.
    Relabel,
    /// By the text form.
    Text,
}

/// A collation, quoted and with its schema.
pub(crate) type CollationName = String;

/// Everything looked up for one query.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) relations: HashMap<Oid, Relation>,
    pub(crate) views: HashMap<Oid, Tree>,
    pub(crate) types: HashMap<Oid, TypeInfo>,
    /// Types of arrays of types, where subqueries are made arrays.
    pub(crate) arrays: HashMap<Oid, Oid>,
    pub(crate) functions: HashMap<Oid, FunctionInfo>,
    pub(crate) operators: HashMap<Oid, OperatorInfo>,
    pub(crate) collations: HashMap<Oid, CollationName>,
    pub(crate) enum_labels: HashMap<Oid, String>,
    /// Functions of operators named `=` by which rows can be merged or hashed.
    pub(crate) equalities: BTreeSet<Oid>,
    /// Functions of operators, and those of the operators that say the opposite.
    pub(crate) negators: HashMap<Oid, Oid>,
    /// Functions of the operators of btree orders, and of those that say the opposite; none of them raises errors.
    pub(crate) comparisons: BTreeSet<Oid>,
    /// Implicit casts among the types, from and to.
    pub(crate) casts: HashMap<(Oid, Oid), Cast>,
    /// Names of composite types' fields, by type and number.
    pub(crate) fields: HashMap<(Oid, i64), String>,
    /// Type, modifier and collation of each.
    pub(crate) field_types: BTreeMap<(Oid, i64), (Oid, i32, Oid)>,
    /// Types with modifiers as SQL writes them.
    modified: HashMap<(Oid, i32), String>,
    /// How constants of other types are written, by type and bytes in memory.
    pub(crate) literals: HashMap<(Oid, Vec<u8>), String>,
}

#[allow(clippy::needless_pass_by_value, reason = "taken by map_err")]
pub(crate) fn asked(error: tokio_postgres::Error) -> PlanError {
    match error.as_db_error() {
        Some(db) => PlanError::Unavailable(db.message().to_owned()),
        None => PlanError::Unavailable(error.to_string()),
    }
}

/// What is found of some objects; of none nothing is asked.
pub(crate) async fn of_objects(client: &Client, sql: &str, oids: &[Oid]) -> Result<Vec<Row>, PlanError> {
    if oids.is_empty() { Ok(Vec::new()) } else { client.query(sql, &[&oids]).await.map_err(asked) }
}

impl Catalog {
    /// Looks up everything that `tree` and the views behind it name.
    pub(crate) async fn load(
        client: &Client,
        tree: &Tree,
        probe: Oid,
        nested: &mut Nested<'_>,
    ) -> Result<Self, PlanError> {
        let mut catalog = Self::default();
        let mut named = Named::default();
        named.collect(tree);
        let mut known = BTreeSet::from([probe]);
        loop {
            let new: Vec<Oid> = named.relations.difference(&known).copied().collect();
            if new.is_empty() {
                break;
            }
            known.extend(&new);
            let mut views = catalog.load_relations(client, &new).await?;
            catalog.load_formulas(client, &new, &mut named).await?;
            for oid in new {
                views.extend(nested.query(client, oid, &mut catalog).await?.map(|text| (oid, text)));
            }
            for (oid, text) in views {
                let view = Tree::read(&text)?;
                named.collect(&view);
                catalog.views.insert(oid, view);
            }
        }
        for relation in catalog.relations.values() {
            named.types.extend(relation.columns.values().map(|c| c.declared));
        }
        // What the planner itself writes.
        named.types.extend([oid::BOOL, oid::BYTEA, oid::INT4, oid::INT8, oid::TEXT]);
        catalog.load_casts(client, &mut named).await?;
        named.functions.extend(crate::expr::ADDED_FUNCTIONS);
        catalog.load_functions(client, &named.functions).await?;
        catalog.load_defaults(client).await?;
        named.types.extend(catalog.functions.values().flat_map(|f| f.args.iter().copied()));
        named.types.extend(catalog.functions.values().flat_map(|f| f.outs.iter().map(|o| o.1)));
        catalog.load_types(client, &named.types).await?;
        let equalities = catalog.types.values().filter_map(|t| Some(t.hash.as_ref()?.equality));
        let equalities = equalities.filter(|func| !catalog.functions.contains_key(func)).collect();
        catalog.load_functions(client, &equalities).await?;
        let elements = catalog.types.values().map(|t| t.element).filter(|e| *e != 0).collect();
        catalog.load_types(client, &elements).await?;
        if named.makes_arrays {
            catalog.load_arrays(client).await?;
        }
        catalog.load_names(client, &named).await?;
        let fields = catalog.field_types.values().map(|f| f.0).collect();
        catalog.load_types(client, &fields).await?;
        for relation in catalog.relations.values_mut() {
            for column in relation.columns.values_mut() {
                if let Some(info) = catalog.types.get(&column.declared) {
                    column.column.ty.oid = info.base;
                    if info.base != column.declared {
                        column.column.ty.typmod = info.base_typmod;
                    }
                }
            }
        }
        Ok(catalog)
    }

    /// Gives the rewritten trees of the views among them.
    async fn load_relations(&mut self, client: &Client, oids: &[Oid]) -> Result<Vec<(Oid, String)>, PlanError> {
        let sql = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
                c.relreplident = 'f', c.relrowsecurity AND pg_catalog.row_security_active(c.oid),
                pg_catalog.has_any_column_privilege(c.oid, 'SELECT'),
                n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast'),
                EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid),
                (SELECT r.ev_action::text FROM pg_catalog.pg_rewrite r
                 WHERE r.ev_class = c.oid AND r.rulename = '_RETURN' AND c.relkind = 'v'),
                (SELECT i.indkey::text FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
                 AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'n' THEN false ELSE i.indisprimary END
                 LIMIT 1),
                c.relkind = 'r' AND c.reltoastrelid = 0
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1)";
        let mut views = Vec::new();
        for row in of_objects(client, sql, oids).await? {
            let oid: Oid = row.get(0);
            let letter = |i: usize| row.get::<_, String>(i).chars().next().unwrap_or(' ');
            let identity: Option<String> = row.get(11);
            let identity = identity.unwrap_or_default().split_whitespace().filter_map(|n| n.parse().ok()).collect();
            self.relations.insert(
                oid,
                Relation {
                    name: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
                    kind: letter(3),
                    persistence: letter(4),
                    replica_full: row.get(5),
                    row_security: row.get(6),
                    readable: row.get(7),
                    is_system: row.get(8),
                    has_children: row.get(9),
                    is_narrow: row.get(12),
                    is_stream: false,
                    columns: BTreeMap::new(),
                    identity,
                },
            );
            if let Some(text) = row.get::<_, Option<String>>(10) {
                views.push((oid, text));
            }
        }
        let sql = "SELECT attrelid, attnum::int8, attname::text, atttypid, atttypmod, attcollation, attnotnull,
                pg_catalog.format_type(atttypid, atttypmod), attgenerated::text <> ''
            FROM pg_catalog.pg_attribute WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped";
        for row in of_objects(client, sql, oids).await? {
            let Some(relation) = self.relations.get_mut(&row.get::<_, Oid>(0)) else { continue };
            let ty = PgType { oid: row.get(3), typmod: row.get(4), collation: row.get(5) };
            let column = Column { name: row.get(2), ty, sql_type: row.get(7), not_null: row.get(6) };
            let column = RelationColumn { declared: ty.oid, column, generated: row.get(8), formula: None };
            relation.columns.insert(row.get(1), column);
        }
        Ok(views)
    }

    /// How generated columns are computed.
    async fn load_formulas(&mut self, client: &Client, oids: &[Oid], named: &mut Named) -> Result<(), PlanError> {
        let sql =
            "SELECT d.adrelid, d.adnum::int8, d.adbin::text FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a
                ON a.attrelid = d.adrelid AND a.attnum = d.adnum
            WHERE d.adrelid = ANY ($1) AND a.attgenerated::text <> ''";
        for row in of_objects(client, sql, oids).await? {
            let formula = Tree::read(row.get(2))?;
            named.collect(&formula);
            let relation = self.relations.get_mut(&row.get::<_, Oid>(0));
            if let Some(column) = relation.and_then(|r| r.columns.get_mut(&row.get(1))) {
                column.formula = Some(formula);
            }
        }
        Ok(())
    }

    /// Types, with what domains stand on.
    pub(crate) async fn load_types(&mut self, client: &Client, oids: &BTreeSet<Oid>) -> Result<(), PlanError> {
        let oids: Vec<Oid> = oids.iter().filter(|o| !self.types.contains_key(o)).copied().collect();
        let sql = "WITH RECURSIVE t(asked, oid, typmod) AS (
                SELECT oid, oid, -1 FROM pg_catalog.pg_type WHERE oid = ANY ($1)
                UNION ALL
                SELECT t.asked, d.typbasetype, d.typtypmod FROM t JOIN pg_catalog.pg_type d ON d.oid = t.oid
                WHERE d.typtype = 'd')
            SELECT t.asked, pg_catalog.format_type(t.asked, -1), t.oid, t.typmod, b.typtype::text,
                CASE WHEN b.typcategory = 'A' THEN b.typelem ELSE coalesce(r.rngsubtype, 0) END, b.typcollation
            FROM t JOIN pg_catalog.pg_type b ON b.oid = t.oid LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = b.oid
            WHERE b.typtype <> 'd'";
        for row in of_objects(client, sql, &oids).await? {
            let kind: String = row.get(4);
            let info = TypeInfo {
                sql: row.get(1),
                base: row.get(2),
                base_typmod: row.get(3),
                is_pseudo: kind == "p",
                is_enum: kind == "e",
                is_range: kind == "r",
                element: row.get(5),
                collation: row.get(6),
                hash: Hash::built_in(row.get(2)),
            };
            self.types.insert(row.get(0), info);
        }
        let has_key = |ty: &Oid| scalar::key_support(PgType::plain(*ty), &Env::default()).equality;
        let without_key: Vec<Oid> = oids.into_iter().filter(|ty| !has_key(ty)).collect();
        for (ty, hash) in Hash::of_types(client, &without_key).await? {
            if let Some(info) = self.types.get_mut(&ty) {
                info.hash.get_or_insert(hash);
            }
        }
        Ok(())
    }

    /// Implicit casts among the types named so far; their functions are named from here on too.
    async fn load_casts(&mut self, client: &Client, named: &mut Named) -> Result<(), PlanError> {
        let oids: Vec<Oid> = named.types.iter().copied().collect();
        let sql = "SELECT c.castsource, c.casttarget, c.castmethod::text, c.castfunc, p.pronargs
            FROM pg_catalog.pg_cast c LEFT JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc
            WHERE c.castcontext = 'i' AND c.castsource <> c.casttarget
                AND c.castsource = ANY ($1) AND c.casttarget = ANY ($1)";
        for row in of_objects(client, sql, &oids).await? {
            let cast = match row.get::<_, &str>(2) {
                "b" => Cast::Relabel,
                "i" => Cast::Text,
                _ if row.get::<_, Option<i16>>(4) == Some(1) => {
                    let func = row.get(3);
                    named.functions.insert(func);
                    Cast::Function(func)
                }
                _ => continue,
            };
            self.casts.insert((row.get(0), row.get(1)), cast);
        }
        Ok(())
    }

    /// The functions that defaults of arguments call, which may have such themselves.
    async fn load_defaults(&mut self, client: &Client) -> Result<(), PlanError> {
        let mut asked = BTreeSet::new();
        loop {
            let mut named = Named::default();
            self.functions.values().filter_map(|f| f.defaults.as_ref()).for_each(|tree| named.collect(tree));
            named.functions.retain(|func| !self.functions.contains_key(func) && asked.insert(*func));
            if named.functions.is_empty() {
                return Ok(());
            }
            self.load_functions(client, &named.functions).await?;
        }
    }

    async fn load_functions(&mut self, client: &Client, oids: &BTreeSet<Oid>) -> Result<(), PlanError> {
        let oids: Vec<Oid> = oids.iter().copied().collect();
        // A user's aggregate is as volatile as the functions that it is made of, and changes with them.
        let sql = "SELECT p.oid, n.nspname::text, p.proname::text,
                GREATEST(p.provolatile::text, parts.volatility) AS volatility, p.proargtypes::oid[],
                pg_catalog.md5(p.prosrc || COALESCE(p.prosqlbody::text, '') || COALESCE(parts.source, '') ||
                    CASE WHEN p.oid >= 16384 THEN COALESCE(p.proargdefaults::text, '') ELSE '' END),
                p.provariadic <> 0, p.proisstrict, p.proretset, outs.names, outs.types, p.prokind = 'a', p.procost,
                p.proargdefaults::text
            FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
            LEFT JOIN LATERAL (
                SELECT max(f.provolatile::text) AS volatility, string_agg(f.prosrc, ' ' ORDER BY f.oid) AS source
                FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc f ON f.oid IN (a.aggtransfn, a.aggfinalfn)
                WHERE a.aggfnoid = p.oid AND p.oid >= 16384) parts ON true
            LEFT JOIN LATERAL (
                SELECT array_agg(COALESCE(o.name, '') ORDER BY o.ord) AS names, array_agg(o.type ORDER BY o.ord) AS types
                FROM ROWS FROM (unnest(p.proargnames), unnest(p.proallargtypes), unnest(p.proargmodes)) WITH ORDINALITY o(name, type, mode, ord)
                WHERE o.mode IN ('o', 'b', 't')) outs ON true
            WHERE p.oid = ANY ($1)";
        for row in of_objects(client, sql, &oids).await? {
            let volatility: String = row.get(3);
            let outs: (Option<Vec<String>>, Option<Vec<Oid>>) = (row.get(9), row.get(10));
            let outs = (outs.0.unwrap_or_default(), outs.1.unwrap_or_default());
            let defaults: Option<String> = row.get(13);
            let info = FunctionInfo {
                schema: row.get(1),
                name: row.get(2),
                volatility: volatility.chars().next().unwrap_or('v'),
                args: row.get(4),
                source_hash: row.get(5),
                is_variadic: row.get(6),
                is_strict: row.get(7),
                returns_set: row.get(8),
                is_aggregate: row.get(11),
                cost: row.get(12),
                outs: outs.0.into_iter().zip(outs.1).collect(),
                defaults: defaults.map(|text| Tree::read(&text)).transpose()?,
            };
            self.functions.insert(row.get(0), info);
        }
        Ok(())
    }

    async fn load_names(&mut self, client: &Client, named: &Named) -> Result<(), PlanError> {
        let oids: Vec<Oid> = named.operators.iter().copied().collect();
        let sql = "SELECT o.oid, n.nspname::text, o.oprname::text, o.oprcode::oid, o.oprcanmerge OR o.oprcanhash,
                opposite.oprcode::oid, opposite.oprname = '=' AND (opposite.oprcanmerge OR opposite.oprcanhash)
            FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
            LEFT JOIN pg_catalog.pg_operator opposite ON opposite.oid = o.oprnegate WHERE o.oid = ANY ($1)";
        for row in of_objects(client, sql, &oids).await? {
            let info = OperatorInfo { schema: row.get(1), name: row.get(2) };
            if info.schema == "pg_catalog" && info.name == "=" && row.get(4) {
                self.equalities.insert(row.get(3));
            }
            if info.schema == "pg_catalog"
                && let Some(opposite) = row.get::<_, Option<Oid>>(5)
            {
                self.negators.insert(row.get(3), opposite);
                if row.get(6) {
                    self.equalities.insert(opposite);
                }
            }
            self.operators.insert(row.get(0), info);
        }
        let oids: Vec<Oid> = named.collations.iter().copied().collect();
        let sql = "SELECT c.oid, n.nspname::text, c.collname::text FROM pg_catalog.pg_collation c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = ANY ($1)";
        for row in of_objects(client, sql, &oids).await? {
            let name = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
            self.collations.insert(row.get(0), name.quoted());
        }
        let enums: Vec<Oid> = self.types.values().filter(|t| t.is_enum).map(|t| t.base).collect();
        let sql = "SELECT oid, enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = ANY ($1)";
        for row in of_objects(client, sql, &enums).await? {
            self.enum_labels.insert(row.get(0), row.get(1));
        }
        let oids: Vec<Oid> = named.functions.iter().copied().collect();
        let sql = "SELECT DISTINCT o.oprcode::oid FROM pg_catalog.pg_amop a
            JOIN pg_catalog.pg_operator o ON a.amopopr IN (o.oid, o.oprnegate)
            WHERE a.amopmethod = 403 AND o.oprcode::oid < 16384 AND o.oprcode::oid = ANY ($1)";
        self.comparisons = of_objects(client, sql, &oids).await?.iter().map(|r| r.get(0)).collect();
        let oids: Vec<Oid> = self.types.values().map(|t| t.base).collect();
        let sql = "SELECT t.oid, a.attnum::int8, a.attname::text, a.atttypid, a.atttypmod, a.attcollation FROM pg_catalog.pg_type t
            JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE t.typtype = 'c' AND t.oid = ANY ($1)";
        for row in of_objects(client, sql, &oids).await? {
            self.fields.insert((row.get(0), row.get(1)), row.get(2));
            self.field_types.insert((row.get(0), row.get(1)), (row.get(3), row.get(4), row.get(5)));
        }
        if named.modified.is_empty() {
            return Ok(());
        }
        let (oids, typmods): (Vec<Oid>, Vec<i32>) = named.modified.iter().copied().unzip();
        let sql = "SELECT t.oid, t.typmod, pg_catalog.format_type(t.oid, t.typmod)
            FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]), pg_catalog.unnest($2::pg_catalog.int4[])) t(oid, typmod)";
        for row in client.query(sql, &[&oids, &typmods]).await.map_err(asked)? {
            self.modified.insert((row.get(0), row.get(1)), row.get(2));
        }
        Ok(())
    }

    /// A type with domains resolved away.
    pub(crate) fn ty(&self, declared: Oid, typmod: i32, collation: Oid) -> PgType {
        match self.types.get(&declared) {
            Some(info) if info.base != declared => PgType { oid: info.base, typmod: info.base_typmod, collation },
            _ => PgType { oid: declared, typmod, collation },
        }
    }

    /// A type as SQL writes it.
    pub(crate) fn type_sql(&self, declared: Oid) -> Result<&str, PlanError> {
        let info = self.types.get(&declared);
        info.map(|t| t.sql.as_str()).ok_or_else(|| PlanError::Tree(format!("type {declared} is unknown")))
    }

    /// A type with its modifier, where one was named.
    pub(crate) fn modified_type_sql(&self, declared: Oid, typmod: i32) -> Result<&str, PlanError> {
        self.modified.get(&(declared, typmod)).map_or_else(|| self.type_sql(declared), |sql| Ok(sql))
    }
}
