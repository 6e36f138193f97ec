//! One cut, one transaction.
//!
//! ```text
//! BEGIN · frontier (where epoch and number are what this session knows) · publish
//!       · deletes, updates, few inserts (sent without waiting) · COPY of many inserts · failed
//! COMMIT
//! ```
//!
//! The frontier row comes first: it locks out every other writer, and when it is not as expected nothing else counts.
//! Every statement must touch exactly as many rows as it was given; a difference means that somebody else wrote into
//! the stream table, and stops it. After any error the session is closed, which rolls back; the next call opens another
//! one and reads the frontier again, so that a COMMIT whose answer was lost is found out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::future;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};
use types::{Epoch, Seq, StreamId, TableChange};

use crate::batch::SinkBatch;
use crate::copy::CopyIn;
use crate::frontier::{self, positions_json, signed};
use crate::layout::Layout;
use crate::pipeline::{Pending, in_order};
use crate::publish;
use crate::statement::{FEW, Kind, Rows, Shape, copy_sql, kind_of, unchanged};
use crate::{Instance, Sink, SinkError};

impl Sink {
    /// Brings a cut into the target: the rows, the frontier, and what is published or failed, all or nothing. Does
    /// nothing when the frontier is at or past the cut already. Dropping the future rolls back, or leaves the cut
    /// complete; calling again with the same batch is always right.
    ///
    /// # Errors
    /// [`SinkError::Fenced`]; [`SinkError::WentBack`]; one of [`crate::Severity::Stream`] when one stream table is in the way (leave it out and
    /// call again); transient ones when the connection broke (call again).
    pub async fn apply(&self, batch: &SinkBatch) -> Result<(), SinkError> {
        let epoch = self
            .epoch()
            .ok_or_else(|| SinkError::Damaged("a cut was written before the target was taken over".into()))?;
        let mut slot = self.writer().await;
        let mut writer = match slot.take() {
            Some(writer) if writer.epoch == epoch && !writer.client.is_closed() => writer,
            _ => Box::pin(self.open_writer(epoch)).await?,
        };
        Box::pin(writer.apply(batch)).await?;
        self.change_taken(|taken| taken.written = writer.seq);
        *slot = Some(writer);
        Ok(())
    }

    async fn open_writer(&self, epoch: Epoch) -> Result<Writer, SinkError> {
        let client = self.own_session().await?;
        let instance = self.instance().clone();
        let frontier = instance.frontier();
        let seq = frontier::read(&client, &frontier).await?.seq;
        let known = self.taken().written;
        if seq < known {
            return Err(SinkError::WentBack { known, found: seq });
        }
        let sql = format!(
            "UPDATE {frontier} SET seq = $1, positions = $2, published_at = clock_timestamp()
             WHERE epoch = $3 AND seq = $4"
        );
        let advance = client.prepare(&sql).await.map_err(SinkError::pg("preparing the frontier's statement"))?;
        Ok(Writer { client, instance, epoch, seq, advance, tables: HashMap::new() })
    }
}

/// The session that writes cuts.
pub(crate) struct Writer {
    client: Client,
    instance: Instance,
    epoch: Epoch,
    /// The last cut in the target.
    seq: Seq,
    advance: Statement,
    tables: HashMap<StreamId, Table>,
}

/// A stream table that this session has written to.
struct Table {
    layout: Layout,
    statements: HashMap<Kind, Arc<Prepared>>,
    copy: Option<Statement>,
}

struct Prepared {
    shape: Shape,
    statement: Statement,
    /// Fills the temporary table, when the shape has one.
    fill: Option<Statement>,
}

/// The changes of one stream table that go by one statement.
struct Group<'a> {
    stream: StreamId,
    prepared: Arc<Prepared>,
    changes: Vec<&'a TableChange>,
}

/// The new rows of one stream table that go by COPY.
struct Copied<'a> {
    stream: StreamId,
    statement: Statement,
    changes: Vec<&'a TableChange>,
}

const WRITING: &str = "writing a cut";

