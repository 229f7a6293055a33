"""Composition roots: the only place that picks Kafka or embedded, SQLite or memory, real or virtual clock."""
