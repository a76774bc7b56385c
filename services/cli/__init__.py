"""The prospect command: parses, then calls."""
