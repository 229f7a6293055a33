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
