output "client_properties" {
  description = "The file that -c of every role takes."
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
