"""Forgetting: a prospect, a user, and history past its time."""
