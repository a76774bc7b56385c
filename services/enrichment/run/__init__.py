"""The run as a pure machine: its state, its turn, its plan; no I/O, no clock."""
