//! Fault 38.
