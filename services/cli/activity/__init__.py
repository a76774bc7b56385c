"""`prospect activity`: record, read, keep and prove the log."""
