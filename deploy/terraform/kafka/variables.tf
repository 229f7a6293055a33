variable "name" {
  description = "Name of the environment, the cluster and the service accounts."
  type        = string
}

variable "region" {
  description = "Region of Google Cloud."
  type        = string
}

variable "kind" {
  description = "basic: one zone; standard: three."
  type        = string

  validation {
    condition     = contains(["basic", "standard"], var.kind)
    error_message = "kind is basic or standard."
  }
}

variable "key_generations" {
  description = "Names of the keys that each account has; pods use the last."
  type        = list(string)
}
