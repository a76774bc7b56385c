"""Claude: the summary is asked for, checked against its facts, or written from a template."""
