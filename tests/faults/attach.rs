//! Faults 1 to 7: the control socket and attaching.
