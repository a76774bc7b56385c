"""How entries come into the log."""
