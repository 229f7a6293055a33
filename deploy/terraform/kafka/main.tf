# A Kafka cluster with a schema registry at Confluent Cloud, and an account for each role that may do what that role does. Topics are made by
# the Job `topics`, which has an account of its own.

resource "confluent_environment" "this" {
  display_name = var.name

  stream_governance {
    package = "ESSENTIALS"
  }

  # With it go the schemas, without which nobody can read what was sold. `make destroy` lifts this, when it has asked.
  lifecycle {
    prevent_destroy = true
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

  # All that was sold. Another region or availability would replace the cluster: Terraform refuses.
  lifecycle {
    prevent_destroy = true
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
  description  = "Gives the rights of the accounts that the roles run as."
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

locals {
  # Prefixes of the topics between the roles, with their dead letters, and of those of one role alone.
  topics = ["command.", "response.", "state.", "event-service-", "reservation-service-"]

  # As docs/security.md has it for any cluster; tests/deploy compares.
  may = {
    ticket = {
      write = [
        "command.event.create_event", "command.reservation.create_reservation", "command.reservation.change_reservation",
        "command.event.change_event",
      ]
      read = ["state.user.reservation", "state.event.area_status", "state.event"]
      # Its transactions, by a prefix of their ids: it has none.
      transactions = []
    }
    reservation = {
      write = [
        "command.event.reserve_seat", "state.user.reservation", "reservation-service-Reservation-changelog",
        "reservation-service-Deadline-changelog", "command.event.release_seats", "command.reservation.change_reservation",
        "command.reservation.create_reservation.dlq", "response.reservation.result.dlq", "command.reservation.change_reservation.dlq",
        "reservation-service-UserSeats-changelog", "command.reservation.cancel_event.dlq",
      ]
      read = [
        "command.reservation.create_reservation", "response.reservation.result", "command.reservation.change_reservation",
        "reservation-service-Reservation-changelog", "reservation-service-Deadline-changelog", "state.event.area_status",
        "reservation-service-UserSeats-changelog", "command.reservation.cancel_event", "state.event",
      ]
      transactions = ["reservation-service-"]
    }
    event = {
      write = [
        "event-service-KSTREAM-TOTABLE-0000000002-repartition", "state.event.area_status", "response.reservation.result",
        "event-service-AreaStatus-changelog", "event-service-Holder-changelog", "command.event.create_event.dlq",
        "event-service-RuledArea-repartition", "event-service-AreaRules-changelog", "state.event",
        "command.event.reserve_seat.dlq", "event-service-KSTREAM-TOTABLE-0000000002-repartition.dlq",
        "command.event.release_seats.dlq", "event-service-RuledArea-repartition.dlq",
        "command.reservation.cancel_event", "command.event.change_event.dlq",
      ]
      read = [
        "command.event.create_event", "command.event.reserve_seat", "event-service-KSTREAM-TOTABLE-0000000002-repartition",
        "command.event.release_seats", "event-service-RuledArea-repartition", "event-service-AreaRules-changelog", "state.event",
        "event-service-AreaStatus-changelog", "event-service-Holder-changelog", "command.event.change_event",
      ]
      transactions = ["event-service-"]
    }
  }
  roles = toset(keys(local.may))
  # Besides: who makes the topics, and who looks, for the commands of operators.
  accounts        = setunion(local.roles, ["topics", "reader"])
  registry_rights = { for account in setunion(local.roles, ["reader"]) : account => account == "reader" ? "DeveloperRead" : "ResourceOwner" }

  # Account, kind, name, pattern and operation of each right.
  rights = toset(concat(
    [for one in setproduct(local.accounts, local.topics, ["DESCRIBE", "DESCRIBE_CONFIGS"]) : "${one[0]} TOPIC ${one[1]} PREFIXED ${one[2]}"],
    [for topic in local.topics : "topics TOPIC ${topic} PREFIXED ALTER_CONFIGS"],
    [for topic in local.topics : "reader TOPIC ${topic} PREFIXED READ"],
    [for role in local.roles : "reader GROUP ${role}-service LITERAL DESCRIBE"],
    # Of a cluster Confluent has fewer operations than Kafka: DESCRIBE allows to see its settings, and every idempotent producer needs a right.
    [for operation in ["CREATE", "DESCRIBE"] : "topics CLUSTER kafka-cluster LITERAL ${operation}"],
    [for role in local.roles : "${role} CLUSTER kafka-cluster LITERAL IDEMPOTENT_WRITE"],
    flatten([for role, may in local.may : concat(
      ["${role} GROUP ${role}-service LITERAL READ"],
      [for topic in may.write : "${role} TOPIC ${topic} LITERAL WRITE"],
      [for topic in may.read : "${role} TOPIC ${topic} LITERAL READ"],
      [for one in setproduct(may.transactions, ["DESCRIBE", "WRITE"]) : "${role} TRANSACTIONAL_ID ${one[0]} PREFIXED ${one[1]}"],
    )]),
  ))

  # Account and generation of each key. Where there are two generations both are good, so that pods may change from one to the other.
  kafka_keys    = { for one in setproduct(local.accounts, var.key_generations) : "${one[0]}-${one[1]}" => one[0] }
  registry_keys = { for one in setproduct(keys(local.registry_rights), var.key_generations) : "${one[0]}-${one[1]}" => one[0] }
}

resource "confluent_service_account" "roles" {
  for_each = local.accounts

  display_name = "${var.name}-${each.key}"
  description  = lookup({ topics = "Looks after the topics.", reader = "Looks at everything." }, each.key, "The ${each.key} role.")
}

resource "confluent_kafka_acl" "roles" {
  for_each = local.rights

  kafka_cluster {
    id = confluent_kafka_cluster.this.id
  }

  principal     = "User:${confluent_service_account.roles[split(" ", each.key)[0]].id}"
  resource_type = split(" ", each.key)[1]
  resource_name = split(" ", each.key)[2]
  pattern_type  = split(" ", each.key)[3]
  operation     = split(" ", each.key)[4]
  permission    = "ALLOW"
  host          = "*"
  rest_endpoint = confluent_kafka_cluster.this.rest_endpoint

  credentials {
    key    = confluent_api_key.manager.id
    secret = confluent_api_key.manager.secret
  }
}

# Each role registers its schemas, and sets a new subject's compatibility.
resource "confluent_role_binding" "subjects" {
  for_each = local.registry_rights

  principal   = "User:${confluent_service_account.roles[each.key].id}"
  role_name   = each.value
  crn_pattern = "${data.confluent_schema_registry_cluster.this.resource_name}/subject=*"
}

resource "confluent_api_key" "kafka" {
  for_each = local.kafka_keys

  display_name = "${var.name}-${each.key}-kafka"
  description  = "Kafka, as ${each.value}."

  owner {
    id          = confluent_service_account.roles[each.value].id
    api_version = confluent_service_account.roles[each.value].api_version
    kind        = confluent_service_account.roles[each.value].kind
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
  for_each = local.registry_keys

  display_name = "${var.name}-${each.key}-registry"
  description  = "The schema registry, as ${each.value}."

  owner {
    id          = confluent_service_account.roles[each.value].id
    api_version = confluent_service_account.roles[each.value].api_version
    kind        = confluent_service_account.roles[each.value].kind
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
