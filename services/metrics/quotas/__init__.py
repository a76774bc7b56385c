"""Quotas, and the events that tell of a reached limit."""
