//! The assembled aggregator.
