"""One module per job type: a Prefect task around a function of the core."""