impl Writer {
    async fn apply(&mut self, batch: &SinkBatch) -> Result<(), SinkError> {
        if batch.cut.seq <= self.seq {
            return Ok(());
        }
        let positions = positions_json(&batch.cut.positions);
        let numbers = [signed(batch.cut.seq.0), signed(self.epoch.0), signed(self.seq.0)];
        let advance: [&(dyn ToSql + Sync); 4] = [&numbers[0], &positions, &numbers[1], &numbers[2]];
        let mut started = false;
        if !batch.publish.is_empty() {
            self.pipeline(Some(&advance), &[]).await?;
            started = true;
            for &stream in &batch.publish {
                publish::publish(&self.client, &self.instance, stream).await?;
                self.tables.remove(&stream);
            }
        }
        let (groups, copies) = self.prepare(batch).await?;
        let temporary = groups.iter().any(|g| g.prepared.fill.is_some());
        if temporary && !started {
            self.pipeline(Some(&advance), &[]).await?;
            started = true;
        }
        for group in groups.iter().filter(|g| g.prepared.fill.is_some()) {
            self.fill(group).await?;
        }
        // The first COPY is sent behind the statements at once: its data is all that then needs a round trip.
        let mut copies = copies.into_iter();
        match copies.next() {
            None => self.pipeline((!started).then_some(&advance), &groups).await?,
            Some(first) => {
                let statements = self.pipeline((!started).then_some(&advance), &groups);
                let (statements, copy) = future::join(statements, self.begin_copy(&first)).await;
                statements?;
                self.copy(copy?, &first).await?;
            }
        }
        for next in copies {
            self.copy(self.begin_copy(&next).await?, &next).await?;
        }
        self.note_failed(&batch.failed).await?;
        fail::fail_point!("sink-before-commit");
        self.client.batch_execute("COMMIT").await.map_err(SinkError::pg("committing a cut"))?;
        fail::fail_point!("sink-after-commit");
        self.seq = batch.cut.seq;
        Ok(())
    }

    /// Sorts the changes by the statement they go by, and prepares what was not needed before. Deletes come first, then
    /// updates, then inserts, so that a key is free before it is taken again.
    async fn prepare<'a>(&mut self, batch: &'a SinkBatch) -> Result<(Vec<Group<'a>>, Vec<Copied<'a>>), SinkError> {
        let mut groups = Vec::new();
        let mut copies = Vec::new();
        for (stream, changes) in &batch.streams {
            if changes.is_empty() {
                continue;
            }
            let stream = *stream;
            if !self.tables.contains_key(&stream) {
                let table = self.table(stream).await?;
                self.tables.insert(stream, table);
            }
            let Some(table) = self.tables.get_mut(&stream) else { continue };
            let mut kinds: BTreeMap<Kind, Vec<&TableChange>> = BTreeMap::new();
            for change in changes {
                kinds.entry(kind_of(&table.layout, change)).or_default().push(change);
            }
            for (kind, changes) in kinds {
                let by_copy = kind == Kind::Insert
                    && (changes.len() > FEW || table.layout.columns.iter().any(|c| c.array.is_none()));
                if by_copy {
                    let statement = table.copy_statement(&self.client).await?;
                    copies.push(Copied { stream, statement, changes });
                } else {
                    let prepared = table.prepared(&self.client, kind).await?;
                    groups.push(Group { stream, prepared, changes });
                }
            }
        }
        Ok((groups, copies))
    }

    async fn table(&self, stream: StreamId) -> Result<Table, SinkError> {
        let known = publish::known(&self.client, &self.instance, stream).await?;
        let name = if known.published { known.spec.name.clone() } else { self.instance.staging(stream) };
        let layout = Layout::load(&self.client, &known.spec, &name).await?;
        Ok(Table { layout, statements: HashMap::new(), copy: None })
    }

    /// Sends the statements one behind the other and then takes their answers; with `advance`, opens the transaction
    /// and moves the frontier first.
    async fn pipeline(
        &self,
        advance: Option<&[&(dyn ToSql + Sync); 4]>,
        groups: &[Group<'_>],
    ) -> Result<(), SinkError> {
        let mut packed = Vec::new();
        for group in groups {
            let Some(table) = self.tables.get(&group.stream) else { continue };
            let shape = &group.prepared.shape;
            if shape.columns.is_empty() || shape.temporary.is_some() {
                packed.push((group, Rows { arrays: Vec::new(), count: group.changes.len() }));
            } else {
                packed.extend(Rows::pack(&table.layout, shape, &group.changes)?.into_iter().map(|rows| (group, rows)));
            }
        }
        let params: Vec<Vec<&(dyn ToSql + Sync)>> =
            packed.iter().map(|(_, rows)| rows.arrays.iter().map(|a| a as &(dyn ToSql + Sync)).collect()).collect();
        let mut pending: Vec<Pending<'_, Result<u64, Error>>> = Vec::new();
        if let Some(advance) = advance {
            pending.push(Box::pin(async { self.client.batch_execute("BEGIN").await.map(|()| 0) }));
            pending.push(Box::pin(self.client.execute(&self.advance, advance)));
        }
        for ((group, _), params) in packed.iter().zip(&params) {
            pending.push(Box::pin(self.client.execute(&group.prepared.statement, params)));
        }
        let mut answers = in_order(pending).await.into_iter();
        if advance.is_some() {
            answers.next().transpose().map_err(SinkError::pg("beginning a cut's transaction"))?;
            let moved = answers.next().transpose().map_err(SinkError::pg("moving the frontier"))?;
            if moved != Some(1) {
                return Err(self.overtaken().await);
            }
        }
        for ((group, rows), answer) in packed.iter().zip(answers) {
            let touched = answer.map_err(SinkError::of_stream(group.stream, WRITING))?;
            expect(group.stream, group.prepared.shape.kind, rows.count, touched)?;
        }
        Ok(())
    }

    /// Why the frontier row was not as this session knew it.
    async fn overtaken(&self) -> SinkError {
        match frontier::read(&self.client, &self.instance.frontier()).await {
            Ok(now) if now.epoch != self.epoch => SinkError::Fenced { mine: self.epoch, theirs: now.epoch },
            Ok(now) => SinkError::Moved { known: self.seq, found: now.seq },
            Err(error) => error,
        }
    }

    async fn fill(&self, group: &Group<'_>) -> Result<(), SinkError> {
        let failed = SinkError::of_stream(group.stream, WRITING);
        let Some(fill) = &group.prepared.fill else { return Ok(()) };
        let shape = &group.prepared.shape;
        let mut copy = CopyIn::begin(&self.client, fill).await.map_err(failed)?;
        for change in &group.changes {
            copy.fields(shape.fields(change), shape.columns.len()).await.map_err(failed)?;
        }
        copy.finish().await.map_err(failed)?;
        Ok(())
    }

    async fn begin_copy(&self, copied: &Copied<'_>) -> Result<CopyIn, SinkError> {
        CopyIn::begin(&self.client, &copied.statement).await.map_err(SinkError::of_stream(copied.stream, WRITING))
    }

    async fn copy(&self, mut copy: CopyIn, copied: &Copied<'_>) -> Result<(), SinkError> {
        let failed = SinkError::of_stream(copied.stream, WRITING);
        let Some(table) = self.tables.get(&copied.stream) else { return Ok(()) };
        let columns = table.layout.columns.len();
        for change in &copied.changes {
            let (TableChange::Insert(row) | TableChange::Update(row) | TableChange::Delete(row)) = change;
            if row.has_unchanged() {
                return Err(unchanged(&table.layout));
            }
            copy.row(row, columns).await.map_err(failed)?;
        }
        let touched = copy.finish().await.map_err(failed)?;
        expect(copied.stream, Kind::Insert, copied.changes.len(), touched)
    }

    async fn note_failed(&self, failed: &[(StreamId, String)]) -> Result<(), SinkError> {
        let sql =
            format!("UPDATE {}.stream_tables SET state = 'failed', reason = $2 WHERE id = $1", self.instance.quoted());
        for (stream, reason) in failed {
            let noted = self.client.execute(&sql, &[&i64::from(stream.0), reason]).await;
            noted.map_err(SinkError::pg("noting that a stream table failed"))?;
        }
        Ok(())
    }
}

