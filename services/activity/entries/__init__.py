"""An entry of the log: its rules, its filters, its encoding."""
