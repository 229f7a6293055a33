"""The log that everything stands on: a port, and the adapters behind it."""
