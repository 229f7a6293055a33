output "cluster_name" {
  description = "Name of the cluster, once it has nodes."
  value       = google_container_cluster.this.name

  depends_on = [google_container_node_pool.this]
}
