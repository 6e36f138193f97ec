//! Real clusters, faults, workloads and the oracle for tests.
