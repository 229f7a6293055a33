"""The broker port on Apache Kafka, by aiokafka."""
