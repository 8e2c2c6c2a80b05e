"""The product, without Prefect: downloads, sync, analysis and the server jobs."""
