# A regional GKE cluster on a network of its own, with private nodes, network policies and the Gateway API.

resource "google_compute_network" "this" {
  name                    = var.name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "nodes" {
  name                     = "${var.name}-nodes"
  region                   = var.region
  network                  = google_compute_network.this.id
  ip_cidr_range            = "10.128.0.0/20"
  private_ip_google_access = true

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = "10.132.0.0/14"
  }

  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = "10.130.0.0/20"
  }
}

# Where the load balancers of both gateways ask from; deploy/components/gke lets it through.
resource "google_compute_subnetwork" "proxies" {
  name          = "${var.name}-proxies"
  region        = var.region
  network       = google_compute_network.this.id
  ip_cidr_range = "10.129.0.0/23"
  purpose       = "REGIONAL_MANAGED_PROXY"
  role          = "ACTIVE"
}

# Private nodes reach Confluent Cloud and the image registries through it.
resource "google_compute_router" "this" {
  name    = var.name
  region  = var.region
  network = google_compute_network.this.id
}

resource "google_compute_router_nat" "this" {
  name                               = var.name
  region                             = var.region
  router                             = google_compute_router.this.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}

# The nodes' own account may pull images and write logs and metrics, not more.
resource "google_service_account" "nodes" {
  account_id   = "${var.name}-nodes"
  display_name = "Nodes of ${var.name}"
}

resource "google_project_iam_member" "nodes" {
  for_each = toset(["roles/container.defaultNodeServiceAccount", "roles/artifactregistry.reader"])

  project = google_service_account.nodes.project
  role    = each.value
  member  = google_service_account.nodes.member
}

resource "google_container_cluster" "this" {
  name     = var.name
  location = var.region

  network    = google_compute_network.this.id
  subnetwork = google_compute_subnetwork.nodes.id

  # The nodes are in the pool below, which can be changed without the cluster.
  remove_default_node_pool = true
  initial_node_count       = 1
  deletion_protection      = false

  release_channel {
    channel = "REGULAR"
  }

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = false
  }

  # Who may speak to the control plane from elsewhere.
  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = var.authorized_networks
      content {
        cidr_block = cidr_blocks.value
      }
    }
  }

  # An upgrade of the nodes restarts every pod. It has its hours, and none while something is sold.
  maintenance_policy {
    recurring_window {
      start_time = var.maintenance_window.start_time
      end_time   = var.maintenance_window.end_time
      recurrence = var.maintenance_window.recurrence
    }

    dynamic "maintenance_exclusion" {
      for_each = var.sales
      content {
        exclusion_name = maintenance_exclusion.key
        start_time     = maintenance_exclusion.value.start_time
        end_time       = maintenance_exclusion.value.end_time

        exclusion_options {
          scope = "NO_UPGRADES"
        }
      }
    }
  }

  # deploy/components/gke says what it reads. The numbers of StatefulSets are for TicketmasterPodsMissing.
  monitoring_config {
    enable_components = ["SYSTEM_COMPONENTS", "STATEFULSET", "POD", "STORAGE"]

    managed_prometheus {
      enabled = true
    }
  }

  # Network policies are enforced by this data path.
  datapath_provider = "ADVANCED_DATAPATH"

  gateway_api_config {
    channel = "CHANNEL_STANDARD"
  }

  workload_identity_config {
    workload_pool = "${google_service_account.nodes.project}.svc.id.goog"
  }

  # The gateways' load balancers live in this subnet, and must be gone before it.
  depends_on = [google_compute_subnetwork.proxies, google_compute_router_nat.this]

  # Nothing is sold while it is away, though nothing is lost with it. `make destroy` lifts this, when it has asked.
  lifecycle {
    prevent_destroy = true
  }
}

resource "google_container_node_pool" "this" {
  name       = var.name
  location   = var.region
  cluster    = google_container_cluster.this.name
  node_count = var.nodes_per_zone

  node_config {
    machine_type    = var.machine_type
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]

    shielded_instance_config {
      enable_secure_boot = true
    }

    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }

  # One node at a time, as the disruption budgets want it.
  upgrade_settings {
    max_surge       = 1
    max_unavailable = 0
  }

  depends_on = [google_project_iam_member.nodes]
}
