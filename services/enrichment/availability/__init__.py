"""May a source be asked now: its breaker, its rate, its pause."""
