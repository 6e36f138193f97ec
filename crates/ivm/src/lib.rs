//! A cut's source deltas to its stream tables' deltas.
