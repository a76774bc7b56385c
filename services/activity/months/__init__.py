"""The log's partitions: made ahead, and dropped when they have expired."""
