"""The development stack: real servers from wheels, the sources' sandbox, all services at once."""
