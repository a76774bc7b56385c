"""What the server takes in: limits of connections, calls and bytes, of all and of each tenant."""
