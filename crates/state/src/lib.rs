//! What is durable: arrangements, accumulators, outbox and frontier in RocksDB.
