locals {
  current = element(var.key_generations, length(var.key_generations) - 1)
}

output "client_properties" {
  description = "Of each account, the file that its pods take with --config."
  sensitive   = true

  value = {
    for account in local.accounts : account => templatefile("${path.module}/client.properties.tftpl", {
      account = account
      # The provider writes SASL_SSL:// before the address.
      bootstrap_servers = replace(confluent_kafka_cluster.this.bootstrap_endpoint, "SASL_SSL://", "")
      kafka_key         = confluent_api_key.kafka["${account}-${local.current}"].id
      kafka_secret      = confluent_api_key.kafka["${account}-${local.current}"].secret
      registry_url      = data.confluent_schema_registry_cluster.this.rest_endpoint
      # Who makes topics asks no registry.
      registry_key    = contains(keys(local.registry_rights), account) ? confluent_api_key.registry["${account}-${local.current}"].id : ""
      registry_secret = contains(keys(local.registry_rights), account) ? confluent_api_key.registry["${account}-${local.current}"].secret : ""
    })
  }
}
