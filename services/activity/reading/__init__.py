"""What callers see of the log: pages, counts, exports and tails."""
