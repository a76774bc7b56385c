"""Activity: the tenant's log of what its users did."""
