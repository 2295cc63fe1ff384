//! Faults 8 to 16: rings and shared memory.
