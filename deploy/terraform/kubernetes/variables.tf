variable "name" {
  description = "Name of the cluster, and prefix of all that belongs to it."
  type        = string
}

variable "region" {
  description = "Region of the cluster; its nodes are in three zones of it."
  type        = string
}

variable "machine_type" {
  description = "Machine type of the nodes."
  type        = string
}

variable "nodes_per_zone" {
  description = "Nodes in each zone."
  type        = number
}

variable "authorized_networks" {
  description = "Who may reach the control plane from outside of the network: ranges of addresses."
  type        = list(string)
}

variable "maintenance_window" {
  description = "When Google may upgrade the control plane and the nodes."
  type        = object({ start_time = string, end_time = string, recurrence = string })
}

variable "sales" {
  description = "When Google may upgrade nothing, by name."
  type        = map(object({ start_time = string, end_time = string }))
}
