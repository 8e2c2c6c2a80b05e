"""What `stashhog up` runs: Prefect's server, a worker, and the deployments."""
