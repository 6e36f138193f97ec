//! Deltas and frontier into the target database, one transaction a cut.
