"""A broker inside the process, for one machine: Kafka's semantics behind the broker port, on memory or on one SQLite file."""
