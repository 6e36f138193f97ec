//! A read that shows whether a cut is whole: what all orders cost and what all their items cost is the same after each
//! transaction, though orders and items are spread over two workers and kept in two stream tables.

use tokio_postgres::Client;

const OF_STREAM_TABLES: &str =
    "SELECT (SELECT sum(spent) FROM user_totals) IS NOT DISTINCT FROM (SELECT sum(revenue) FROM product_sales)";

const OF_SOURCES: &str =
    "SELECT (SELECT sum(total) FROM orders) IS NOT DISTINCT FROM (SELECT sum(quantity * price) FROM order_items)";

/// How the reads came out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Proofs {
    pub(crate) reads: u64,
    /// In the stream tables.
    pub(crate) wrong: u64,
    /// The same sums over the sources themselves.
    pub(crate) sources_wrong: u64,
}

impl Proofs {
    /// Reads once more, the stream tables and the sources.
    pub(crate) async fn read(&mut self, client: &Client) -> anyhow::Result<()> {
        let equal: bool = client.query_one(OF_STREAM_TABLES, &[]).await?.try_get(0)?;
        let sources_equal: bool = client.query_one(OF_SOURCES, &[]).await?.try_get(0)?;
        self.reads += 1;
        self.wrong += u64::from(!equal);
        self.sources_wrong += u64::from(!sources_equal);
        Ok(())
    }
}