impl Table {
    async fn copy_statement(&mut self, client: &Client) -> Result<Statement, SinkError> {
        if let Some(statement) = &self.copy {
            return Ok(statement.clone());
        }
        let failed = SinkError::of_stream(self.layout.stream, "preparing a COPY");
        let statement = client.prepare(&copy_sql(&self.layout)).await.map_err(failed)?;
        Ok(self.copy.insert(statement).clone())
    }

    async fn prepared(&mut self, client: &Client, kind: Kind) -> Result<Arc<Prepared>, SinkError> {
        if let Some(prepared) = self.statements.get(&kind) {
            return Ok(prepared.clone());
        }
        let failed = SinkError::of_stream(self.layout.stream, "preparing a statement");
        let shape = Shape::new(&self.layout, kind);
        let mut fill = None;
        if let (Some((_, ddl)), Some(sql)) = (&shape.temporary, shape.fill_sql()) {
            client.batch_execute(ddl).await.map_err(failed)?;
            fill = Some(client.prepare(&sql).await.map_err(failed)?);
        }
        let statement = client.prepare(&shape.sql).await.map_err(failed)?;
        let prepared = Arc::new(Prepared { shape, statement, fill });
        self.statements.insert(kind, prepared.clone());
        Ok(prepared)
    }
}

fn expect(stream: StreamId, kind: Kind, wanted: usize, touched: u64) -> Result<(), SinkError> {
    if touched == wanted as u64 {
        return Ok(());
    }
    let verb = match kind {
        Kind::Delete(_) => "delete",
        Kind::Update(_) => "update",
        Kind::Insert => "insert",
    };
    let reason = format!(
        "there were {touched} rows to {verb} where {wanted} should be: somebody else wrote into the table; \
         `tributary stream rebuild` makes it right"
    );
    Err(SinkError::Stream { stream, reason })
}
