"""Benchmarks against real servers: `make bench`, or `make bench ONLY=activity`."""
