//! PostgreSQL's scalar values, functions and orders, bit for bit.
