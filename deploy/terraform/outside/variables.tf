variable "name" {
  description = "Name of the address, the certificate and the policy."
  type        = string
}

variable "region" {
  description = "Region of the load balancer."
  type        = string
}

variable "domain" {
  description = "Name by which the world reaches the ticket service."
  type        = string
}

variable "requests_per_minute" {
  description = "How often one address may ask."
  type        = number
}
