"""Who drives runs: leases them, makes their calls, writes their turns."""
