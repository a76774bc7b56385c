"""The product: one package a service, each its own process, schema and database roles."""
