//! Faults 22 to 28: what is in a request.
