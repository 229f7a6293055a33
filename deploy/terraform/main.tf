locals {
  # Of everything: two environments have nothing in common.
  name = "ticketmaster-${var.environment}"

  # Of each overlay: the nodes in each of three zones, and the kind of Kafka cluster. tests/deploy holds them against what the pods ask for,
  # with one node lost.
  sizes = {
    "1-instance-perf"  = { machine_type = "n2-standard-4", nodes_per_zone = 1, kafka = "basic" }
    "2-instance-perf"  = { machine_type = "n2-standard-4", nodes_per_zone = 1, kafka = "standard" }
    "4-instance-perf"  = { machine_type = "n2-standard-8", nodes_per_zone = 1, kafka = "standard" }
    "8-instance-perf"  = { machine_type = "n2-standard-4", nodes_per_zone = 3, kafka = "standard" }
    "16-instance-perf" = { machine_type = "n2-standard-8", nodes_per_zone = 2, kafka = "standard" }
    "32-instance-perf" = { machine_type = "n2-standard-8", nodes_per_zone = 4, kafka = "standard" }
    "40-instance-perf" = { machine_type = "n2-standard-8", nodes_per_zone = 5, kafka = "standard" }
  }
  size = local.sizes[var.perf_type]
}

module "kafka" {
  source = "./kafka"

  name            = local.name
  region          = var.region
  kind            = local.size.kafka
  key_generations = var.key_generations
}

module "kubernetes" {
  source = "./kubernetes"

  name                = local.name
  region              = var.region
  machine_type        = local.size.machine_type
  nodes_per_zone      = local.size.nodes_per_zone
  authorized_networks = var.authorized_networks
  maintenance_window  = var.maintenance_window
  sales               = var.sales
}

# What the gateway `outside` needs, where there is one: deploy/components/outside.
module "outside" {
  source = "./outside"
  count  = var.domain == "" ? 0 : 1

  name                = local.name
  region              = var.region
  domain              = var.domain
  requests_per_minute = var.requests_per_minute
}
