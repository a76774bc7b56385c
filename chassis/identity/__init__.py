"""Who is who: secrets, certificates, and the callers behind them."""
