# What the world reaches the ticket service by: an address that stays, a certificate that renews itself, and a limit of how often one
# address may ask. DNS is whoever's domain it is: outputs.tf says what must stand there.

resource "google_compute_address" "this" {
  name         = var.name
  region       = var.region
  network_tier = "PREMIUM"
}

resource "google_certificate_manager_dns_authorization" "this" {
  name     = var.name
  location = var.region
  domain   = var.domain
  type     = "PER_PROJECT_RECORD"
}

resource "google_certificate_manager_certificate" "this" {
  name     = var.name
  location = var.region

  managed {
    domains            = [var.domain]
    dns_authorizations = [google_certificate_manager_dns_authorization.this.id]
  }
}

resource "google_compute_region_security_policy" "this" {
  name        = var.name
  region      = var.region
  description = "How often one address may ask, and what none may."
  type        = "CLOUD_ARMOR"
}

# Announcing events is for machines inside. The route sends the exact path nowhere; this refuses it with a slash behind it as well.
resource "google_compute_region_security_policy_rule" "announcing" {
  region          = var.region
  security_policy = google_compute_region_security_policy.this.name
  priority        = 100
  action          = "deny(403)"

  match {
    expr {
      expression = "request.method == 'POST' && request.path.matches('^/v1/event/?$')"
    }
  }
}

resource "google_compute_region_security_policy_rule" "limit" {
  region          = var.region
  security_policy = google_compute_region_security_policy.this.name
  priority        = 1000
  action          = "throttle"

  match {
    versioned_expr = "SRC_IPS_V1"

    config {
      src_ip_ranges = ["*"]
    }
  }

  rate_limit_options {
    conform_action = "allow"
    exceed_action  = "deny(429)"
    enforce_on_key = "IP"

    rate_limit_threshold {
      count        = var.requests_per_minute
      interval_sec = 60
    }
  }
}
