"""Appending entries to the log."""
