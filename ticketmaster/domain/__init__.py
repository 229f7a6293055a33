"""The rules of selling seats: pure, synchronous functions and values. Nothing here knows of records, brokers or HTTP."""
