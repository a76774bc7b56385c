"""What the metrics service counts the log again by."""
