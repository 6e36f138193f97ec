//! The daemon's side of `tributary.wait_for_frontier`.
//!
//! ```text
//! SQL session   token := nextval(wait_tokens) ─┐ visible at once, though nothing was committed
//! daemon        wait_requests ◄────────────────┘ → every node's position → published there → answer_wait
//! SQL session   … until an answer for this token or a later one, and the frontier there
//! ```
//!
//! A sequence's WAL record precedes that of any answer to its value, so no crash can leave an answer to a token that
//! is given out again.

use crate::frontier::{signed, unsigned};
use crate::{Sink, SinkError};
use types::Seq;

/// A call of `wait_for_frontier`; later calls have greater ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitToken(u64);

/// Answers are kept for this many tokens, so that a sleeper finds the first that serves it.
const KEPT_ANSWERS: i64 = 64;

impl Sink {
    /// The newest call since this was last asked, if there was one: at most one token, whose answer serves all older
    /// calls too. Each is given out once; whoever takes it answers it. One cheap statement, to be asked many times a
    /// second.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn wait_requests(&self) -> Result<Vec<WaitToken>, SinkError> {
        let client = self.catalog_session().await?;
        let schema = self.instance().quoted();
        let what = "looking for waiting readers";
        let given = match self.taken().token {
            Some(token) => token,
            None => {
                let sql = format!("SELECT COALESCE(max(token), 0) FROM {schema}.wait_answers");
                client.query_one(&sql, &[]).await.map_err(SinkError::pg(what))?.get(0)
            }
        };
        let sql = format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {schema}.wait_tokens");
        let last: i64 = client.query_one(&sql, &[]).await.map_err(SinkError::pg(what))?.get(0);
        self.change_taken(|t| t.token = Some(last));
        if last > given { Ok(vec![WaitToken(unsigned(last, "token")?)]) } else { Ok(Vec::new()) }
    }

    /// Says that everything that had committed before `token` is readable at cut `seq`. Called when that cut is
    /// published; a cut that changed nothing and was not written counts as the last written one.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn answer_wait(&self, token: WaitToken, seq: Seq) -> Result<(), SinkError> {
        let client = self.catalog_session().await?;
        let schema = self.instance().quoted();
        let sql = format!(
            "WITH old AS (DELETE FROM {schema}.wait_answers WHERE token < $1::int8 - {KEPT_ANSWERS})
             INSERT INTO {schema}.wait_answers (token, seq) SELECT $1::int8, least($2::int8, seq) FROM {schema}.frontier
             ON CONFLICT (token) DO UPDATE SET seq = excluded.seq"
        );
        let answered = client.execute(&sql, &[&signed(token.0), &signed(seq.0)]).await;
        answered.map(drop).map_err(SinkError::pg("answering a waiting reader"))
    }
}
