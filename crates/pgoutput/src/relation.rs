//! The description of a table, sent before its first change in a session and again after it was altered.

use crate::Error;
use crate::reader::Reader;

/// Which columns of the old row PostgreSQL logs for UPDATE and DELETE (`pg_class.relreplident`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaIdentity {
    /// The primary key, if there is one.
    Default,
    /// Nothing.
    Nothing,
    /// All columns.
    Full,
    /// The columns of a chosen unique index.
    Index,
}

/// A table as the changes behind this message have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// `pg_class.oid`, by which the changes name the table.
    pub id: u32,
    /// The schema. pgoutput leaves the name of `pg_catalog` out; here it is always there.
    pub namespace: &'a str,
    /// The table's name.
    pub name: &'a str,
    /// What is logged of old rows.
    pub replica_identity: ReplicaIdentity,
    count: u16,
    /// Checked to be exactly `count` columns.
    bytes: &'a [u8],
}

/// A published column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// Whether it is part of the replica identity (every column is under [`ReplicaIdentity::Full`]).
    pub key: bool,
    /// Its name.
    pub name: &'a str,
    /// `pg_type.oid` of its type (of the domain, when it is one).
    pub type_oid: u32,
    /// The type's modifier, -1 for none.
    pub type_modifier: i32,
}

impl<'a> Relation<'a> {
    /// How many columns the table's tuples have.
    #[must_use]
    pub fn column_count(&self) -> usize {
        usize::from(self.count)
    }

    /// The columns, in the order in which tuples have them.
    #[must_use]
    pub fn columns(&self) -> RelationColumns<'a> {
        RelationColumns { left: self.count, reader: Reader(self.bytes) }
    }

    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let id = reader.u32("a relation's oid")?;
        let namespace = namespace(reader)?;
        let name = reader.text("a relation's name")?;
        let replica_identity = match reader.u8("a replica identity")? {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            value => return Err(Error::BadTag { what: "a replica identity", value }),
        };
        let count = reader.u16("a relation's column count")?;
        let start = reader.0;
        for _ in 0..count {
            column(reader)?;
        }
        let length = start.len() - reader.0.len();
        let bytes = start.get(..length).ok_or(Error::Short("a relation"))?;
        Ok(Self { id, namespace, name, replica_identity, count, bytes })
    }
}

/// A schema's name; empty on the wire for `pg_catalog` (`logicalrep_write_namespace`).
pub(crate) fn namespace<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Error> {
    let name = reader.text("a schema's name")?;
    Ok(if name.is_empty() { "pg_catalog" } else { name })
}

fn column<'a>(reader: &mut Reader<'a>) -> Result<RelationColumn<'a>, Error> {
    Ok(RelationColumn {
        key: reader.u8("a column's flags")? & 1 != 0,
        name: reader.text("a column's name")?,
        type_oid: reader.u32("a column's type")?,
        type_modifier: reader.i32("a column's type modifier")?,
    })
}

/// Iterates over the columns of a [`Relation`].
#[derive(Debug, Clone)]
pub struct RelationColumns<'a> {
    left: u16,
    reader: Reader<'a>,
}

impl<'a> Iterator for RelationColumns<'a> {
    type Item = RelationColumn<'a>;

    fn next(&mut self) -> Option<RelationColumn<'a>> {
        self.left = self.left.checked_sub(1)?;
        column(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for RelationColumns<'_> {}
