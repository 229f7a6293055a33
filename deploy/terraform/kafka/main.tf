# A Kafka cluster with a schema registry at Confluent Cloud, and an account that may do what the roles do. Topics are made by the Job `topics`.

resource "confluent_environment" "this" {
  display_name = var.name

  stream_governance {
    package = "ESSENTIALS"
  }
}

resource "confluent_kafka_cluster" "this" {
  display_name = var.name
  cloud        = "GCP"
  region       = var.region
  availability = var.kind == "basic" ? "SINGLE_ZONE" : "MULTI_ZONE"

  dynamic "basic" {
    for_each = var.kind == "basic" ? [var.kind] : []
    content {}
  }

  dynamic "standard" {
    for_each = var.kind == "standard" ? [var.kind] : []
    content {}
  }

  environment {
    id = confluent_environment.this.id
  }
}

# The registry of the environment comes with its first cluster.
data "confluent_schema_registry_cluster" "this" {
  environment {
    id = confluent_environment.this.id
  }

  depends_on = [confluent_kafka_cluster.this]
}

# --- Who gives the rights ------------------------------------------------------------------------------------------------

resource "confluent_service_account" "manager" {
  display_name = "${var.name}-manager"
  description  = "Gives the rights of the account that the roles run as."
}

resource "confluent_role_binding" "manager" {
  principal   = "User:${confluent_service_account.manager.id}"
  role_name   = "CloudClusterAdmin"
  crn_pattern = confluent_kafka_cluster.this.rbac_crn
}

resource "confluent_api_key" "manager" {
  display_name = "${var.name}-manager"
  description  = "Kafka, as the manager."

  owner {
    id          = confluent_service_account.manager.id
    api_version = confluent_service_account.manager.api_version
    kind        = confluent_service_account.manager.kind
  }

  managed_resource {
    id          = confluent_kafka_cluster.this.id
    api_version = confluent_kafka_cluster.this.api_version
    kind        = confluent_kafka_cluster.this.kind

    environment {
      id = confluent_environment.this.id
    }
  }

  depends_on = [confluent_role_binding.manager]
}

# --- Who the roles are ---------------------------------------------------------------------------------------------------

resource "confluent_service_account" "roles" {
  display_name = "${var.name}-roles"
  description  = "The ticket, reservation and event roles, and the commands that look after the topics."
}

locals {
  topics = concat(
    # Those between the roles, with their dead letters, and those of one role alone.
    ["command.", "response.", "state."],
    ["event-service-", "reservation-service-"],
  )
  groups           = ["ticket-service", "reservation-service", "event-service"]
  transactions     = ["reservation-service-", "event-service-"]
  topic_operations = ["CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS", "READ", "WRITE"]

  rights = concat(
    [for operation in ["DESCRIBE", "IDEMPOTENT_WRITE"] : ["CLUSTER", "kafka-cluster", "LITERAL", operation]],
    [for pair in setproduct(local.topics, local.topic_operations) : ["TOPIC", pair[0], "PREFIXED", pair[1]]],
    [for pair in setproduct(local.groups, ["DESCRIBE", "READ"]) : ["GROUP", pair[0], "LITERAL", pair[1]]],
    [for pair in setproduct(local.transactions, ["DESCRIBE", "WRITE"]) : ["TRANSACTIONAL_ID", pair[0], "PREFIXED", pair[1]]],
  )
}

resource "confluent_kafka_acl" "roles" {
  for_each = { for right in local.rights : join(" ", right) => right }

  kafka_cluster {
    id = confluent_kafka_cluster.this.id
  }

  resource_type = each.value[0]
  resource_name = each.value[1]
  pattern_type  = each.value[2]
  operation     = each.value[3]
  permission    = "ALLOW"
  principal     = "User:${confluent_service_account.roles.id}"
  host          = "*"
  rest_endpoint = confluent_kafka_cluster.this.rest_endpoint

  credentials {
    key    = confluent_api_key.manager.id
    secret = confluent_api_key.manager.secret
  }
}

# Each role registers its schemas, and sets a new subject's compatibility.
resource "confluent_role_binding" "subjects" {
  principal   = "User:${confluent_service_account.roles.id}"
  role_name   = "ResourceOwner"
  crn_pattern = "${data.confluent_schema_registry_cluster.this.resource_name}/subject=*"
}

resource "confluent_api_key" "kafka" {
  display_name = "${var.name}-kafka"
  description  = "Kafka, as the roles."

  owner {
    id          = confluent_service_account.roles.id
    api_version = confluent_service_account.roles.api_version
    kind        = confluent_service_account.roles.kind
  }

  managed_resource {
    id          = confluent_kafka_cluster.this.id
    api_version = confluent_kafka_cluster.this.api_version
    kind        = confluent_kafka_cluster.this.kind

    environment {
      id = confluent_environment.this.id
    }
  }

  depends_on = [confluent_kafka_acl.roles]
}

resource "confluent_api_key" "registry" {
  display_name = "${var.name}-registry"
  description  = "The schema registry, as the roles."

  owner {
    id          = confluent_service_account.roles.id
    api_version = confluent_service_account.roles.api_version
    kind        = confluent_service_account.roles.kind
  }

  managed_resource {
    id          = data.confluent_schema_registry_cluster.this.id
    api_version = data.confluent_schema_registry_cluster.this.api_version
    kind        = data.confluent_schema_registry_cluster.this.kind

    environment {
      id = confluent_environment.this.id
    }
  }

  depends_on = [confluent_role_binding.subjects]
}
