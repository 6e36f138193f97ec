//! Queries over the tables of sharded clusters: the same plans as over ordinary ones, and nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;

use plan::{OutputKey, PlanOptions, explain_text, plan};
use testkit::{Cluster, Kind, Shop, kinds};

#[tokio::test]
async fn distributed_reference_and_local_tables_are_planned_alike() {
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        Shop::create_tables(&cluster).await.unwrap();
        let client = cluster.client().await.unwrap();
        let mut options = PlanOptions::default();
        if kind == Kind::Fdw {
            // The parents of foreign partitions have no keys of their own.
            for (table, key) in [("orders", vec!["user_id", "id"]), ("items", vec!["user_id", "order_id", "line"])] {
                let row = client.query_one("SELECT $1::text::regclass::oid", &[&table]).await.unwrap();
                options.identity_hint.insert(row.get(0), key.into_iter().map(str::to_owned).collect());
            }
        }
        let query = "SELECT o.user_id, o.id, u.name, r.name AS region, sum(i.qty) AS qty
            FROM orders o JOIN items i ON i.user_id = o.user_id AND i.order_id = o.id
            JOIN users u ON u.id = o.user_id JOIN regions r ON r.id = u.region_id
            WHERE o.status <> 'lost' GROUP BY o.user_id, o.id, u.name, r.name";
        let planned = plan(&client, query, &options).await.unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        let text = explain_text(&planned.plan);
        assert_eq!(planned.plan.key, OutputKey::Columns(vec![0, 1, 2, 3]), "{kind:?}: {text}");
        assert!(planned.warnings.is_empty(), "{kind:?}: {:?}", planned.warnings);
        assert!(!text.contains("Cross join") && !text.contains("ring 2"), "{kind:?}: {text}");
        let identities: HashMap<&str, Vec<&str>> = planned
            .plan
            .sources
            .iter()
            .map(|s| (s.table.name.as_str(), s.identity.iter().map(|&i| s.columns[i].name.as_str()).collect()))
            .collect();
        assert_eq!(identities["regions"], ["id"], "{kind:?}");
        assert_eq!(identities["users"], ["id"], "{kind:?}");
        assert!(!identities["orders"].is_empty() && !identities["items"].is_empty(), "{kind:?}");
        for index in 0..cluster.nodes().len() {
            let client = cluster.client_of(index).await.unwrap();
            let left =
                client.query("SELECT relname FROM pg_class WHERE relname LIKE '%tributary%'", &[]).await.unwrap();
            assert!(left.is_empty(), "{kind:?}: node {index} keeps a probe");
        }
    }
}
