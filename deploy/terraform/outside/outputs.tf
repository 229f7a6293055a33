output "dns_records" {
  description = "What must stand in the domain's DNS."

  value = concat(
    ["${var.domain}. A ${google_compute_address.this.address}"],
    [for record in google_certificate_manager_dns_authorization.this.dns_resource_record : "${record.name} ${record.type} ${record.data}"],
  )
}
