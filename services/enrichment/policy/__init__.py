"""What a tenant allows: its policy, budget, suppression list and allowance of runs."""
