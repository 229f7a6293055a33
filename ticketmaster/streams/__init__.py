"""The engine: partitions become tasks, tasks turn records into transactions. It knows no topic, record or adapter by name."""
