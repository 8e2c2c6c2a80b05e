"""A stand-in for a Stash server: the same API over HTTP, on one SQLite file."""
