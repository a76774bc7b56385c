"""The sandbox: an HTTP server that answers as the outside sources do."""
