//! Rows as `COPY … FROM STDIN (FORMAT binary)` takes them.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::{Client, CopyInSink, Error, Statement};
use types::{Field, Row};

/// Pieces of this size go to the connection; the rest of the rows waits until it has taken them.
const PIECE: usize = 128 << 10;

const SIGNATURE: &[u8] = b"PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0";

/// A COPY under way.
pub(crate) struct CopyIn {
    sink: std::pin::Pin<Box<CopyInSink<Bytes>>>,
    bytes: BytesMut,
}

impl CopyIn {
    /// Starts the statement.
    pub(crate) async fn begin(client: &Client, statement: &Statement) -> Result<Self, Error> {
        let sink = Box::pin(client.copy_in::<_, Bytes>(statement).await?);
        let mut bytes = BytesMut::with_capacity(PIECE + 4096);
        bytes.put_slice(SIGNATURE);
        Ok(Self { sink, bytes })
    }

    /// Appends a row of `columns` columns; those missing at its end are NULL.
    pub(crate) async fn row(&mut self, row: &Row, columns: usize) -> Result<(), Error> {
        put_row(&mut self.bytes, row.fields(), columns);
        self.full().await
    }

    /// Appends a row of the given fields.
    pub(crate) async fn fields<'a>(
        &mut self,
        fields: impl Iterator<Item = Field<'a>>,
        count: usize,
    ) -> Result<(), Error> {
        put_row(&mut self.bytes, fields, count);
        self.full().await
    }

    async fn full(&mut self) -> Result<(), Error> {
        if self.bytes.len() < PIECE {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.bytes, BytesMut::with_capacity(PIECE + 4096)).freeze();
        self.sink.send(piece).await
    }

    /// Ends it; the number of rows that PostgreSQL took.
    pub(crate) async fn finish(mut self) -> Result<u64, Error> {
        self.bytes.put_i16(-1);
        self.sink.send(self.bytes.freeze()).await?;
        self.sink.as_mut().finish().await
    }
}

fn put_row<'a>(into: &mut BytesMut, fields: impl Iterator<Item = Field<'a>>, columns: usize) {
    into.put_i16(i16::try_from(columns).unwrap_or(i16::MAX));
    for field in fields.chain(std::iter::repeat(Field::Null)).take(columns) {
        match field {
            Field::Value(value) => {
                into.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                into.put_slice(value);
            }
            Field::Null | Field::Unchanged => into.put_i32(-1),
        }
    }
}
