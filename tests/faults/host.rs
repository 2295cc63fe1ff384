//! Faults 43 to 45: the gateway's own death, the clock, disks and logs.
