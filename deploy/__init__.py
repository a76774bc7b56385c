"""How the services are packed and run; `check.py` proves the manifests."""
