variable "confluent_cloud_api_key" {
  description = "Key of Confluent Cloud with which clusters are made."
  type        = string
  sensitive   = true
}

variable "confluent_cloud_api_secret" {
  description = "Secret of that key."
  type        = string
  sensitive   = true
}

variable "google_project" {
  description = "Id of the Google Cloud project that the Kubernetes cluster is made in."
  type        = string
}

variable "region" {
  description = "Region of both clusters, for both are at Google Cloud."
  type        = string
  default     = "asia-east1"
}

variable "perf_type" {
  description = "The overlay that the clusters are made for: a key of local.sizes."
  type        = string

  validation {
    condition     = contains(["1-instance-perf", "16-instance-perf", "40-instance-perf"], var.perf_type)
    error_message = "perf_type is 1-instance-perf, 16-instance-perf or 40-instance-perf."
  }
}
