locals {
  name = "ticketmaster"

  # Of each overlay: the nodes in each of three zones, and the kind of Kafka cluster. tests/deploy holds them against what the pods ask for.
  sizes = {
    "1-instance-perf"  = { machine_type = "n2-standard-4", nodes_per_zone = 1, kafka = "basic" }
    "16-instance-perf" = { machine_type = "n2-standard-8", nodes_per_zone = 2, kafka = "standard" }
    "40-instance-perf" = { machine_type = "n2-standard-8", nodes_per_zone = 4, kafka = "standard" }
  }
  size = local.sizes[var.perf_type]
}

module "kafka" {
  source = "./kafka"

  name   = local.name
  region = var.region
  kind   = local.size.kafka
}

module "kubernetes" {
  source = "./kubernetes"

  name           = local.name
  region         = var.region
  machine_type   = local.size.machine_type
  nodes_per_zone = local.size.nodes_per_zone
}
