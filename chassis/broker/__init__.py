"""The connection to the broker, and the streams and consumers that are kept there."""
