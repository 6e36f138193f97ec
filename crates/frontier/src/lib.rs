//! Node events in, consistent cuts out: a pure state machine.
