"""What callers see: prospects and runs, one, listed or watched."""
