"""The reservations of a sale as a table for other programs: read from the topics, written as CSV, JSON lines or Parquet."""
