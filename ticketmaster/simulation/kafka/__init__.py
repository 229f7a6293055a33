"""A Kafka cluster in virtual time: it speaks Kafka's protocol to the real clients, over connections that the seed troubles."""
