//! Faults 17, 21 and 45: slow, greedy and too many clients.
