//! Faults 18 to 20: clients that die, fork and come back.
