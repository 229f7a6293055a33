terraform {
  required_version = ">= 1.5"

  # The state, and the lock that keeps two people from changing the same things at once. `make deploy` says which bucket, and a folder of it
  # for each environment.
  backend "gcs" {}

  required_providers {
    confluent = {
      source  = "confluentinc/confluent"
      version = "2.50.0"
    }
    google = {
      source  = "hashicorp/google"
      version = "7.16.0"
    }
  }
}

provider "confluent" {
  cloud_api_key    = var.confluent_cloud_api_key
  cloud_api_secret = var.confluent_cloud_api_secret
}

# Credentials are the application default ones: gcloud auth application-default login.
provider "google" {
  project = var.google_project
  region  = var.region
}
