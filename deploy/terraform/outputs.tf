output "client_properties" {
  description = "Of each account, the file that its pods take with --config."
  value       = module.kafka.client_properties
  sensitive   = true
}

# What `gcloud container clusters get-credentials` needs.
output "cluster_name" {
  description = "Name of the Kubernetes cluster."
  value       = module.kubernetes.cluster_name
}

output "region" {
  description = "Region of the Kubernetes cluster."
  value       = var.region
}

output "google_project" {
  description = "Project of the Kubernetes cluster."
  value       = var.google_project
}

output "dns_records" {
  description = "What whoever runs the domain's DNS must add: the address, and the proof for the certificate."
  value       = flatten(module.outside[*].dns_records)
}
