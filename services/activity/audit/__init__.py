"""Counts and digests of the log, with which metrics checks its roll-up."""
