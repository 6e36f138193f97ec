//! Who has which rows of a sharded PostgreSQL cluster.
