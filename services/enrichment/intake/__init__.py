"""How a request becomes a run: by RPC, event, batch, retry or replay."""
