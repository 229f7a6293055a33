output "client_properties" {
  description = "The file that -c of every role takes."
  sensitive   = true

  value = templatefile("${path.module}/client.properties.tftpl", {
    # The provider writes SASL_SSL:// before the address.
    bootstrap_servers = replace(confluent_kafka_cluster.this.bootstrap_endpoint, "SASL_SSL://", "")
    kafka_key         = confluent_api_key.kafka.id
    kafka_secret      = confluent_api_key.kafka.secret
    registry_url      = data.confluent_schema_registry_cluster.this.rest_endpoint
    registry_key      = confluent_api_key.registry.id
    registry_secret   = confluent_api_key.registry.secret
  })
}
