"""The clients of the outside sources, and the readers of what they answer."""
