"""What operators run: serve, migrate, config and events."""
