"""How a service reaches Postgres: one of several servers, itself or through a pooler."""
