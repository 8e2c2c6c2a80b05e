"""What `stashhog up` runs: Prefect's server, a worker, the pages, the deployments."""
