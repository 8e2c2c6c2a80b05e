"""A stand-in Stash server and sample media, for the demo, tests and benchmarks."""
