"""Finished downloads: where they come from, what is taken, how it is placed."""
