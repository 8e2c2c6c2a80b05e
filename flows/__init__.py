"""What runs: the order of the jobs, their skips and their fan-out."""
