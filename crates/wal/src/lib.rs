//! PostgreSQL's replication protocol: positions, slots, snapshots, publications, the read loop.
