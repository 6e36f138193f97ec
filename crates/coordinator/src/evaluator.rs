//! Ring 2: what PostgreSQL computes, batched.
//!
//! One statement a batch: the argument columns go as binary arrays through `unnest` (where a type is one that `unnest` would
//! take apart, as one array of rows; large ones by COPY into a temporary table), the results come back in binary form with the number of what they belong to:
//! a row, a group or a partition. A batch that fails is halved until the one that PostgreSQL cannot compute is alone;
//! its error is the stream table's.

mod arguments;
mod question;
mod session;

use ivm::{Evaluator, EvaluatorError, FromItem, RowError};
use plan::PgExpr;
use tokio::runtime::Handle;
use types::Row;
use wal::Endpoint;

use question::Question;
use session::{Failure, Session};

/// Rows in one statement, unless a single group has more.
const BATCH: usize = 5_000;

/// What PostgreSQL gives for a row, a group or a partition.
type Answer = Result<Vec<Row>, RowError>;

/// A session on the target that computes; opened when first needed and again after it broke.
pub(crate) struct PgEvaluator {
    runtime: Handle,
    endpoint: Endpoint,
    session: Option<Session>,
}

impl PgEvaluator {
    pub(crate) fn new(runtime: Handle, endpoint: Endpoint) -> Self {
        Self { runtime, endpoint, session: None }
    }

    /// The answers for all units, each a row, a group or a partition.
    fn ask(
        &mut self,
        question: &Question<'_>,
        settings: &[(String, String)],
        units: &[&[Row]],
    ) -> Result<Vec<Answer>, EvaluatorError> {
        let runtime = self.runtime.clone();
        runtime.block_on(async {
            let session = match &mut self.session {
                Some(session) => session,
                none => none.insert(Session::open(&self.endpoint).await.map_err(EvaluatorError)?),
            };
            let mut out = Vec::with_capacity(units.len());
            let result = async {
                session.pin(settings).await?;
                for batch in batches(units) {
                    halving(session, question, batch, &mut out).await?;
                }
                Ok::<_, String>(())
            }
            .await;
            match result {
                Ok(()) => Ok(out),
                Err(reason) => {
                    self.session = None;
                    Err(EvaluatorError(reason))
                }
            }
        })
    }
}

impl Evaluator for PgEvaluator {
    fn eval(
        &mut self,
        exprs: &[PgExpr],
        settings: &[(String, String)],
        rows: &[Row],
    ) -> Result<Vec<Result<Row, RowError>>, EvaluatorError> {
        let units: Vec<&[Row]> = rows.chunks(1).collect();
        self.ask(&Question::Columns(exprs), settings, &units)?.into_iter().map(only).collect()
    }

    fn aggregate(
        &mut self,
        aggregates: &[PgExpr],
        settings: &[(String, String)],
        groups: &[Vec<Row>],
    ) -> Result<Vec<Result<Row, RowError>>, EvaluatorError> {
        let units: Vec<&[Row]> = groups.iter().map(Vec::as_slice).collect();
        self.ask(&Question::Aggregates(aggregates), settings, &units)?.into_iter().map(only).collect()
    }

    fn windows(
        &mut self,
        windows: &[PgExpr],
        settings: &[(String, String)],
        partitions: &[Vec<Row>],
    ) -> Result<Vec<Answer>, EvaluatorError> {
        let units: Vec<&[Row]> = partitions.iter().map(Vec::as_slice).collect();
        self.ask(&Question::Windows(windows), settings, &units)
    }

    fn rows(
        &mut self,
        item: &FromItem,
        settings: &[(String, String)],
        rows: &[Row],
    ) -> Result<Vec<Answer>, EvaluatorError> {
        let units: Vec<&[Row]> = rows.chunks(1).collect();
        self.ask(&Question::Rows(item), settings, &units)
    }
}

/// The one row of an answer that has one.
fn only(answer: Answer) -> Result<Result<Row, RowError>, EvaluatorError> {
    match answer {
        Ok(mut rows) => match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => Ok(Ok(row)),
            _ => Err(EvaluatorError("the answer has not one row for each that was asked for".into())),
        },
        Err(error) => Ok(Err(error)),
    }
}

/// Runs of units that go together.
fn batches<'u, 'r>(units: &'u [&'r [Row]]) -> Vec<&'u [&'r [Row]]> {
    let mut out = Vec::new();
    let (mut start, mut rows) = (0, 0);
    for (at, unit) in units.iter().enumerate() {
        if at > start && rows + unit.len() > BATCH {
            out.push(&units[start..at]);
            (start, rows) = (at, 0);
        }
        rows += unit.len();
    }
    if start < units.len() {
        out.push(&units[start..]);
    }
    out
}

/// Asks for a batch; where it fails, for its halves, until the failing units are alone.
async fn halving(
    session: &mut Session,
    question: &Question<'_>,
    batch: &[&[Row]],
    out: &mut Vec<Answer>,
) -> Result<(), String> {
    let mut todo = vec![batch];
    while let Some(units) = todo.pop() {
        match session.ask(question, units).await {
            Ok(answers) => out.extend(answers.into_iter().map(Ok)),
            Err(Failure::Session(reason)) => return Err(reason),
            Err(Failure::Row(error)) if units.len() == 1 => out.push(Err(error)),
            Err(Failure::Row(_)) => {
                let (first, second) = units.split_at(units.len() / 2);
                todo.push(second);
                todo.push(first);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_whole_groups_and_all_of_them_in_order() {
        let rows = vec![Row::default(); BATCH + 1];
        let sizes = [3, BATCH + 1, 0, BATCH - 1, 1, 1];
        let units: Vec<&[Row]> = sizes.iter().map(|n| &rows[..*n]).collect();
        let batches: Vec<Vec<usize>> = batches(&units).iter().map(|b| b.iter().map(|u| u.len()).collect()).collect();
        assert_eq!(batches, [vec![3], vec![BATCH + 1], vec![0, BATCH - 1, 1], vec![1]]);
    }
}
