//! The logical replication messages of PostgreSQL's pgoutput plugin, decoded without copying.
