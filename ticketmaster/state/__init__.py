"""A task's state: a port, its adapters, and the overlay of what is not in them yet."""
