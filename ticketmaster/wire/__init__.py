"""What travels: topics as data, Avro records in Confluent framing, and the byte-level codec of the hot records."""
