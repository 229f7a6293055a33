"""The benchmark: what the system costs, how fast it is and how much it takes, by the load client."""
