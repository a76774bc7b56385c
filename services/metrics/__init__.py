"""Metrics: usage by user and day, counted from the events and proven equal to the log."""
