"""The proof that the roll-up equals the log, and its repair."""
