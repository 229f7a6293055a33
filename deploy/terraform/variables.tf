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

variable "environment" {
  description = "Which of several deployments this is: a part of every name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{0,9}$", var.environment))
    error_message = "environment is a letter and up to nine letters or digits."
  }
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
    condition = contains([
      "1-instance-perf", "2-instance-perf", "4-instance-perf", "8-instance-perf", "16-instance-perf", "32-instance-perf", "40-instance-perf"
    ], var.perf_type)
    error_message = "perf_type is N-instance-perf, where N is 1, 2, 4, 8, 16, 32 or 40."
  }
}

variable "key_generations" {
  description = "Names of the keys that each account has at Kafka and the registry; pods use the last. To rotate, add one, deploy, remove the first, deploy."
  type        = list(string)
  default     = ["a"]

  validation {
    condition     = length(var.key_generations) >= 1 && length(var.key_generations) <= 2
    error_message = "key_generations has one name, or two while keys are rotated."
  }
}

variable "authorized_networks" {
  description = "Who may reach the control plane of the Kubernetes cluster, from outside of its network: ranges of addresses, such as 203.0.113.7/32."
  type        = list(string)

  validation {
    condition     = length(var.authorized_networks) > 0 && alltrue([for range in var.authorized_networks : can(cidrhost(range, 0)) && !endswith(range, "/0")])
    error_message = "authorized_networks names at least one range, and none of them is the whole world."
  }
}

variable "maintenance_window" {
  description = "When Google may upgrade the control plane and the nodes; at least 48 hours in 32 days."
  type        = object({ start_time = string, end_time = string, recurrence = string })

  default = {
    start_time = "2026-01-06T18:00:00Z"
    end_time   = "2026-01-07T00:00:00Z"
    recurrence = "FREQ=WEEKLY;BYDAY=TU,WE,TH"
  }
}

variable "sales" {
  description = "When Google may upgrade nothing, whatever the window: from and to, at most 30 days each and three of them."
  type        = map(object({ start_time = string, end_time = string }))
  default     = {}
}

variable "domain" {
  description = "Name by which the world reaches the ticket service over HTTPS; without one it does not."
  type        = string
  default     = ""
}

variable "requests_per_minute" {
  description = "How often one address of the world may ask; many people may share one."
  type        = number
  default     = 600
}
