"""The jobs: each is a Prefect task around a function of the core."""
