"""The sandbox: an HTTP server that answers as the four outside sources do."""
