//! Beside one node: its committed transactions, filtered and shipped.
