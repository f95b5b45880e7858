"""Every decision: pure, synchronous, without I/O, clock, randomness or logging."""
