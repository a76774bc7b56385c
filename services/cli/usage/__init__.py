"""`prospect usage`: read, follow and audit what the metrics service counted."""
