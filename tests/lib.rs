//! End-to-end suites: the binary against real clusters.
